"""A worker that answers at once with a picture made beforehand: what is left is the gateway's own time."""

import asyncio
import base64
import time
from collections.abc import Callable

from edgegen.serve.workers.aim import Aim
from edgegen.serve.workers.makers import ready_checkpoint, ready_done, ready_png
from edgegen.serve.workers.making import PROGRESS_S
from edgegen.serve.workers.messages import Job, Progress, Report, pack
from edgegen.serve.workers.protocol import Abilities, AbstractWorker, OnProgress, ReleasedError, WorkerGoneError


class InstantWorker(AbstractWorker):
    """Answers in the gateway's own process; only what a job's pace asks for takes time."""

    abilities = Abilities(learns=True)

    def __init__(self, node: str):
        self.node = node
        self._png_b64 = base64.b64encode(ready_png()).decode()
        self._resident: set[str] = set()
        self._aims: dict[str, Aim] = {}
        self._released: set[str] = set()
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
        done = ready_done(job)
        aim = self._aims[job.id] = Aim(max(job.steps, done + 1), done)
        try:
            if job.model not in self._resident:
                load_s = await self.load(job.model, pad_s=pace.load_s)
            self._give_back(job, aim)
            told_s = time.monotonic()
            while step := aim.next():
                await self._last(pace.step_s)
                progress = self._progress(job, step, aim.steps)
                wanted = progress.preview_b64 or progress.checkpoint_b64 or step == aim.steps
                if wanted or time.monotonic() - told_s >= PROGRESS_S:
                    told_s = time.monotonic()
                    on_progress(progress)
                self._give_back(job, aim)
            await self._last(pace.fixed_s)
        finally:
            del self._aims[job.id]
            self._released.discard(job.id)
        generate_s = pace.step_s * (aim.steps - done) + pace.fixed_s
        return Report(job.id, self._png_b64, 0.0, load_s, generate_s, 0.0, 0.0)

    def retarget(self, job_id: str, steps: int) -> None:
        aim = self._aims.get(job_id)
        if aim is not None and aim.may_become(steps):
            aim.steps = steps

    def release(self, job_id: str) -> None:
        if job_id in self._aims:
            self._released.add(job_id)

    def learn(self, model: str, folder: str) -> None:
        del model, folder  # every model is the same picture

    async def close(self) -> None:
        self._open = False

    @property
    def alive(self) -> bool:
        return self._open

    def _progress(self, job: Job, step: int, steps: int) -> Progress:
        keeps = job.keep_every > 0 and step % job.keep_every == 0 and step < steps
        preview = self._png_b64 if step in job.previews else None
        return Progress(job.id, step, steps, preview, pack(ready_checkpoint(job.model, step)) if keeps else None)

    def _give_back(self, job: Job, aim: Aim) -> None:
        """Stop here if that was asked for and a step is left."""
        if job.id in self._released and aim.begun < aim.steps:
            raise ReleasedError(aim.begun, pack(ready_checkpoint(job.model, aim.begun)) if aim.begun else None)

    async def _last(self, seconds: float) -> None:
        if seconds > 0:
            await asyncio.sleep(seconds)
            self._check_open()

    def _check_open(self) -> None:
        if not self._open:
            raise WorkerGoneError(f"the worker of node {self.node!r} is closed")
