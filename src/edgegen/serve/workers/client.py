"""The gateway's end of a worker process: start it, talk to it, notice its death, start it again."""

import asyncio
import contextlib
import subprocess
import time
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from edgegen.core.errors import WorkerError
from edgegen.serve.workers.errands import AbstractSpokenWorker, resolve
from edgegen.serve.workers.line import ENDED, Line
from edgegen.serve.workers.messages import PROTOCOL, encode
from edgegen.serve.workers.protocol import Abilities, WorkerGoneError
from edgegen.serve.workers.spawn import WorkerProcess, process_arguments

log = structlog.get_logger(__name__)

HELLO_TIMEOUT_S = 60.0
SILENCE_S = 30.0  # a worker says something every second; one that is silent for this long hangs and is ended
FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.2, 10.0
STEADY_S = 60.0  # a worker that lived this long starts again with the first backoff
GRACE_S = 1.0  # between `bye` and the end by force


class ProcessWorker(AbstractSpokenWorker):
    """A worker process for one node, kept alive."""

    abilities = Abilities(learns=True)

    def __init__(self, node: str, *, maker: str = "builtin", slots: int = 1, folders: Mapping[str, str] | None = None):
        super().__init__(node)
        self._arguments = process_arguments(maker=maker, slots=slots, folders=folders or {})
        self._learnt: dict[str, str] = {}  # folders of models that came later; every new process is told again
        self._process: WorkerProcess | None = None
        self._line: Line | None = None
        self._hello: asyncio.Future[dict[str, Any]] | None = None
        self._keeper: asyncio.Task | None = None
        self._backoff_s = FIRST_BACKOFF_S

    async def open(self, *, on_lost: Callable[[str], None], on_joined: Callable[[], None]) -> None:
        self._on_lost, self._on_joined = on_lost, on_joined
        line = await self._connect()
        self._keeper = asyncio.create_task(self._keep(line), name=f"worker {self.node}")

    def learn(self, model: str, folder: str) -> None:
        self._learnt[model] = folder
        if self._line is not None:
            self._line.send(encode("learn", model=model, folder=folder))

    async def close(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
            self._keeper = None
        if self._process is None:
            return
        with contextlib.suppress(WorkerError, ConnectionError):
            self._send(encode("bye"))
        process = self._process
        with contextlib.suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(process.popen.wait, GRACE_S)
        self._drop("the gateway is closing")

    @property
    def alive(self) -> bool:
        return self._line is not None

    @property
    def pid(self) -> int | None:
        """The process id of the worker that runs now."""
        return self._process.popen.pid if self._process else None

    async def _connect(self) -> Line:
        """Start a process and wait for its hello. **Raises** `WorkerError`."""
        loop = asyncio.get_running_loop()
        self._process, self._hello = WorkerProcess.spawn(self._arguments), loop.create_future()
        _, line = await loop.create_unix_connection(lambda: Line(self._handle), sock=self._process.sock)
        waiting: list[asyncio.Future] = [self._hello, line.ended]
        try:
            done, _ = await asyncio.wait(waiting, timeout=HELLO_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            line.end("the gateway is closing")
            raise
        if self._hello not in done or self._hello.result().get("protocol") != PROTOCOL:
            heard = line.ended.result() if line.ended.done() else f"heard {self._hello.result() if done else 'nothing'}"
            line.end("it did not start")
            self._drop("it did not start")
            raise WorkerError(f"the worker of node {self.node!r} did not say hello: {heard}")
        self._line = line
        for model, folder in self._learnt.items():
            line.send(encode("learn", model=model, folder=folder))
        return line

    async def _keep(self, line: Line) -> None:
        """Wait until the worker goes away, tell, and start another one."""
        while True:
            reason = await self._end_of(line)
            lived_s = time.monotonic() - self._process.began_s if self._process else 0.0
            self._backoff_s = FIRST_BACKOFF_S if lived_s > STEADY_S else self._backoff_s
            self._drop(reason)
            log.warning("worker lost", node=self.node, reason=reason)
            self._on_lost(reason)
            line = await self._reconnect()
            log.info("worker is back", node=self.node, pid=self.pid)
            self._on_joined()

    async def _reconnect(self) -> Line:
        while True:
            await asyncio.sleep(self._backoff_s)
            self._backoff_s = min(2 * self._backoff_s, LAST_BACKOFF_S)
            try:
                return await self._connect()
            except (WorkerError, OSError) as error:
                log.warning("worker did not start", node=self.node, error=str(error))

    async def _end_of(self, line: Line) -> str:
        """Return why a line ended; one that is silent for too long is ended."""
        while not line.ended.done():
            await asyncio.wait([line.ended], timeout=SILENCE_S / 4)
            if time.monotonic() - line.heard_s > SILENCE_S:
                line.end(f"the worker was silent for {SILENCE_S:g} s")
        status = self._exit_status() if line.ended.result() == ENDED else None
        return line.ended.result() + ("" if status is None else f" (exit status {status})")

    def _exit_status(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.popen.wait(0.2) if self._process else None
        return None

    def _handle(self, message: dict[str, Any]) -> None:
        if message["type"] == "hello" and self._hello is not None:
            resolve(self._hello, message)
        else:
            self._errands.hear(message)

    def _send(self, message: bytes) -> None:
        if self._line is None:
            raise WorkerGoneError(f"node {self.node!r} has no worker at the moment")
        self._line.send(message)

    def _drop(self, reason: str) -> None:
        """End what there is of the process and fail everybody who waits for it."""
        line, self._line = self._line, None
        process, self._process = self._process, None
        if line is not None:
            line.end(reason)
        if process is not None:
            process.end()
        self._errands.lose(reason)
