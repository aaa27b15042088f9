"""What every request passes before a route sees it: size, pace, key, id, headers. One plain ASGI layer, so that it costs little."""

import asyncio
import time

import structlog
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgegen.observe.metrics import Metrics
from edgegen.observe.tracing import NO_SPAN, AbstractSpan, AbstractTracer, NoTracer
from edgegen.serve.auth import EVERYBODY, Keys
from edgegen.serve.passage import ACCOUNT, KEY, Passage, new_id
from edgegen.serve.problems import Problem, problem_of_http

log = structlog.get_logger(__name__)

MAX_BODY_BYTES = 64 * 1024
BODY_S = 10.0  # within which a body has to be here
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = [
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
_OVER_TLS = (b"strict-transport-security", b"max-age=31536000")


class Guard:
    """Wraps an ASGI app."""

    def __init__(self, app: ASGIApp, *, keys: Keys, metrics: Metrics, tracer: AbstractTracer | None = None):
        self._app, self._keys, self._metrics = app, keys, metrics
        self._tracer = tracer or NoTracer()
        self._log = log.bind()  # knows its level: what is not logged costs nothing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_s, identifier = time.perf_counter(), new_id()
        status = 0
        # Whatever is logged while this request is handled, by whomever, carries its id.
        structlog.contextvars.bind_contextvars(request_id=identifier)

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = {name for name, _ in message["headers"]}
                added = [header for header in _HEADERS if header[0] not in own]
                if scope["scheme"] == "https":
                    added.append(_OVER_TLS)
                message["headers"] = [*message["headers"], *added, (b"x-request-id", identifier.encode())]
            await send(message)

        headers = dict(scope["headers"])
        span = self._begin(scope, headers, identifier)
        caller = EVERYBODY
        try:
            caller = self._keys.check(scope["path"], headers.get(b"authorization", b"").decode("latin-1") or None)
            address = scope["client"][0] if scope.get("client") else ""
            scope[ACCOUNT] = caller.id
            scope[KEY] = Passage(identifier, caller, address, span)
            await self._app(scope, _bounded(headers, receive), send_with_headers)
        except HTTPException as error:
            await problem_of_http(error).response()(scope, receive, send_with_headers)
        except Problem as problem:
            await problem.response()(scope, receive, send_with_headers)
        finally:
            self._metrics.http.labels(str(status)).inc()
            if span is not NO_SPAN:
                span.note({"http.response.status_code": status, "edgegen.key": caller.name})
                span.end(error=f"status {status}" if status >= 500 else None)
            self._log.debug(
                "http", method=scope["method"], path=scope["path"], status=status, key=caller.name,
                seconds=round(time.perf_counter() - began_s, 6),
            )  # fmt: skip

    def _begin(self, scope: Scope, headers: dict[bytes, bytes], identifier: str) -> AbstractSpan:
        if not self._tracer.active:
            return NO_SPAN
        facts = {
            "http.request.method": scope["method"], "url.path": scope["path"], "edgegen.request_id": identifier,
        }  # fmt: skip
        named = headers.get(b"traceparent", b"").decode("latin-1") or None
        return self._tracer.begin(f"{scope['method']} {scope['path']}", named, facts)


def _bounded(headers: dict[bytes, bytes], receive: Receive) -> Receive:
    """Return a `receive` that refuses more than the bound, whether it is announced or not, and a body that trickles."""
    announced = headers.get(b"content-length", b"0")
    if announced.isdigit() and int(announced) > MAX_BODY_BYTES:
        raise _too_large()
    taken, coming = 0, announced != b"0" or b"transfer-encoding" in headers
    until_s = asyncio.get_running_loop().time() + BODY_S

    async def counted() -> Message:
        nonlocal taken, coming
        if not coming:  # what is waited for now is the client's going away
            return await receive()
        try:
            async with asyncio.timeout_at(until_s):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408, f"a body has to be here within {BODY_S:g} s") from None
        coming = message["type"] == "http.request" and message.get("more_body", False)
        taken += len(message.get("body", b""))
        if taken > MAX_BODY_BYTES:
            raise _too_large()
        return message

    return counted


def _too_large() -> HTTPException:
    # Not a Problem: while it reads a body, the framework lets only its own kind through.
    return HTTPException(413, f"a body may have up to {MAX_BODY_BYTES} bytes")
