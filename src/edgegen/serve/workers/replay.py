"""A worker that answers with a ready picture after the time that a machine of the declared speed would take.

It uses no processor, so one gateway can be tried with hundreds of nodes. Like the machine it makes one picture at a time;
how long the parts last is in each job's pace, which comes from the node's profile.
"""

import asyncio
import dataclasses
import time
from collections.abc import Callable

from edgegen.serve.workers.instant import InstantWorker
from edgegen.serve.workers.messages import Job, Report
from edgegen.serve.workers.protocol import Abilities, AbstractWorker, OnProgress


class ReplayWorker(AbstractWorker):
    """One slot in front of an instant maker; those behind wait in the order in which they came."""

    abilities = Abilities(learns=True)

    def __init__(self, node: str):
        self.node = node
        self._maker = InstantWorker(node)
        self._slot = asyncio.Lock()
        self._waiting: dict[str, int] = {}  # the steps that those who wait are going to do

    async def open(self, *, on_lost: Callable[[str], None], on_joined: Callable[[], None]) -> None:
        await self._maker.open(on_lost=on_lost, on_joined=on_joined)

    async def load(self, model: str, *, pad_s: float) -> float:
        async with self._slot:
            return await self._maker.load(model, pad_s=pad_s)

    async def evict(self, model: str) -> None:
        await self._maker.evict(model)

    async def run(self, job: Job, on_progress: OnProgress) -> Report:
        came_s = time.monotonic()
        self._waiting[job.id] = job.steps
        try:
            await self._slot.acquire()
        finally:
            steps = self._waiting.pop(job.id)
        try:
            queue_s = time.monotonic() - came_s
            report = await self._maker.run(dataclasses.replace(job, steps=steps), on_progress)
        finally:
            self._slot.release()
        return dataclasses.replace(report, queue_s=queue_s)

    def retarget(self, job_id: str, steps: int) -> None:
        if job_id in self._waiting:
            self._waiting[job_id] = steps
        else:
            self._maker.retarget(job_id, steps)

    def release(self, job_id: str) -> None:
        self._maker.release(job_id)

    def learn(self, model: str, folder: str) -> None:
        self._maker.learn(model, folder)

    async def close(self) -> None:
        await self._maker.close()

    @property
    def alive(self) -> bool:
        return self._maker.alive
