"""Jobs in SQL. Whatever changes a job is one transaction that begins with a conditional UPDATE of its row.

The condition is: it has not ended, and it is mine. So a job ends once, a picture is kept once, and a gateway that was
thought dead changes nothing when it comes back; the database decides, never somebody's memory.
"""

import time
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, case, delete, exists, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from edgegen.serve.jobs.records import UNHURRIED_S, Change, Checkpoint, End, Job, KeyReusedError, Once, Wanted
from edgegen.serve.jobs.telling import outbox_row
from edgegen.serve.storage.database import Database
from edgegen.serve.storage.tables import (
    attempts,
    events,
    forgotten,
    gateways,
    idempotency,
    jobs,
    pictures,
    results,
    webhooks,
)


class Archive:
    """Writes as one gateway, whose name is `owner`."""

    def __init__(self, database: Database, owner: str):
        self._database, self.owner = database, owner

    # acceptance

    async def accept(self, job: Job, due_s: float | None, once: Once | None, *, take: bool) -> str:
        """Keep a new job, taken by this gateway or not, and return its id, or that of the same one which came before.

        **Raises** `KeyReusedError` when the key came with another body.
        """
        try:
            async with self._database.writing() as connection:
                return await self._accept(connection, job, due_s, once, take=take)
        except IntegrityError:  # the same key came twice at once, and the other one was first
            if once is None:
                raise
            async with self._database.writing() as connection:
                return await self._accept(connection, job, due_s, once, take=take)

    async def _accept(
        self, connection: AsyncConnection, job: Job, due_s: float | None, once: Once | None, *, take: bool
    ) -> str:
        known = await _known(connection, job.account, once) if once else None
        if known is not None:
            return known
        row = {
            "id": job.id, "account": job.account, "status": "waiting", "body": job.body, "created_s": job.created_s,
            "turn_s": job.created_s + UNHURRIED_S if due_s is None else due_s, "owner": self.owner if take else None,
            "takings": int(take), "last_event": 1, "webhook": job.webhook,
        }  # fmt: skip
        await connection.execute(insert(jobs).values(row))
        rows = [{"job_id": job.id, "number": w.number, "id": w.id, "seed": w.seed} for w in job.pictures]
        await connection.execute(insert(pictures), rows)
        first = {"job_id": job.id, "number": 1, "kind": "accepted", "at_s": job.created_s, "data": {}}
        await connection.execute(insert(events).values(first))
        if once is not None:
            key = {"account": job.account, "key": once.key, "job_id": job.id, "body_sha256": once.body_sha256}
            await connection.execute(insert(idempotency).values(key))
        return job.id

    async def count_open(self) -> int:
        """Return how many jobs have not ended."""
        async with self._database.reading() as connection:
            return (await connection.execute(select(func.count()).where(jobs.c.ended_s.is_(None)))).scalar_one()

    # ownership

    async def live(self, now_s: float, until_s: float) -> None:
        """Say that this gateway is alive until then."""
        async with self._database.writing() as connection:
            mine = update(gateways).where(gateways.c.id == self.owner).values(until_s=until_s)
            if not (await connection.execute(mine)).rowcount:
                row = {"id": self.owner, "began_s": now_s, "until_s": until_s}
                await connection.execute(insert(gateways).values(row))

    async def others(self, now_s: float) -> list[str]:
        """Return the names of the other gateways that are thought alive."""
        async with self._database.reading() as connection:
            alive = select(gateways.c.id).where(gateways.c.until_s > now_s, gateways.c.id != self.owner)
            return list((await connection.execute(alive)).scalars())

    async def bury(self, names: Sequence[str]) -> None:
        """Note that these gateways are gone: what they worked on is free."""
        async with self._database.writing() as connection:
            await connection.execute(delete(gateways).where(gateways.c.id.in_(names)))

    async def take(self, limit: int, now_s: float) -> list[Job]:
        """Take up to so many jobs that nobody works on, those with the earliest deadline first."""
        alive = exists().where(gateways.c.id == jobs.c.owner, gateways.c.until_s > now_s)
        free = (jobs.c.ended_s.is_(None), or_(jobs.c.owner.is_(None), ~alive))
        chosen = select(jobs.c.id).where(*free).order_by(jobs.c.turn_s).limit(limit)
        async with self._database.writing() as connection:
            ids = list((await connection.execute(chosen.with_for_update(skip_locked=True, of=jobs))).scalars())
            if not ids:
                return []
            taken = update(jobs).where(jobs.c.id.in_(ids), *free)
            await connection.execute(taken.values(owner=self.owner, takings=jobs.c.takings + 1))
            rows = (await connection.execute(select(jobs).where(jobs.c.id.in_(ids)).order_by(jobs.c.turn_s))).all()
            return [await _job(connection, row) for row in rows]

    async def mine(self) -> set[str]:
        """Return the ids of the jobs that are this gateway's to work on."""
        async with self._database.reading() as connection:
            own = select(jobs.c.id).where(jobs.c.owner == self.owner, jobs.c.ended_s.is_(None))
            return set((await connection.execute(own)).scalars())

    async def release(self, job_ids: Iterable[str]) -> None:
        """Give jobs back; somebody else, or the next start, goes on with them."""
        async with self._database.writing() as connection:
            mine = update(jobs).where(jobs.c.id.in_(list(job_ids)), *self._still_mine())
            await connection.execute(mine.values(owner=None))

    def _still_mine(self) -> tuple[ColumnElement[bool], ...]:
        return (jobs.c.owner == self.owner, jobs.c.ended_s.is_(None))

    # changes

    async def apply(self, job_id: str, changes: Sequence[Change], now_s: float) -> bool:
        """Write changes of a job that is this gateway's; False, and nothing written, when it is not (any more)."""
        async with self._database.writing() as connection:
            return await _apply(connection, job_id, changes, now_s, self.owner, self._still_mine())

    async def cancel(self, job_id: str, now_s: float) -> bool:
        """End a job because whoever asked wants it no more, whoever works on it; False when it has ended already."""
        change = Change("cancelled", end=End("cancelled"))
        async with self._database.writing() as connection:
            return await _apply(connection, job_id, [change], now_s, self.owner, (jobs.c.ended_s.is_(None),))

    # retention

    async def forget(self, before_s: float, now_s: float, limit: int = 100) -> list[str]:
        """Remove jobs that ended before then, with everything that is known about them, and return their ids.

        In the same transaction it is noted that their blobs are to be swept: a job is whole until then, and gone from then on.
        """
        old = select(jobs.c.id).where(jobs.c.ended_s < before_s).order_by(jobs.c.ended_s).limit(limit)
        async with self._database.writing() as connection:
            ids = list((await connection.execute(old.with_for_update(skip_locked=True))).scalars())
            if ids:
                await connection.execute(insert(forgotten), [{"job_id": job_id, "at_s": now_s} for job_id in ids])
                await connection.execute(delete(jobs).where(jobs.c.id.in_(ids)))
            return ids

    async def unswept(self, after: str = "", limit: int = 100) -> list[str]:
        """Return ids of jobs that are gone and whose blobs may still be there, in order, those after an id."""
        async with self._database.reading() as connection:
            left = (
                select(forgotten.c.job_id).where(forgotten.c.job_id > after).order_by(forgotten.c.job_id).limit(limit)
            )
            return list((await connection.execute(left)).scalars())

    async def swept(self, job_ids: Sequence[str]) -> None:
        """Note that the blobs of jobs are gone, too."""
        async with self._database.writing() as connection:
            await connection.execute(delete(forgotten).where(forgotten.c.job_id.in_(job_ids)))


