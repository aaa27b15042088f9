"""Structured logs: readable lines on a terminal, JSON elsewhere. Prompts are never logged at info level, keys never.

Nobody logs a secret on purpose. What gets into an error's text all the same, such as a URL with a password, is masked in
the finished line.
"""

import logging
import re
import sys
from typing import Any, Literal, TextIO

import structlog

Format = Literal["console", "json"]
LEVELS = ("debug", "info", "warning", "error")
_SECRETS = (
    (re.compile(r"\b(eg_[0-9a-f]{8,}_)[a-z2-7]{16,}"), r"\1***"),
    (re.compile(r"(?i)\b(bearer|basic) +[A-Za-z0-9._~+/=-]{8,}"), r"\1 ***"),
    (re.compile(r"\b(whsec_)[A-Za-z0-9+/=_-]+"), r"\1***"),
    (re.compile(r"(://[^\s:/@\"']*:)[^\s@/\"']+@"), r"\1***@"),
)


def set_up(level: str, *, form: Format | None = None, stream: TextIO | None = None) -> None:
    """Send every log line of this process to a stream (default: standard error)."""
    target = stream or sys.stderr
    chosen = form or ("console" if target.isatty() else "json")
    renderer: structlog.typing.Processor
    if chosen == "json":
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=target.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info if chosen == "json" else _unchanged,
            renderer,
            _masked,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file=target),
        cache_logger_on_first_use=False,
    )


def masked(text: str) -> str:
    """Return a text without what looks like a key, a bearer token, a webhook's secret or a password in a URL."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


def _masked(logger, name: str, line: Any) -> str:
    del logger, name
    return masked(line)


def _unchanged(logger, name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    del logger, name
    return event
