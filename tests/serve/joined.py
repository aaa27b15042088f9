"""A machine that joins a gateway, for tests: a real WebSocket, a real worker process, and a link that can be cut."""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from types import SimpleNamespace

import uvicorn
from fastapi import FastAPI

from edgegen.serve.routes import workers
from edgegen.serve.workers.entrance import Entrance
from edgegen.serve.workers.joining import Member, Pass
from edgegen.serve.workers.pull import PullWorker
from edgegen.serve.workers.spawn import process_arguments
from edgegen.serve.workers.station import Station
from serve.engines import until

ARGUMENTS = process_arguments(maker="instant", slots=1, folders={})


class Link:
    """A TCP proxy: everything goes through it until it is cut."""

    def __init__(self, port: int):
        self._to, self.up, self.port, self.connections = port, True, 0, 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen on a port of its own."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Break all connections without a goodbye."""
        for writer in self._writers:
            writer.transport.abort()

    async def close(self) -> None:
        """End it."""
        self._server.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(task := asyncio.current_task())
        task.add_done_callback(self._tasks.discard)
        if not self.up:
            writer.transport.abort()
            return
        self.connections += 1
        there, back = await asyncio.open_connection("127.0.0.1", self._to)
        mine = {writer, back}
        self._writers |= mine
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await asyncio.gather(_copy(reader, back), _copy(there, writer))
        self._writers -= mine
        for end in mine:
            end.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.transport.abort()


class JoinedWorker(PullWorker):
    """A pull worker that brings its gateway, its link and, once it is open, its machine."""

    def __init__(self, secret_file, *, grace_s: float = 20.0, models=(), entrance: Entrance | None = None):
        super().__init__("edge", grace_s=grace_s)
        self.entrance = entrance or Entrance()
        self.secret_file, self.models = secret_file, models
        self.joined: list[tuple[str, bool]] = []
        self._stack = contextlib.AsyncExitStack()
        self.member: asyncio.Task | None = None

    async def open(self, *, on_lost: Callable[[str], None], on_joined: Callable[[], None]) -> None:
        await super().open(on_lost=on_lost, on_joined=on_joined)
        await self.serve()
        self.join(self.entrance.issue("edge"))
        async with asyncio.timeout(20):
            await until(lambda: self.joined)

    async def serve(self) -> None:
        """Serve the gateway's side, behind a link."""
        app = FastAPI()
        gateway = SimpleNamespace(
            runtime=SimpleNamespace(roads=SimpleNamespace(workers={"edge": self})), entrance=self.entrance
        )
        app.include_router(workers.router(gateway))
        sock = self._stack.enter_context(socket.socket())
        sock.bind(("127.0.0.1", 0))
        server = uvicorn.Server(
            uvicorn.Config(app, log_config=None, lifespan="off", ws="websockets-sansio", timeout_graceful_shutdown=1)
        )
        server.capture_signals = contextlib.nullcontext
        task = asyncio.create_task(server.serve(sockets=[sock]))
        await until(lambda: server.started)

        async def end() -> None:
            server.should_exit = server.force_exit = True
            await task

        self._stack.push_async_callback(end)
        self.link = Link(sock.getsockname()[1])
        await self.link.open()
        self._stack.push_async_callback(self.link.close)

    def join(self, token: str | None) -> None:
        """Let a machine join."""
        self.station = None

        def station(on_message):
            self.station = Station(ARGUMENTS, on_message, models=self.models)
            return self.station

        member = Member(
            f"ws://127.0.0.1:{self.link.port}/v1/workers",
            Pass(self.secret_file, token),
            station,
            on_joined=lambda node, resumed: self.joined.append((node, resumed)),
        )
        self.member = asyncio.create_task(member.run())

    async def leave(self) -> None:
        """Let the machine say goodbye."""
        self.member.cancel()
        await asyncio.wait({self.member})

    async def close(self) -> None:
        if self.member is not None:
            await self.leave()
        await super().close()
        await self._stack.aclose()
