"""The gateway's end of a worker process: start it, talk to it, notice its death, start it again."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import structlog

from edgegen.core.errors import WorkerError
from edgegen.serve.workers.line import ENDED, Line
from edgegen.serve.workers.messages import (
    PROTOCOL,
    Job,
    LineError,
    Progress,
    Report,
    encode,
    encode_job,
    encode_retarget,
    load_id,
)
from edgegen.serve.workers.protocol import AbstractWorker, JobError, OnProgress, ReleasedError, WorkerGoneError

log = structlog.get_logger(__name__)

T = TypeVar("T")
HELLO_TIMEOUT_S = 60.0
SILENCE_S = 30.0  # a worker says something every second; one that is silent for this long hangs and is ended
FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.2, 10.0
STEADY_S = 60.0  # a worker that lived this long starts again with the first backoff
GRACE_S = 1.0  # between `bye` and the end by force


class _Process:
    """One running process and its socket."""

    def __init__(self, popen: subprocess.Popen, sock: socket.socket):
        self.popen, self.sock = popen, sock
        self.began_s = time.monotonic()

    @classmethod
    def spawn(cls, arguments: list[str]) -> "_Process":
        """Start a worker with one end of a socket pair; the other end is ours, and its closing is the other's end."""
        ours, theirs = socket.socketpair()
        try:
            command = [sys.executable, "-m", "edgegen.serve.workers.process", "--fd", str(theirs.fileno())]
            popen = subprocess.Popen(
                command + arguments,
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return cls(popen, ours)

    def end(self) -> None:
        """End the process by force and take its exit status, so that no zombie stays."""
        self.popen.kill()
        self.popen.wait()


class ProcessWorker(AbstractWorker):
    """A worker process for one node, kept alive."""

    def __init__(self, node: str, *, maker: str = "builtin", slots: int = 1, folders: Mapping[str, str] | None = None):
        self.node = node
        self._arguments = ["--maker", maker, "--slots", str(slots)]
        for model, folder in (folders or {}).items():
            self._arguments += ["--folder", f"{model}={folder}"]
        self._process: _Process | None = None
        self._line: Line | None = None
        self._hello: asyncio.Future[dict[str, Any]] | None = None
        self._keeper: asyncio.Task | None = None
        self._jobs: dict[str, tuple[asyncio.Future[Report], OnProgress]] = {}
        self._loads: dict[str, list[asyncio.Future[float]]] = {}
        self._backoff_s = FIRST_BACKOFF_S
        self._on_lost: Callable[[str], None] = lambda reason: None
        self._on_joined: Callable[[], None] = lambda: None

    async def open(self, *, on_lost: Callable[[str], None], on_joined: Callable[[], None]) -> None:
        self._on_lost, self._on_joined = on_lost, on_joined
        line = await self._connect()
        self._keeper = asyncio.create_task(self._keep(line), name=f"worker {self.node}")

    async def load(self, model: str, *, pad_s: float) -> float:
        future = asyncio.get_running_loop().create_future()
        self._loads.setdefault(load_id(model), []).append(future)
        self._send(encode("load", model=model, pad_s=pad_s))
        return await future

    async def evict(self, model: str) -> None:
        if self.alive:
            self._send(encode("evict", model=model))

    async def run(self, job: Job, on_progress: OnProgress) -> Report:
        future = asyncio.get_running_loop().create_future()
        self._send(encode_job(job))
        self._jobs[job.id] = (future, on_progress)
        try:
            return await future
        except asyncio.CancelledError:
            if self.alive:
                self._send(encode("cancel", id=job.id))
            raise
        finally:
            self._jobs.pop(job.id, None)

    def retarget(self, job_id: str, steps: int) -> None:
        if job_id in self._jobs and self.alive:
            self._send(encode_retarget(job_id, steps))

    def release(self, job_id: str) -> None:
        if job_id in self._jobs and self.alive:
            self._send(encode("release", id=job_id))

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
        self._process, self._hello = _Process.spawn(self._arguments), loop.create_future()
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
        kind, identifier = message.pop("type"), message.get("id", "")
        job = self._jobs.get(identifier)
        if kind == "hello" and self._hello is not None:
            _resolve(self._hello, message)
        elif kind == "loaded":
            for future in self._loads.pop(load_id(message.get("model", "")), []):
                _resolve(future, float(message.get("seconds", 0.0)))
        elif kind == "failed" and identifier in self._loads:
            for future in self._loads.pop(identifier):
                _refuse(future, JobError(str(message.get("reason")), retry=False))
        elif job is None:  # it was cancelled meanwhile, or the message is a heartbeat
            return
        elif kind == "progress":
            job[1](_shaped(Progress, message))
        elif kind == "finished":
            _resolve(job[0], _shaped(Report, message))
        elif kind == "released":
            _refuse(job[0], _given_back(message))
        elif kind == "failed":
            _refuse(job[0], JobError(str(message.get("reason")), retry=bool(message.get("retry"))))

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
        waiting = [future for future, _ in self._jobs.values()]
        waiting += [future for futures in self._loads.values() for future in futures]
        self._loads.clear()
        for future in waiting:
            _refuse(future, WorkerGoneError(f"the worker of node {self.node!r} went away: {reason}"))


def _shaped(shape: type[T], message: dict[str, Any]) -> T:
    try:
        return shape(**message)
    except TypeError as error:
        raise LineError(f"a {shape.__name__} with other fields: {error}") from error


def _given_back(message: dict[str, Any]) -> ReleasedError:
    step, checkpoint_b64 = message.get("step"), message.get("checkpoint_b64")
    if type(step) is not int or not isinstance(checkpoint_b64, str | None):
        raise LineError(f"a picture given back with other fields than a step and a checkpoint: step {step!r}")
    return ReleasedError(step, checkpoint_b64)


def _resolve(future: asyncio.Future, value: Any) -> None:
    if not future.done():
        future.set_result(value)


def _refuse(future: asyncio.Future, error: WorkerError) -> None:
    if not future.done():
        future.set_exception(error)
