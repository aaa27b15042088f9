"""The gateway's part in jobs: accept them durably, take those that nobody works on, and let none be forgotten.

A gateway says in the database that it lives (its lease) and works on the jobs that name it as their owner. What belongs to
nobody, or to a gateway whose lease ran out or whose process is gone from this machine, is taken by whoever has room: that
is all there is to recovery, after a crash, after an orderly end, and between gateways that share a database.
"""

import asyncio
import collections
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import httpx
import structlog
from sqlalchemy.exc import SQLAlchemyError

from edgegen.config import JobsSection
from edgegen.core.errors import BusyError, WorkerError
from edgegen.serve.intake import Intake
from edgegen.serve.jobs import owners
from edgegen.serve.jobs.archive import Archive, wall_s
from edgegen.serve.jobs.reading import Reader
from edgegen.serve.jobs.records import Event, Job, Once
from edgegen.serve.jobs.telling import Outbox, Targets
from edgegen.serve.jobs.work import Bill, Work
from edgegen.serve.runtime import Runtime
from edgegen.serve.storage.database import is_away
from edgegen.serve.storage.place import Storage
from edgegen.serve.storage.tables import ENDED

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 1.0  # for jobs that became free, messages that are due, and what other gateways wrote
FORGET_EVERY_S = 60.0
OLD_COUNT_S = 5.0  # a count of open jobs that is older than this is waited for
ASKING = 0.25  # of the grace time of an end: for workers to give back what they will not finish
TELL_TIMEOUT_S = 10.0
MESSAGES_AT_ONCE = 16


