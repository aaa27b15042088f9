"""What the gateway asked of a worker and has no answer to yet, for every worker that speaks in messages.

How the messages travel is the worker's own affair; here they are matched with whoever waits for them.
"""

import abc
import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from edgegen.serve.workers.messages import (
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

T = TypeVar("T")


class Errands:
    """The jobs and loads of one worker. `send` takes an encoded message and raises `WorkerGoneError` without a line."""

    def __init__(self, node: str, send: Callable[[bytes], None]):
        self._node, self._send = node, send
        self._jobs: dict[str, tuple[asyncio.Future[Report], OnProgress]] = {}
        self._loads: dict[str, list[asyncio.Future[float]]] = {}

    async def load(self, model: str, *, pad_s: float) -> float:
        """Ask for a model to be in memory and wait until it is."""
        self._send(encode("load", model=model, pad_s=pad_s))
        future = asyncio.get_running_loop().create_future()
        self._loads.setdefault(load_id(model), []).append(future)
        return await future

    def evict(self, model: str) -> None:
        """Ask for a model to be taken out of memory."""
        self._send_if_there(encode("evict", model=model))

    async def run(self, job: Job, on_progress: OnProgress) -> Report:
        """Ask for a picture and wait for it; who is cancelled meanwhile takes the order back."""
        future = asyncio.get_running_loop().create_future()
        self._send(encode_job(job))
        self._jobs[job.id] = (future, on_progress)
        try:
            return await future
        except asyncio.CancelledError:
            self._send_if_there(encode("cancel", id=job.id))
            raise
        finally:
            self._jobs.pop(job.id, None)

    def retarget(self, job_id: str, steps: int) -> None:
        """Ask for another number of steps; what was not asked for here is no concern."""
        if job_id in self._jobs:
            self._send_if_there(encode_retarget(job_id, steps))

    def release(self, job_id: str) -> None:
        """Ask for a picture to be given back."""
        if job_id in self._jobs:
            self._send_if_there(encode("release", id=job_id))

    def hear(self, message: dict[str, Any]) -> None:
        """Take a message of the worker. **Raises** `LineError` when it has another shape than its kind says."""
        kind, identifier = message.pop("type"), message.get("id", "")
        job = self._jobs.get(identifier)
        if kind == "loaded":
            for future in self._loads.pop(load_id(message.get("model", "")), []):
                resolve(future, float(message.get("seconds", 0.0)))
        elif kind == "failed" and identifier in self._loads:
            for future in self._loads.pop(identifier):
                refuse(future, JobError(str(message.get("reason")), retry=False))
        elif job is None:  # it was cancelled meanwhile, or the message is a heartbeat
            return
        elif kind == "progress":
            job[1](_shaped(Progress, message))
        elif kind == "finished":
            resolve(job[0], _shaped(Report, message))
        elif kind == "failed":
            refuse(job[0], JobError(str(message.get("reason")), retry=bool(message.get("retry"))))
        elif kind == "released":
            refuse(job[0], _given_back(message))

    def lose(self, reason: str) -> None:
        """Fail everybody who waits: the worker went away."""
        waiting = [future for future, _ in self._jobs.values()]
        waiting += [future for futures in self._loads.values() for future in futures]
        self._loads.clear()
        for future in waiting:
            refuse(future, WorkerGoneError(f"the worker of node {self._node!r} went away: {reason}"))

    def _send_if_there(self, message: bytes) -> None:
        try:
            self._send(message)
        except WorkerGoneError:
            return  # whoever waits hears of it as the end of the worker


class AbstractSpokenWorker(AbstractWorker):
    """A worker that is spoken to in messages; how they travel is left to it. What it hears goes to `_errands`."""

    def __init__(self, node: str):
        self.node = node
        self._errands = Errands(node, self._send)
        self._on_lost: Callable[[str], None] = lambda reason: None
        self._on_joined: Callable[[], None] = lambda: None

    async def load(self, model: str, *, pad_s: float) -> float:
        return await self._errands.load(model, pad_s=pad_s)

    async def evict(self, model: str) -> None:
        self._errands.evict(model)

    async def run(self, job: Job, on_progress: OnProgress) -> Report:
        return await self._errands.run(job, on_progress)

    def retarget(self, job_id: str, steps: int) -> None:
        self._errands.retarget(job_id, steps)

    def release(self, job_id: str) -> None:
        self._errands.release(job_id)

    @abc.abstractmethod
    def _send(self, message: bytes) -> None:
        """Send an encoded message. **Raises** `WorkerGoneError` where there is nobody to send it to."""


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


def resolve(future: asyncio.Future, value: Any) -> None:
    """Give a future its value, unless it has ended."""
    if not future.done():
        future.set_result(value)


def refuse(future: asyncio.Future, error: Exception) -> None:
    """Let a future fail, unless it has ended."""
    if not future.done():
        future.set_exception(error)
