"""Writes down what happens to one job, in order and never dropping anything, while the work goes on."""

import asyncio
import contextlib
from collections.abc import Callable

import structlog
from sqlalchemy.exc import SQLAlchemyError

from edgegen.serve.jobs.archive import Archive, wall_s
from edgegen.serve.jobs.records import Change

log = structlog.get_logger(__name__)

FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 5.0  # between tries while the database cannot be reached


class Scribe:
    """One job's pen. Changes that come while another is being written are written together, in one transaction.

    `on_lost` is called, once, when the job is not this gateway's any more: cancelled, or taken over by another one.
    """

    def __init__(self, archive: Archive, job_id: str, on_written: Callable[[], None], on_lost: Callable[[], None]):
        self._archive, self._job_id = archive, job_id
        self._on_written, self._on_lost = on_written, on_lost
        self._due: list[Change] = []
        self._task: asyncio.Task[None] | None = None
        self.lost = False

    def put(self, change: Change) -> None:
        """Write a change down soon."""
        if self.lost:
            return
        self._due.append(change)
        if self._task is None:
            self._task = asyncio.create_task(self._write(), name=f"scribe of {self._job_id}")

    async def settle(self) -> bool:
        """Wait until everything is written; False when the job is not this gateway's any more."""
        while self._task is not None:
            await asyncio.shield(self._task)
        return not self.lost

    async def stop(self) -> None:
        """Write no more; what is not written is as if it had not happened."""
        self.lost = True
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _write(self) -> None:
        try:
            while self._due and not self.lost:
                changes, self._due = self._due, []
                if not await self._written(changes):
                    self.lost = True
                    self._on_lost()
                self._on_written()
        finally:
            self._task = None

    async def _written(self, changes: list[Change]) -> bool:
        wait_s = FIRST_WAIT_S
        while True:
            try:
                return await self._archive.apply(self._job_id, changes, wall_s())
            except (SQLAlchemyError, OSError) as error:
                log.error("a job cannot be written down; trying again", job=self._job_id, reason=str(error)[:300])
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)
