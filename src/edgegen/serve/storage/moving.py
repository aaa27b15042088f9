"""All tables from one database into another: how jobs move from SQLite to PostgreSQL, or back."""

from collections.abc import Callable

from sqlalchemy import Connection, MetaData, Table, func, insert, select

from edgegen.core.errors import InputError
from edgegen.serve.storage import tables
from edgegen.serve.storage.database import Database
from edgegen.serve.storage.metadata import METADATA

ROWS_AT_ONCE = 500
_HISTORY = "alembic_version"  # the target has its own


async def move(source_url: str, target_url: str, *, now_s: float, told: Callable[[str, int], None]) -> dict[str, int]:
    """Copy every row and return how many there were by table; `told` hears of every table that is done.

    The target is written in one transaction: it has everything, or nothing. **Raises** `InputError` when a gateway still
    works on the source, or the target holds jobs.
    """
    source, target = Database(source_url), Database(target_url)
    try:
        await source.open()
        await target.open()
        async with source.reading() as read, target.writing() as write:
            alive = select(func.count()).where(tables.gateways.c.until_s > now_s)
            if (await read.execute(alive)).scalar_one():
                raise InputError(f"a gateway works on {source.name}; end it first, or wait until its lease has run out")
            counts = {}
            for table in await read.run_sync(_known_tables):
                if (await write.execute(select(func.count()).select_from(table))).scalar_one():
                    raise InputError(f"{target.name} is not empty: it has rows in {table.name!r}; name a new database")
                counts[table.name] = 0
                rows = await read.stream(select(table))
                async for some in rows.mappings().partitions(ROWS_AT_ONCE):
                    await write.execute(insert(table), [dict(row) for row in some])
                    counts[table.name] += len(some)
                told(table.name, counts[table.name])
            return counts
    finally:
        await source.close()
        await target.close()


def _known_tables(connection: Connection) -> list[Table]:
    """Return the tables of the database itself, those that others refer to first."""
    found = MetaData()
    found.reflect(connection)
    # As they are described where they are, for the sake of their types: SQLite knows little of JSON.
    return [METADATA.tables.get(table.name, table) for table in found.sorted_tables if table.name != _HISTORY]
