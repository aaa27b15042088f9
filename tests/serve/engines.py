"""Somebody else's engine for tests: a real HTTP server that answers as it is told."""

import asyncio
import base64
import contextlib
import dataclasses
import io
import socket
from collections.abc import Callable

import uvicorn
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from edgegen.serve.workers.makers import ready_png


def picture(form: str = "PNG") -> bytes:
    """Return a small picture in a format."""
    if form == "PNG":
        return ready_png()
    target = io.BytesIO()
    Image.new("RGB", (32, 32), (200, 30, 30)).save(target, form)
    return target.getvalue()


async def until(condition: Callable[[], object]) -> None:
    """Wait until something holds."""
    while not condition():  # noqa: ASYNC110 - what is waited for knows nothing of events
        await asyncio.sleep(0.01)


@dataclasses.dataclass
class Engine:
    """What it was asked, and how it answers."""

    seconds: float = 0.02
    status: int = 200
    answer: object = None  # in place of a picture
    form: str = "PNG"
    well: bool = True
    port: int = 0
    bodies: list[dict] = dataclasses.field(default_factory=list)
    keys: list[str | None] = dataclasses.field(default_factory=list)
    broken_off: int = 0

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    async def create(self, request: Request) -> Response:
        self.bodies.append(await request.json())
        self.keys.append(request.headers.get("authorization"))
        for _ in range(max(1, round(self.seconds / 0.01))):
            await asyncio.sleep(0.01)
            if await request.is_disconnected():
                self.broken_off += 1
                return Response()
        if 300 <= self.status < 400:
            return RedirectResponse("http://127.0.0.1:9/elsewhere", self.status)
        if self.answer is not None:
            return JSONResponse(self.answer, self.status)
        return JSONResponse({"data": [{"b64_json": base64.b64encode(picture(self.form)).decode()}]}, self.status)

    async def health(self, request: Request) -> Response:
        del request
        return Response(status_code=200 if self.well else 503)

    @contextlib.asynccontextmanager
    async def serving(self):
        """Serve on a port of its own; a second time on the same one."""
        routes = [Route("/v1/images/generations", self.create, methods=["POST"])]
        routes += [Route(path, self.health) for path in ("/health", "/readyz", "/v1/models")]
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", self.port))
            self.port = sock.getsockname()[1]
            settings = uvicorn.Config(
                Starlette(routes=routes),
                log_config=None,
                lifespan="off",
                ws="websockets-sansio",
                timeout_graceful_shutdown=1,
            )
            server = uvicorn.Server(settings)
            server.capture_signals = contextlib.nullcontext
            task = asyncio.create_task(server.serve(sockets=[sock]))
            await until(lambda: server.started)
            try:
                yield self
            finally:
                server.should_exit = server.force_exit = True
                await task
