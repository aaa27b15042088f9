"""What the gateway asks of anything that makes pictures.

A worker serves one node. Its work is a coroutine per picture: cancelling the coroutine stops the work at its next step.
"""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any

from edgegen.core.errors import WorkerError
from edgegen.serve.workers.messages import Job, Progress, Report

OnProgress = Callable[[Progress], None]


class JobError(WorkerError):
    """The worker is well but could not make this picture. `retry` says whether another node may do better."""

    def __init__(self, message: str, *, retry: bool):
        super().__init__(message)
        self.retry = retry


class WorkerGoneError(WorkerError):
    """The worker went away; what it was working on is lost."""


class ReleasedError(WorkerError):
    """The worker gave a picture back because it was asked to (`release`), to be continued elsewhere."""

    def __init__(self, step: int, checkpoint_b64: str | None):
        super().__init__(f"the picture was given back after step {step}")
        self.step, self.checkpoint_b64 = step, checkpoint_b64  # None: there is nothing to go on from


@dataclasses.dataclass(frozen=True)
class Abilities:
    """What a worker can do beyond making pictures. Nobody waits for what is not among it."""

    steps: bool = True  # it does the number of steps that a job says, and tells when the last one is done
    previews: bool = True  # it sends pictures of what is there so far
    learns: bool = False  # it can be told where a new model is while it runs: it reads the gateway's own files


class AbstractWorker(abc.ABC):
    """A maker of pictures for one node.

    `serve.workers.checks` holds what every implementation has to fulfil.
    """

    node: str
    abilities = Abilities()

    @abc.abstractmethod
    async def open(self, *, on_lost: Callable[[str], None], on_joined: Callable[[], None]) -> None:
        """Get ready; return once pictures can be made, or nobody is there who makes them: `alive` tells.

        Afterwards `on_lost(reason)` is called each time the worker goes away by itself and `on_joined()` each time it
        is back.
        """

    @abc.abstractmethod
    async def load(self, model: str, *, pad_s: float) -> float:
        """Bring a model into memory, lasting at least `pad_s`, and return the seconds that it took."""

    @abc.abstractmethod
    async def evict(self, model: str) -> None:
        """Take a model out of memory; not having it is fine."""

    @abc.abstractmethod
    async def run(self, job: Job, on_progress: OnProgress) -> Report:
        """Make a picture, calling `on_progress` after steps; after the last one and those with a preview in any case,
        as far as its `abilities` go.

        **Raises** `JobError` when this picture cannot be made, `WorkerGoneError` when the worker goes away, and
        `ReleasedError` when it gave the picture back.
        """

    def retarget(self, job_id: str, steps: int) -> None:
        """Let a picture finish with another number of steps in all; its progress tells whether it does.

        It keeps its number when so many steps, or the last one, have begun, when it is not here, and in a worker that
        cannot change it, as here.
        """
        del job_id, steps

    def release(self, job_id: str) -> None:
        """Give a picture back at its next step, with what another worker needs to go on: `run` raises `ReleasedError`.

        It is finished instead when its last step has begun, and in a worker that cannot give back, as here.
        """
        del job_id

    def learn(self, model: str, folder: str) -> None:
        """Hear where the files of a new model are, for whenever it is asked for.

        **Raises** `WorkerError` in a worker that is not among those that learn, as here.
        """
        raise WorkerError(f"the worker of node {self.node!r} takes no model {model!r} from {folder} while it runs")

    def told(self) -> dict[str, Any]:
        """Return what the worker says about itself beyond being there, for people to look at."""
        return {}

    @abc.abstractmethod
    async def close(self) -> None:
        """End the worker and everything that it is doing. Closing twice is fine."""

    @property
    @abc.abstractmethod
    def alive(self) -> bool:
        """Whether it can take work now."""
