"""Structured logs: readable lines on a terminal, JSON elsewhere. Prompts and keys are never logged at info level."""

import logging
import sys
from typing import Literal, TextIO

import structlog

Format = Literal["console", "json"]
LEVELS = ("debug", "info", "warning", "error")


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
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file=target),
        cache_logger_on_first_use=False,
    )


def _unchanged(logger, name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    del logger, name
    return event
