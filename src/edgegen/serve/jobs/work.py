"""One job at work: its pictures through the dispatcher, everything that must survive into the tables."""

import asyncio
import base64
import binascii
import dataclasses
import secrets
import time
from collections.abc import Callable

import structlog

from edgegen.core.errors import BusyError, EdgegenError, InfeasibleError, InputError
from edgegen.dispatch.messages import Request, Start
from edgegen.serve.intake import Intake
from edgegen.serve.jobs.archive import Archive, wall_s
from edgegen.serve.jobs.records import Attempt, Change, Checkpoint, End, Job, Result, Wanted
from edgegen.serve.jobs.scribe import Scribe
from edgegen.serve.journey import AbstractKeeper, Carried, Ticket
from edgegen.serve.problems import problem_of
from edgegen.serve.runtime import Runtime
from edgegen.serve.storage.blobs import BlobError, Blobs
from edgegen.serve.store import Record, split_dict
from edgegen.serve.wire import JobBody
from edgegen.serve.workers.messages import Progress

log = structlog.get_logger(__name__)

TRIES = 3  # for a picture that no worker could make, where each try is several attempts of the dispatcher
AGAIN_S = 1.0  # before the next one; a worker that was lost starts again meanwhile
LONGEST_WAIT_S = 5.0  # for a dispatcher that is full
TELL_EVERY_S = 1.0  # progress between checkpoints is written down so often


Bill = Callable[[str, Ticket], None]


class StoppedError(EdgegenError):
    """This gateway works on the job no more; it has not ended because of that."""


class PictureKeeper(AbstractKeeper):
    """Keeps one picture's starts, progress and latest checkpoint."""

    def __init__(self, work: "Work", wanted: Wanted, every: int, checkpoint_b64: str | None):
        self._work, self._number, self.every = work, wanted.number, every
        self._kept = wanted.checkpoint  # in the tables
        self._left = None
        if wanted.checkpoint and checkpoint_b64:
            self._left = Carried(wanted.checkpoint.model, wanted.checkpoint.step, checkpoint_b64)
        self._due: tuple[Checkpoint, bytes, int] | None = None
        self._writing: asyncio.Task[None] | None = None
        self._told_s = 0.0

    def started(self, record: Record, start: Start) -> None:
        done = start.from_step
        decision = {"reason": start.reason, "predicted": split_dict(start.predicted), "policy": record.policy}
        told = {"picture": self._number, "node": start.node, "model": start.model, "steps": start.steps}
        attempt = Attempt(self._number, start.node, start.model, start.steps, done, decision)
        told |= {"done_steps": done, "reason": start.reason}
        self._work.scribe.put(Change("started", told, attempt=attempt))

    def progressed(self, record: Record, progress: Progress) -> None:
        if progress.checkpoint_b64 and record.start is not None:
            self._keep(record.start.model, progress)
        elif time.monotonic() - self._told_s >= TELL_EVERY_S:
            self._work.scribe.put(self._told(progress.step, progress.steps))

    def latest(self) -> Carried | None:
        return self._left

    async def settle(self) -> None:
        """Wait until the latest checkpoint is kept."""
        if self._writing is not None:
            await self._writing

    async def forget(self) -> None:
        """Remove the checkpoint of a picture that needs none any more."""
        if self._kept is not None:
            await self._work.blobs.remove(self._kept.blob)

    def _told(self, step: int, steps: int) -> Change:
        self._told_s = time.monotonic()
        return Change("progress", {"picture": self._number, "step": step, "steps": steps})

    def _keep(self, model: str, progress: Progress) -> None:
        """Keep a checkpoint; while one is written only the latest of those that come meanwhile is."""
        assert progress.checkpoint_b64 is not None
        try:
            data = base64.b64decode(progress.checkpoint_b64, validate=True)
        except binascii.Error:
            log.error("a worker sent a checkpoint that is none", picture=progress.id)
            return
        # Never a name that was used: until the row says so, the one before is the one that counts.
        name = f"jobs/{self._work.job.id}/{self._number}-{progress.step}-{secrets.token_hex(4)}.checkpoint"
        made = Checkpoint(model, progress.step, name, "")
        self._due = (made, data, progress.steps)
        if self._writing is None:
            self._writing = asyncio.create_task(self._write(), name=f"checkpoints of {progress.id}")

    async def _write(self) -> None:
        blobs, scribe = self._work.blobs, self._work.scribe
        try:
            while self._due is not None and not scribe.lost:
                (made, data, steps), self._due = self._due, None
                kept = dataclasses.replace(made, sha256=await blobs.write(made.blob, data))
                told = self._told(made.step, steps)
                told = dataclasses.replace(told, data={**told.data, "kept": True}, checkpoint=(self._number, kept))
                scribe.put(told)
                if await scribe.settle():
                    before, self._kept = self._kept, kept
                    if before is not None and before.blob != kept.blob:
                        await blobs.remove(before.blob)
        except OSError as error:  # the picture is made all the same; it would only begin further back
            log.error("a checkpoint cannot be kept", job=self._work.job.id, reason=str(error))
        finally:
            self._writing = None