async def _known(connection: AsyncConnection, account: str, once: Once) -> str | None:
    found = (
        await connection.execute(
            select(idempotency.c.job_id, idempotency.c.body_sha256).where(
                idempotency.c.account == account, idempotency.c.key == once.key
            )
        )
    ).first()
    if found is None:
        return None
    if found.body_sha256 != once.body_sha256:
        raise KeyReusedError(
            f"the Idempotency-Key came before, with another body, for the job {found.job_id}; "
            "take a new key for a new request"
        )
    return found.job_id


async def _job(connection: AsyncConnection, row: Row[Any]) -> Job:
    made = exists().where(results.c.job_id == pictures.c.job_id, results.c.picture == pictures.c.number)
    columns = select(pictures, case((made, 1), else_=0).label("made"))
    found = (await connection.execute(columns.where(pictures.c.job_id == row.id).order_by(pictures.c.number))).all()
    wanted = tuple(Wanted(w.number, w.id, w.seed, _checkpoint(w), bool(w.made)) for w in found)
    return Job(row.id, row.account, row.body, row.created_s, wanted, row.webhook, row.takings)


def _checkpoint(row: Row[Any]) -> Checkpoint | None:
    return Checkpoint(row.model, row.step, row.checkpoint, row.checkpoint_sha256) if row.checkpoint else None


async def _apply(
    connection: AsyncConnection,
    job_id: str,
    changes: Sequence[Change],
    now_s: float,
    owner: str,
    condition: tuple[ColumnElement[bool], ...],
) -> bool:
    """Write changes where the condition holds. The UPDATE comes first: whoever else wants the row waits, then sees it."""
    end = next((change.end for change in changes if change.end), None)
    values: dict[str, Any] = {"last_event": jobs.c.last_event + len(changes)}
    if any(change.attempt for change in changes):
        values["status"] = "running"
    if end is not None:
        values |= {"status": end.status, "ended_s": now_s, "owner": None, "error": end.error}
    columns = (jobs.c.last_event, jobs.c.webhook, jobs.c.created_s)
    changed = update(jobs).where(jobs.c.id == job_id, *condition).values(**values).returning(*columns)
    row = (await connection.execute(changed)).first()
    if row is None:
        return False
    first = row.last_event - len(changes) + 1
    for number, change in enumerate(changes, start=first):
        await _write(connection, job_id, number, change, now_s, owner)
    if end is not None and row.webhook:
        told = await outbox_row(connection, job_id, end, row, now_s)
        await connection.execute(insert(webhooks).values(told))
    return True


async def _write(
    connection: AsyncConnection, job_id: str, number: int, change: Change, now_s: float, owner: str
) -> None:
    told = {"job_id": job_id, "number": number, "kind": change.kind, "at_s": now_s, "data": change.data}
    await connection.execute(insert(events).values(told))
    if (attempt := change.attempt) is not None:
        row = {"job_id": job_id, "event": number, "gateway": owner, "at_s": now_s, **vars(attempt)}
        await connection.execute(insert(attempts).values(row))
    if change.checkpoint is not None:
        picture, kept = change.checkpoint
        values = {"model": kept.model, "step": kept.step, "checkpoint": kept.blob, "checkpoint_sha256": kept.sha256}
        there = update(pictures).where(pictures.c.job_id == job_id, pictures.c.number == picture)
        await connection.execute(there.values(values))
    if (result := change.result) is not None:
        await connection.execute(insert(results).values({"job_id": job_id, "at_s": now_s, **vars(result)}))


def wall_s() -> float:
    """Return Unix time: what a deadline and a lease mean must outlive the process."""
    return time.time()
