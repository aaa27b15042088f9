"""A worker process on a machine that joins a gateway: kept alive, and spoken for while it is not.

The gateway's messages go to the process as they are, the process's to the gateway. When the process dies, its jobs fail
with a retry, so that the gateway gives them to somebody else at once.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from edgegen.serve.workers.line import Line
from edgegen.serve.workers.messages import encode, load_id
from edgegen.serve.workers.spawn import WorkerProcess

log = structlog.get_logger(__name__)

FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.2, 10.0
SILENCE_S = 30.0  # a process says something every second; one that is silent for this long hangs and is ended
_ORDERS = ("start", "load", "evict", "retarget", "release", "cancel")
_SILENT = ("hello", "alive")


class Station:
    """`on_message` gets what the process, or the station for it, has to say to the gateway."""

    def __init__(self, arguments: list[str], on_message: Callable[[bytes], None], *, models: Sequence[str] = ()):
        self._arguments, self._on_message = arguments, on_message
        self._models = frozenset(models)  # that this machine takes; empty: all
        self._process: WorkerProcess | None = None
        self._line: Line | None = None
        self._again = asyncio.Event()
        self._loading: set[str] = set()
        self.jobs: set[str] = set()  # under way
        self.loaded: set[str] = set()  # models

    async def run(self) -> None:
        """Keep a process alive until this is cancelled."""
        backoff_s = FIRST_BACKOFF_S
        try:
            while True:
                line = await self._start()
                backoff_s = await self._until_it_ends(line, backoff_s)
        finally:
            self._end("the machine is leaving")

    async def fresh(self) -> None:
        """Let a new process begin with nothing; what the old one had is nobody's concern any more."""
        self.jobs.clear()
        self._loading.clear()
        if self._process is not None:
            self._again.set()
            while self._again.is_set():  # noqa: ASYNC110 - it is cleared once the new process is there
                await asyncio.sleep(0.02)

    def deliver(self, message: dict[str, Any]) -> None:
        """Take an order of the gateway."""
        kind = message["type"]
        if kind not in _ORDERS:
            return
        job = message.get("job")
        order = job if isinstance(job, dict) else message
        identifier, model = str(order.get("id", "")), str(order.get("model", ""))
        if kind in ("start", "load"):
            called = identifier if kind == "start" else load_id(model)
            if self._models and model not in self._models:
                self._fail(called, f"this machine does not take {model}")
                return
            if self._line is None:
                self._fail(called, "the worker process is being started again")
                return
            (self.jobs if kind == "start" else self._loading).add(called)
        elif kind == "cancel":
            self.jobs.discard(identifier)
        elif kind == "evict":
            self.loaded.discard(model)
        if self._line is not None:
            self._line.send(encode(kind, **{name: value for name, value in message.items() if name != "type"}))

    async def _start(self) -> Line:
        loop = asyncio.get_running_loop()
        self._process = process = WorkerProcess.spawn(self._arguments)
        _, line = await loop.create_unix_connection(lambda: Line(self._hear), sock=process.sock)
        self._line = line
        self._again.clear()
        return line

    async def _until_it_ends(self, line: Line, backoff_s: float) -> float:
        """Wait for the end of the process, speak for it, and return how long to wait the next time."""
        again = asyncio.ensure_future(self._again.wait())
        try:
            while not (line.ended.done() or again.done()):
                ends = {line.ended, again}
                await asyncio.wait(ends, timeout=SILENCE_S / 4, return_when=asyncio.FIRST_COMPLETED)
                if time.monotonic() - line.heard_s > SILENCE_S:
                    line.end(f"it was silent for {SILENCE_S:g} s")
        finally:
            again.cancel()
        wanted = self._again.is_set()
        reason = line.ended.result() if line.ended.done() else "it begins anew"
        self._end(reason)
        if wanted:
            return FIRST_BACKOFF_S
        log.warning("the worker process ended", reason=reason)
        await asyncio.sleep(backoff_s)
        return min(2 * backoff_s, LAST_BACKOFF_S)

    def _hear(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind in _SILENT:
            return
        identifier = str(message.get("id", ""))
        if kind == "loaded":
            self._loading.discard(load_id(message["model"]))
            self.loaded.add(message["model"])
        elif kind in ("finished", "failed", "released"):
            self.jobs.discard(identifier)
            self._loading.discard(identifier)
        self._on_message(encode(kind, **{name: value for name, value in message.items() if name != "type"}))

    def _end(self, reason: str) -> None:
        process, self._process = self._process, None
        line, self._line = self._line, None
        if line is not None:
            line.end(reason)
        if process is not None:
            process.end()
        lost = [*self.jobs, *self._loading]
        self.jobs.clear()
        self._loading.clear()
        self.loaded.clear()
        for called in lost:
            self._fail(called, f"the worker process went away: {reason}")

    def _fail(self, called: str, reason: str) -> None:
        self._on_message(encode("failed", id=called, reason=reason, retry=True))
