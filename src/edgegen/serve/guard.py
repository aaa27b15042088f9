"""What every request passes before a route sees it: size, key, id, headers. One plain ASGI layer, so that it costs little."""

import secrets
import time

import structlog
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgegen.observe.metrics import Metrics
from edgegen.serve.auth import Keys
from edgegen.serve.problems import Problem, problem_of_http

log = structlog.get_logger(__name__)

MAX_BODY_BYTES = 64 * 1024
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = [
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]


class Guard:
    """Wraps an ASGI app."""

    def __init__(self, app: ASGIApp, *, keys: Keys, metrics: Metrics):
        self._app, self._keys, self._metrics = app, keys, metrics
        self._log = log.bind()  # knows its level: what is not logged costs nothing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_s, identifier = time.perf_counter(), secrets.token_hex(8)
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = {name for name, _ in message["headers"]}
                added = [header for header in _HEADERS if header[0] not in own]
                message["headers"] = [*message["headers"], *added, (b"x-request-id", identifier.encode())]
            await send(message)

        try:
            headers = dict(scope["headers"])
            self._keys.check(scope["path"], headers.get(b"authorization", b"").decode("latin-1") or None)
            await self._app(scope, _bounded(headers, receive), send_with_headers)
        except HTTPException as error:
            await problem_of_http(error).response()(scope, receive, send_with_headers)
        except Problem as problem:
            await problem.response()(scope, receive, send_with_headers)
        finally:
            self._metrics.http.labels(str(status)).inc()
            self._log.debug(
                "http", id=identifier, method=scope["method"], path=scope["path"], status=status,
                seconds=round(time.perf_counter() - began_s, 6),
            )  # fmt: skip


def _bounded(headers: dict[bytes, bytes], receive: Receive) -> Receive:
    """Return a `receive` that refuses more than the bound, whether it is announced or not."""
    announced = headers.get(b"content-length", b"0")
    if announced.isdigit() and int(announced) > MAX_BODY_BYTES:
        raise _too_large()
    taken = 0

    async def counted() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > MAX_BODY_BYTES:
            raise _too_large()
        return message

    return counted


def _too_large() -> HTTPException:
    # Not a Problem: while it reads a body, the framework lets only its own kind through.
    return HTTPException(413, f"a body may have up to {MAX_BODY_BYTES} bytes")
