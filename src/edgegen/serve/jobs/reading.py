"""What clients see of jobs, read from the tables."""

import dataclasses
from typing import Any

from sqlalchemy import Row, and_, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from edgegen.serve.jobs.records import Event, Result
from edgegen.serve.storage.database import Database
from edgegen.serve.storage.tables import events, jobs, pictures, results, webhooks

_EVENTS_AT_ONCE = 500


@dataclasses.dataclass(frozen=True)
class Seen:
    """A job as it stands."""

    row: Row[Any]  # of `jobs`
    results: tuple[Result, ...]
    webhook: Row[Any] | None  # of `webhooks`; it has one once it has ended


@dataclasses.dataclass(frozen=True)
class Kept:
    """A picture of a job: where it is kept, and what its job asked for."""

    blob: str
    sha256: str
    body: dict[str, Any]


class Reader:
    """Reads; an `account` sees its own jobs and no others."""

    def __init__(self, database: Database):
        self._database = database

    async def job(self, job_id: str, account: str) -> Seen | None:
        """Return a job, or None where there is none with this id."""
        async with self._database.reading() as connection:
            own = select(jobs).where(jobs.c.id == job_id, jobs.c.account == account)
            row = (await connection.execute(own)).first()
            if row is None:
                return None
            told = (await connection.execute(select(webhooks).where(webhooks.c.job_id == job_id))).first()
            return Seen(row, await _results(connection, job_id), told)

    async def page(self, account: str, limit: int, after: str | None) -> list[Row[Any]] | None:
        """Return jobs, the newest first, those after the job of that id; None when that one is not known."""
        async with self._database.reading() as connection:
            own = select(jobs).where(jobs.c.account == account)
            if after is not None:
                at = select(jobs.c.created_s).where(jobs.c.id == after, jobs.c.account == account)
                created_s = (await connection.execute(at)).scalar_one_or_none()
                if created_s is None:
                    return None
                same = and_(jobs.c.created_s == created_s, jobs.c.id < after)
                own = own.where(or_(jobs.c.created_s < created_s, same))
            newest = own.order_by(jobs.c.created_s.desc(), jobs.c.id.desc()).limit(limit)
            return list((await connection.execute(newest)).all())

    async def events(self, job_id: str, after: int) -> list[Event]:
        """Return what happened to a job after an event, in order."""
        async with self._database.reading() as connection:
            later = select(events).where(events.c.job_id == job_id, events.c.number > after)
            rows = await connection.execute(later.order_by(events.c.number).limit(_EVENTS_AT_ONCE))
            return [Event(row.number, row.kind, row.at_s, row.data) for row in rows]

    async def picture(self, picture_id: str) -> Kept | None:
        """Return where a picture is kept."""
        async with self._database.reading() as connection:
            of_picture = and_(results.c.job_id == pictures.c.job_id, results.c.picture == pictures.c.number)
            found = (
                select(results.c.blob, results.c.sha256, jobs.c.body)
                .join(pictures, of_picture)
                .join(jobs, jobs.c.id == pictures.c.job_id)
                .where(pictures.c.id == picture_id)
            )
            row = (await connection.execute(found)).first()
            return Kept(row.blob, row.sha256, row.body) if row else None


async def _results(connection: AsyncConnection, job_id: str) -> tuple[Result, ...]:
    rows = await connection.execute(select(results).where(results.c.job_id == job_id).order_by(results.c.picture))
    return tuple(Result(row.picture, row.blob, row.sha256, row.item) for row in rows)
