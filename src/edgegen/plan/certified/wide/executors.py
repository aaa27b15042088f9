"""Where the tasks of a wide plan run: here, in processes of this machine, or on a Ray cluster.

A task is a pure function of what all tasks share and of its own arguments. Answers come back in the order of the
tasks, so a plan does not depend on where it was made, nor by how many workers.
"""

import abc
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from edgegen.core.errors import InputError

Task = Callable[[Any, Any], Any]
"""Takes what is shared and one task's arguments. A function of a module, so that another process finds it."""


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class AbstractExecutor(abc.ABC):
    """Runs tasks between `with` and its end. `shared` reaches every worker once."""

    @abc.abstractmethod
    def share(self, shared: Any) -> None:
        """Give all workers what their tasks have in common; called once, before `map`."""

    @abc.abstractmethod
    def map(self, task: Task, arguments: Sequence[Any]) -> list[Any]:
        """Return the answers in the order of the arguments."""

    @abc.abstractmethod
    def close(self) -> None:
        """Let the workers go."""

    def __enter__(self):
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Serial(AbstractExecutor):
    """One task after the other, in this process."""

    def __init__(self):
        self._shared = None

    def share(self, shared: Any) -> None:
        self._shared = shared

    def map(self, task: Task, arguments: Sequence[Any]) -> list[Any]:
        return [task(self._shared, argument) for argument in arguments]

    def close(self) -> None:
        self._shared = None


_received: Any = None  # what this process was given, when it is a worker


def _receive(shared: Any) -> None:
    global _received  # a pool's initialiser has no other place to leave it
    _received = shared


def _run(call: tuple[Task, Any]) -> Any:
    task, argument = call
    return task(_received, argument)


class Processes(AbstractExecutor):
    """Processes of this machine, by default one per core.

    They are started afresh and not forked, because a fork of a process with threads may hang. A script that uses them
    needs the usual `if __name__ == "__main__":`.
    """

    def __init__(self, workers: int | None = None):
        if workers is not None and workers < 1:
            raise InputError(f"workers must be at least 1, got {workers}", param="workers")
        self._workers = workers or cores()
        self._pool: ProcessPoolExecutor | None = None

    def share(self, shared: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(self._workers, context, initializer=_receive, initargs=(shared,))

    def map(self, task: Task, arguments: Sequence[Any]) -> list[Any]:
        if self._pool is None:
            raise InputError("share comes before map: the workers do not know what the tasks have in common")
        return list(self._pool.map(_run, [(task, argument) for argument in arguments]))

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