class Jobs:
    """Owns the jobs that this gateway works on."""

    def __init__(self, runtime: Runtime, intake: Intake, storage: Storage, section: JobsSection, targets: Targets):
        self._runtime, self._intake, self._storage, self._section = runtime, intake, storage, section
        self.targets, self.reader = targets, Reader(storage.database)
        self._archive = Archive(storage.database, owners.new_owner())
        self._outbox = Outbox(storage.database)
        self._works: dict[str, Work] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._wanted = asyncio.Event()  # there may be a job to take
        self._ended: collections.deque[float] = collections.deque(maxlen=50)  # when the latest jobs ended here
        self._strays: set[str] = set()
        self._open = 0  # jobs that have not ended, of all gateways
        self._counted_s = float("-inf")
        self._since = 0  # accepted here since the latest count began
        self._counting: asyncio.Task[None] | None = None
        self.accepting = self.opened = False
        self.bill: Bill = lambda account, ticket: None  # is told of every picture that is begun, and for whom

    # life

    async def open(self) -> None:
        """Say that this gateway lives, and go on with what is not ended."""
        await self._renew()
        self.accepting = self.opened = True
        every_s = self._section.lease / 3
        self._spawn(self._repeat(self._renew, every_s), "lease of jobs")
        self._spawn(self._repeat(self._take, LOOK_EVERY_S, self._wanted), "taking of jobs")
        self._spawn(self._repeat(self._tell, LOOK_EVERY_S), "webhooks")
        self._spawn(self._repeat(self._forget, FORGET_EVERY_S), "forgetting of jobs")

    async def drain(self, grace_s: float) -> None:
        """Accept and take nothing new, finish what a worker has begun, leave the rest to the next start.

        What will not be done in time is asked back, at once where that is foreseen: so the next start begins where the
        worker was. One that does not answer costs no more than the grace time.
        """
        self.accepting = False
        asking_s = ASKING * grace_s
        for work in list(self._works.values()):
            work.finish()
            if grace_s > 0:
                work.ask_back(grace_s - asking_s)
        await self._wait(grace_s - asking_s)
        if grace_s > 0:
            for work in list(self._works.values()):
                work.ask_back()
            await self._wait(asking_s)
        for work in list(self._works.values()):
            work.stop()

    async def close(self) -> None:
        """End all work and give what has not ended back."""
        await self.drain(0.0)
        await self._wait(self._section.lease)  # until checkpoints are kept
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            await self._archive.release(await self._archive.mine())
            await self._archive.bury([self._archive.owner])
        except (SQLAlchemyError, OSError) as error:  # then they wait until the lease runs out
            log.error("jobs cannot be given back", reason=str(error)[:300])

    async def _wait(self, seconds: float) -> None:
        working = [task for task in self._tasks if task.get_name() in self._works]
        if working and seconds > 0:
            await asyncio.wait(working, timeout=seconds)

    # for clients

    async def accept(self, job: Job, due_s: float | None, once: Once | None) -> str:
        """Accept a job: when this returns its id, it is on the disk. **Raises** `BusyError`, `WorkerError`."""
        if not self.accepting:
            raise WorkerError("the gateway is closing; ask another one")
        await self._check_room()
        take = len(self._works) < self._section.at_once
        try:
            job_id = await self._archive.accept(job, due_s, once, take=take)
        except (SQLAlchemyError, OSError) as error:
            if not is_away(error):
                raise
            log.error("a job cannot be accepted", reason=str(error)[:300])
            raise WorkerError("the database of jobs cannot be reached; the job was not accepted") from error
        if job_id == job.id:
            self._open += 1
            self._since += 1
            if take:
                self._begin(job)
            else:
                self._wanted.set()
        return job_id

    async def cancel(self, job_id: str) -> None:
        """End a job that whoever asked for it wants no more; nothing happens to one that has ended."""
        await self._archive.cancel(job_id, wall_s())
        work = self._works.get(job_id)
        if work is not None:
            work.stop()
            work.news.set()

    async def follow(self, job_id: str, after: int) -> AsyncIterator[Event]:
        """Yield what happened to a job after an event, as it comes, until its end."""
        while True:
            work = self._works.get(job_id)
            if work is not None:
                work.news.clear()
            events = await self.reader.events(job_id, after)
            for event in events:
                yield event
                after = event.number
                if event.kind in ENDED:
                    return
            if not events and not self.accepting:
                return
            if not events:
                await _first(work.news if work is not None else None, LOOK_EVERY_S)

    async def read(self, blob: str, sha256: str) -> bytes:
        """Return a kept picture. **Raises** `BlobError`."""
        return await self._storage.blobs.read(blob, sha256)

    # what goes on by itself

    async def _check_room(self) -> None:
        """Refuse a job when too many have not ended. They are counted now and then: the bound need not be exact.

        A count takes the longer the more there are, so no job waits for one, except after a pause; and nobody is refused by
        an old one.
        """
        age_s = self._runtime.now_s() - self._counted_s
        if age_s >= LOOK_EVERY_S and self._counting is None:
            self._counting = self._spawn(self._count(), "count of open jobs")
        if self._counting is not None and (age_s >= OLD_COUNT_S or self._open >= self._section.max_open):
            await asyncio.wait({self._counting})
        if self._open >= self._section.max_open:
            raise BusyError(
                f"{self._open} jobs have not ended, which is the limit; try again later", retry_after_s=self._pace_s()
            )

    async def _count(self) -> None:
        began_s, self._since = self._runtime.now_s(), 0
        try:
            counted = await self._archive.count_open()
            self._open, self._counted_s = counted + self._since, began_s
        except (SQLAlchemyError, OSError) as error:  # the acceptance that comes next finds the same, and says so
            log.error("open jobs cannot be counted", reason=str(error)[:300])
        finally:
            self._counting = None

    def _pace_s(self) -> float:
        """Return how long it takes, lately, until another job ends here."""
        if len(self._ended) < 2:
            return LOOK_EVERY_S
        return max(1.0, (self._runtime.now_s() - self._ended[0]) / len(self._ended))

    async def _renew(self) -> None:
        """Renew the lease, and let go of what is not ours any more: cancelled, or taken while we were thought dead."""
        now_s = wall_s()
        held = set(self._works)
        await self._archive.live(now_s, now_s + self._section.lease)
        mine = await self._archive.mine()
        for job_id in held - mine:
            if (work := self._works.get(job_id)) is not None:
                work.stop()
        # What is ours twice in a row and nobody works on would never end.
        strays, self._strays = self._strays & mine - set(self._works), mine - set(self._works)
        if strays:
            await self._archive.release(strays)
            self._wanted.set()
        gone = [name for name in await self._archive.others(now_s) if owners.is_gone(name)]
        if gone:
            log.warning("other gateways on this machine are gone; their jobs are taken over", gateways=len(gone))
            await self._archive.bury(gone)
            self._wanted.set()

    async def _take(self) -> None:
        while self.accepting and (room := self._section.at_once - len(self._works)) > 0:
            taken = await self._archive.take(room, wall_s())
            for job in taken:
                if job.takings > 1:
                    log.info("a job goes on", job=job.id, takings=job.takings)
                self._begin(job)
            if len(taken) < room:
                return

    def _begin(self, job: Job) -> None:
        if job.id in self._works:  # ours again before an earlier work of ours has left; `_renew` sorts it out
            return
        work = Work(job, self._runtime, self._intake, self._archive, self._storage.blobs, self._section.keep_every)
        work.bill = self.bill
        self._works[job.id] = work
        self._spawn(self._run(work), job.id)

    async def _run(self, work: Work) -> None:
        try:
            await work.run()
        finally:
            await work.scribe.stop()
            self._works.pop(work.job.id, None)
            self._ended.append(self._runtime.now_s())
            self._wanted.set()

    async def _tell(self) -> None:
        """Deliver the messages that are due, side by side."""
        while self.targets and (due := await self._outbox.take(wall_s(), 2 * TELL_TIMEOUT_S, MESSAGES_AT_ONCE)):
            async with httpx.AsyncClient(timeout=TELL_TIMEOUT_S, follow_redirects=False, trust_env=False) as client:
                await asyncio.gather(*(self._deliver(client, message) for message in due))

    async def _deliver(self, client: httpx.AsyncClient, message: Any) -> None:
        try:
            url = self.targets.check(message.url)  # what the configuration permits now, not what it once did
            headers = self.targets.headers(message.id, message.body, wall_s())
            async with client.stream("POST", url, content=message.body.encode(), headers=headers) as answer:
                trouble = None if answer.is_success else f"it answered {answer.status_code}"
        except Exception as error:
            trouble = f"{type(error).__name__}: {error}"
        if trouble is None:
            await self._outbox.delivered(message.id, wall_s())
        else:
            await self._outbox.failed(message, trouble, wall_s())

    async def _forget(self) -> None:
        """Forget old jobs: first their rows, with which they are gone for everybody, then their blobs."""
        while await self._archive.forget(wall_s() - self._storage.keep_s, wall_s()):
            await self._sweep()
        await self._sweep()

    async def _sweep(self) -> None:
        """Remove the blobs of all jobs that are gone, those included that somebody did not come to before it was killed."""
        after = ""
        while left := await self._archive.unswept(after):
            swept, after = [], left[-1]
            for job_id in left:
                try:
                    await self._storage.blobs.remove(f"jobs/{job_id}")
                    swept.append(job_id)
                except OSError as error:  # it must not keep the others back; it is tried again the next time
                    log.error("the pictures of an old job cannot be removed", job=job_id, reason=str(error))
            await self._archive.swept(swept)

    async def _repeat(
        self, chore: Callable[[], Coroutine[Any, Any, None]], every_s: float, early: asyncio.Event | None = None
    ) -> None:
        """Do something again and again; a database that is away is no reason to stop."""
        while True:
            if early is not None:
                early.clear()
            try:
                await chore()
            except (SQLAlchemyError, OSError) as error:
                log.error("jobs: trying again", chore=chore.__name__, reason=str(error)[:300])
            await _first(early, every_s)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a task of the jobs failed", task=task.get_name(), exc_info=task.exception())


async def _first(event: asyncio.Event | None, seconds: float) -> None:
    """Wait for an event, but no longer than so."""
    if event is None:
        await asyncio.sleep(seconds)
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):  # `wait_for` of Python 3.11 loses a cancellation that comes with the event
            await event.wait()