class Work:
    """A job that this gateway has taken. `run` returns when it has ended, or is not ours any more."""

    def __init__(self, job: Job, runtime: Runtime, intake: Intake, archive: Archive, blobs: Blobs, keep_every: int):
        self.job, self.blobs = job, blobs
        self._runtime, self._intake, self._keep_every = runtime, intake, keep_every
        self.bill: Bill = lambda account, ticket: None  # is told of every picture that is begun
        self.news = asyncio.Event()  # something was written
        self.scribe = Scribe(archive, job.id, self.news.set, self.stop)
        self._tickets: list[Ticket] = []
        self._keepers: dict[int, PictureKeeper] = {}
        self._missing = {wanted.number for wanted in job.pictures if not wanted.made}
        self._stopped = self._finishing = False

    @property
    def waits(self) -> bool:
        """Whether no picture of it has been given to a worker."""
        return all(ticket.record.start is None for ticket in self._tickets)

    async def run(self) -> None:
        """Make what is missing and end the job. Whatever goes wrong is the job's end, with its reason."""
        try:
            for wanted in self.job.pictures:
                checkpoint_b64 = await self._read(wanted.checkpoint) if not wanted.made else None
                self._keepers[wanted.number] = PictureKeeper(self, wanted, self._keep_every, checkpoint_b64)
            await self._make_all()
        except StoppedError:
            await self.keep()
            return
        except InfeasibleError as error:
            self._end("refused", error)
        except EdgegenError as error:
            self._end("failed", error)
        except Exception as error:  # a mistake of ours must not leave a job that never ends
            log.error("a job failed unexpectedly", job=self.job.id, exc_info=error)
            self._end("failed", EdgegenError("the gateway failed to handle this job; its log says why"))
        finally:
            self._leave()
        if await self.scribe.settle():
            await self._tidy()

    def stop(self) -> None:
        """Work on it no more; it stays open."""
        self._stopped = True
        self._leave()

    def finish(self) -> None:
        """Come to an end with what is under way, or leave it to the next start: begin nothing again."""
        self._finishing = True
        if self.waits:
            self.stop()

    def ask_back(self, later_than_s: float = 0.0) -> None:
        """Ask the workers for the pictures that are not there in so many seconds, with what is done of them."""
        for ticket in self._tickets:
            if not ticket.done.done() and self._runtime.left_s(ticket) >= later_than_s:
                self._runtime.ask_back(ticket)

    async def keep(self) -> None:
        """Wait until what has come is kept."""
        await asyncio.gather(*(keeper.settle() for keeper in self._keepers.values()))
        await self.scribe.settle()

    async def _make_all(self) -> None:
        left = TRIES
        if not self._missing:  # whoever had it before did not come to its end
            self.scribe.put(Change("done", end=End("done")))
        while self._missing:
            try:
                await self._make()
                return
            except BusyError as error:  # it is accepted: it waits for its turn again
                self._leave()
                wait_s = min(error.retry_after_s, LONGEST_WAIT_S)
            except (InfeasibleError, InputError, StoppedError):
                raise
            except EdgegenError:
                if self._finishing:
                    raise StoppedError("the gateway is closing") from None
                self._check()
                left -= 1
                if not left:
                    raise
                self._leave()
                wait_s = AGAIN_S
            await asyncio.sleep(wait_s)
            if self._finishing:
                raise StoppedError("the gateway is closing")
            self._check()

    async def _tidy(self) -> None:
        try:
            await asyncio.gather(*(keeper.forget() for keeper in self._keepers.values()))
        except OSError as error:  # they go with the job
            log.warning("checkpoints cannot be removed", job=self.job.id, reason=str(error))

    async def _make(self) -> None:
        """Hand in what is missing and keep every picture when it comes."""
        body = JobBody.model_validate(self.job.body)
        requests = self._requests(body)
        self._tickets = []
        for number in sorted(self._missing):
            ticket = self._runtime.submit(
                requests[number], group=self.job.id, side=body.side, keeper=self._keepers[number]
            )
            self.bill(self.job.account, ticket)
            self._tickets.append(ticket)
        makings = [
            self._kept(number, ticket) for number, ticket in zip(sorted(self._missing), self._tickets, strict=True)
        ]
        tasks = [asyncio.create_task(making) for making in makings]
        try:
            await asyncio.gather(*tasks)
        except EdgegenError:
            if self._finishing:  # one was given back: the others are finished, or given back, too
                await asyncio.wait(tasks)
            raise
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _requests(self, body: JobBody) -> list[Request]:
        """Return what to ask of the dispatcher: the same pictures, at an age as on the wall clock."""
        arrived_s = self._runtime.now_s() - max(0.0, wall_s() - self.job.created_s)
        read = self._intake.requests(body, now_s=arrived_s)
        return [
            dataclasses.replace(request, id=wanted.id, seed=wanted.seed)
            for request, wanted in zip(read, self.job.pictures, strict=True)
        ]

    async def _kept(self, number: int, ticket: Ticket) -> None:
        """Wait for a picture and keep it; the last one ends the job in the same transaction."""
        record = await asyncio.shield(ticket.done)
        name = f"jobs/{self.job.id}/{number}.png"
        sha256 = await self.blobs.write(name, record.png or b"")
        self._missing.discard(number)
        made = Result(number, name, sha256, record.item())
        end = None if self._missing else End("done")
        self.scribe.put(Change("picture", {"picture": number, "id": record.id}, result=made))
        if end is not None:
            self.scribe.put(Change("done", end=end))
        if not await self.scribe.settle():
            raise StoppedError("the job is not this gateway's any more")

    async def _read(self, checkpoint: Checkpoint | None) -> str | None:
        if checkpoint is None:
            return None
        try:
            return base64.b64encode(await self.blobs.read(checkpoint.blob, checkpoint.sha256)).decode()
        except (BlobError, OSError) as error:
            log.warning("a checkpoint cannot be used; the picture begins again", job=self.job.id, reason=str(error))
            return None

    def _end(self, status, error: EdgegenError) -> None:
        if not self._stopped:
            self.scribe.put(Change(status, {"reason": str(error)}, end=End(status, problem_of(error).body()["error"])))

    def _check(self) -> None:
        if self._stopped:
            raise StoppedError("this gateway works on the job no more")

    def _leave(self) -> None:
        for ticket in self._tickets:
            self._runtime.abandon(ticket)  # nothing happens to what has ended
