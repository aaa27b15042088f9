"""A worker that answers at once with a picture made beforehand: what is left is the gateway's own time."""

import asyncio
import base64
from collections.abc import Callable

from edgegen.serve.workers.aim import Aim
from edgegen.serve.workers.makers import ready_png
from edgegen.serve.workers.messages import Job, Progress, Report
from edgegen.serve.workers.protocol import AbstractWorker, OnProgress, WorkerGoneError


class InstantWorker(AbstractWorker):
    """Answers in the gateway's own process; only what a job's pace asks for takes time."""

    def __init__(self, node: str):
        self.node = node
        self._png_b64 = base64.b64encode(ready_png()).decode()
        self._resident: set[str] = set()
        self._aims: dict[str, Aim] = {}
        self._open = False

    async def open(self, *, on_lost: Callable[[str], None], on_joined: Callable[[], None]) -> None:
        del on_lost, on_joined  # it never goes away by itself
        self._open = True

    async def load(self, model: str, *, pad_s: float) -> float:
        self._check_open()
        await self._last(pad_s)
        self._resident.add(model)
        return pad_s

    async def evict(self, model: str) -> None:
        self._resident.discard(model)

    async def run(self, job: Job, on_progress: OnProgress) -> Report:
        self._check_open()
        pace, load_s = job.pace, 0.0
        aim = self._aims[job.id] = Aim(job.steps)
        try:
            if job.model not in self._resident:
                load_s = await self.load(job.model, pad_s=pace.load_s)
            while step := aim.next():
                await self._last(pace.step_s)
                preview = self._png_b64 if step in job.previews else None
                on_progress(Progress(job.id, step, aim.steps, preview))
            await self._last(pace.fixed_s)
        finally:
            del self._aims[job.id]
        generate_s = pace.step_s * aim.steps + pace.fixed_s
        return Report(job.id, self._png_b64, 0.0, load_s, generate_s, 0.0, 0.0)

    def retarget(self, job_id: str, steps: int) -> None:
        aim = self._aims.get(job_id)
        if aim is not None and aim.may_become(steps):
            aim.steps = steps

    async def close(self) -> None:
        self._open = False

    @property
    def alive(self) -> bool:
        return self._open

    async def _last(self, seconds: float) -> None:
        if seconds > 0:
            await asyncio.sleep(seconds)
            self._check_open()

    def _check_open(self) -> None:
        if not self._open:
            raise WorkerGoneError(f"the worker of node {self.node!r} is closed")
