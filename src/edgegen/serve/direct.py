"""A short way for the usual request for pictures, past the framework's router and its reading of bodies.

It takes what is plain: a JSON body that is valid at once, and no stream. Everything else goes on to the application as it
came, which describes the route, words every refusal of a body, and streams; both ways end in `routes.images.make`.
"""

from collections.abc import Iterator

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgegen.core.errors import EdgegenError
from edgegen.serve.assembly import Gateway
from edgegen.serve.problems import Problem, problem_of
from edgegen.serve.routes.images import PATH, make
from edgegen.serve.wire import ImageBody


class Direct:
    """Wraps the application; goes inside of the guard, which checks the key and the size."""

    def __init__(self, app: ASGIApp, *, gateway: Gateway):
        self._app, self._gateway = app, gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PATH or not _is_plain(scope):
            await self._app(scope, receive, send)
            return
        messages = [await receive()]
        while messages[-1].get("more_body"):
            messages.append(await receive())
        body = _valid(b"".join(message.get("body", b"") for message in messages))
        if body is None or body.stream:
            await self._app(scope, _again(messages, receive), send)
            return
        response = await self._answer(body, Request(scope, receive))
        await response(scope, receive, send)

    async def _answer(self, body: ImageBody, request: Request) -> Response:
        try:
            return await make(self._gateway, body, request)
        except EdgegenError as error:
            return problem_of(error).response()
        except Problem as problem:
            return problem.response()


def _is_plain(scope: Scope) -> bool:
    kinds = [value for name, value in scope["headers"] if name == b"content-type"]
    return scope["method"] == "POST" and kinds == [b"application/json"]


def _valid(text: bytes) -> ImageBody | None:
    try:
        return ImageBody.model_validate_json(text)
    except ValidationError:
        return None


def _again(messages: list[Message], receive: Receive) -> Receive:
    """Return a `receive` that says again what was heard, and then goes on."""
    heard: Iterator[Message] = iter(messages)

    async def told() -> Message:
        message = next(heard, None)
        return await receive() if message is None else message

    return told
