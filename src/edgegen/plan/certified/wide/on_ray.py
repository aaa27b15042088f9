"""Regions on a Ray cluster: the optional extra `cluster`.

Worth it when one machine has too few cores: starting Ray on one machine takes longer than planning there.
"""

from collections.abc import Sequence
from typing import Any

from edgegen.core.errors import InputError
from edgegen.plan.certified.wide.executors import AbstractExecutor, Task


class Ray(AbstractExecutor):
    """Tasks of the Ray cluster that this process is connected to; without one, a local Ray for as long as it is used."""

    def __init__(self, workers: int | None = None):
        try:
            import ray
        except ImportError as missing:
            raise InputError("Ray is not installed: pip install 'edgegen[cluster]'", param="executor") from missing
        if workers is not None and workers < 1:
            raise InputError(f"workers must be at least 1, got {workers}", param="workers")
        self._ray, self._workers = ray, workers
        self._mine, self._shared = False, None
        self._remote: dict[Task, Any] = {}

    def share(self, shared: Any) -> None:
        if not self._ray.is_initialized():
            self._ray.init(num_cpus=self._workers, include_dashboard=False, log_to_driver=False)
            self._mine = True
        self._shared = self._ray.put(shared)

    def map(self, task: Task, arguments: Sequence[Any]) -> list[Any]:
        if task not in self._remote:
            self._remote[task] = self._ray.remote(task)
        return self._ray.get([self._remote[task].remote(self._shared, argument) for argument in arguments])

    def close(self) -> None:
        self._shared = None
        if self._mine:
            self._ray.shutdown()
            self._mine = False
