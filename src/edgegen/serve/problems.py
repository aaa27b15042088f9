"""Errors as OpenAI's clients expect them: `{"error": {"message", "type", "param", "code", ...}}`.

One place maps edgegen's errors, the web framework's and pydantic's onto them; the framework's own shapes never leave.
"""

from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from edgegen.core.errors import (
    BusyError,
    EdgegenError,
    InfeasibleError,
    InputError,
    UnknownNameError,
    WorkerError,
    suggest,
)
from edgegen.generate.grammar import PromptError
from edgegen.serve.jobs.records import KeyReusedError
from edgegen.serve.quotas import QuotaError, whole_s
from edgegen.serve.storage.blobs import BlobError

log = structlog.get_logger(__name__)

# What OpenAI's API has and the gateway has not, and what to do instead. Refused, never ignored.
UNSUPPORTED = {
    "style": "describe the style in the prompt",
    "moderation": "there is no moderation; the built-in models only draw what their small language can say",
    "mask": "pictures are made from text alone",
    "image": "pictures are made from text alone",
    "complexity": "use edgegen.steps or edgegen.min_quality",
    "svg": "pictures are PNG",
    "frame_count": "pictures are PNG",
    "frame_duration_ms": "pictures are PNG",
    "input_fidelity": "pictures are made from text alone",
}
_HTTP = {
    404: ("not_found", "there is nothing at this address; GET /openapi.json lists what there is"),
    405: ("method_not_allowed", "this address does not take this method; GET /openapi.json says which"),
    408: ("body_too_slow", ""),
    413: ("body_too_large", ""),
}
_SHOWN = 80  # characters of a wrong value that an answer repeats


class Problem(Exception):
    """An answer that says what is wrong."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        extras: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ):
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers
        self.kind, self.param, self.code, self.extras = kind, param, code, extras or {}

    def body(self) -> dict[str, Any]:
        """Return the JSON body."""
        shown = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        return {"error": {**shown, **self.extras}}

    def response(self) -> JSONResponse:
        """Return the HTTP response."""
        return JSONResponse(self.body(), status_code=self.status, headers=self.headers)


def problem_of(error: EdgegenError) -> Problem:
    """Return the answer that an error of edgegen stands for."""
    message = str(error)
    match error:
        case PromptError():
            extras = {"unknown_words": list(error.unknown), "known_words": list(error.known)}
            code = "unknown_words" if error.unknown else "invalid_prompt"
            return Problem(400, message, param="prompt", code=code, extras=extras)
        case InfeasibleError():
            return Problem(400, message, code="infeasible", extras={"offer": error.offer})
        case BusyError():
            wait = {"Retry-After": str(whole_s(error.retry_after_s))}
            code = f"{error.limit}_limit" if isinstance(error, QuotaError) else "queue_full"
            return Problem(429, message, kind="rate_limit_error", code=code, headers=wait)
        case UnknownNameError(param="model", kind="model"):
            return Problem(404, message, param="model", code="model_not_found")
        case UnknownNameError():
            return Problem(400, message, param=error.param, code="unknown_name", extras={"known": error.known})
        case KeyReusedError():
            return Problem(409, message, param="Idempotency-Key", code="idempotency_key_reused")
        case BlobError():
            return Problem(404, message, code="picture_lost")
        case InputError():
            return Problem(400, message, param=error.param, code="invalid_value")
        case WorkerError():
            return Problem(503, message, kind="server_error", code="worker_failed")
    return Problem(500, message, kind="server_error", code="internal_error")


def problem_of_http(error: HTTPException) -> Problem:
    """Return the answer that an error of the web framework stands for."""
    code, message = _HTTP.get(error.status_code, (None, str(error.detail)))
    headers = dict(error.headers) if error.headers else None
    return Problem(error.status_code, message or str(error.detail), code=code, headers=headers)


def problem_of_validation(errors: list[dict[str, Any]], fields: dict[str, list[str]]) -> Problem:
    """Return the answer to a body of the wrong shape: its first error, and how many more there are.

    `fields` holds the known field names per object ("" for the body itself), for suggestions.
    """
    first = errors[0]
    kind, path = first["type"], _path(first, fields)
    param = ".".join(path) or None
    others = {tuple(_path(error, fields)) for error in errors} - {tuple(path)}
    more = f" (and {len(others)} more wrong fields)" if others else ""
    if kind == "json_invalid":
        reason = first.get("ctx", {}).get("error", "it cannot be parsed")
        return Problem(400, f"the body is not valid JSON: {reason}", code="invalid_json")
    if kind == "extra_forbidden":
        return Problem(400, _unknown_field(path, fields) + more, param=param, code="unknown_field")
    if kind == "missing":
        text = f"{param} is required" if param else "a JSON body is required"
        return Problem(400, text + more, param=param, code="missing_field")
    # A field that may be of several kinds has one error for each of them.
    texts = [_text(error) for error in errors if _path(error, fields) == path]
    message = f"{param or 'the body'} {' or '.join(dict.fromkeys(texts))}, got {_shown(first.get('input'))}{more}"
    return Problem(400, message, param=param, code="invalid_value")


def _path(error: dict[str, Any], fields: dict[str, list[str]]) -> list[str]:
    """Return the names that lead to the wrong value, without pydantic's tags for the members of a union."""
    known = {name for names in fields.values() for name in names}
    location = error["loc"]
    is_last = error["type"] == "extra_forbidden"
    return [
        str(part)
        for at, part in enumerate(location)
        if isinstance(part, int) or part in known or (is_last and at == len(location) - 1)
    ]


def _text(error: dict[str, Any]) -> str:
    return str(error["msg"]).replace("Input should", "should").replace("String should", "should")


def _unknown_field(path: list[str], fields: dict[str, list[str]]) -> str:
    name, owner = path[-1], ".".join(path[:-1])
    if not owner and name in UNSUPPORTED:
        return f"{name} is not supported: {UNSUPPORTED[name]}"
    where = f"the {owner!r} object has" if owner else "the body has"
    known = fields.get(owner, [])
    return f"{where} no field named {name[:_SHOWN]!r};{suggest(name, known)} known: {', '.join(known)}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def install(app: FastAPI, fields: dict[str, list[str]]) -> None:
    """Make every error of an app leave in the one shape."""

    @app.exception_handler(Problem)
    async def on_problem(request: Request, problem: Problem) -> JSONResponse:
        del request
        return problem.response()

    @app.exception_handler(EdgegenError)
    async def on_known(request: Request, error: EdgegenError) -> JSONResponse:
        del request
        return problem_of(error).response()

    @app.exception_handler(RequestValidationError)
    async def on_validation(request: Request, error: RequestValidationError) -> JSONResponse:
        del request
        return problem_of_validation(list(error.errors()), fields).response()

    @app.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> JSONResponse:
        del request
        return problem_of_http(error).response()

    @app.exception_handler(Exception)
    async def on_bug(request: Request, error: Exception) -> JSONResponse:
        log.error("unexpected error", path=request.url.path, error=type(error).__name__, exc_info=error)
        message = "the gateway failed to handle this request; its log says why"
        return Problem(500, message, kind="server_error", code="internal_error").response()
