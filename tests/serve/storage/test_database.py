"""The tables, on both databases: made once however many begin, described as they are made, and durable."""

import asyncio
import importlib
import pkgutil

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import insert, inspect, select, text
from sqlalchemy.exc import IntegrityError

from edgegen.core.errors import ConfigError
from edgegen.serve import storage
from edgegen.serve.storage.database import Database, parse_url
from edgegen.serve.storage.metadata import METADATA
from edgegen.serve.storage.tables import gateways, pictures

ROW = {"id": "one", "began_s": 1.0, "until_s": 1e9}


@pytest.fixture
async def database(database_url):
    opened = Database(database_url)
    await opened.open()
    yield opened
    await opened.close()


async def test_the_migrations_make_what_the_modules_describe(database):
    for found in pkgutil.iter_modules(storage.__path__):  # every module that describes tables has described them
        importlib.import_module(f"{storage.__name__}.{found.name}")

    def differences(connection):
        return compare_metadata(MigrationContext.configure(connection), METADATA)

    async with database.reading() as connection:
        assert await connection.run_sync(differences) == []


async def test_many_that_begin_at_once_make_the_tables_once(database_url):
    begun = [Database(database_url) for _ in range(4)]
    await asyncio.gather(*(each.open() for each in begun))
    async with begun[0].reading() as connection:
        names = await connection.run_sync(lambda connection: inspect(connection).get_table_names())
        versions = (await connection.execute(text("SELECT count(*) FROM alembic_version"))).scalar_one()
    assert {"jobs", "events"} <= set(names)
    assert versions == 1
    await asyncio.gather(*(each.close() for each in begun))


async def test_what_was_committed_is_there_for_the_next_one_and_what_failed_is_not(database, database_url):
    async with database.writing() as connection:
        await connection.execute(insert(gateways).values(ROW))

    async def fail():
        async with database.writing() as connection:
            await connection.execute(insert(gateways).values({**ROW, "id": "two"}))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    await database.close()
    again = Database(database_url)
    await again.open()
    async with again.reading() as connection:
        assert (await connection.execute(select(gateways.c.id))).scalars().all() == ["one"]
    await again.close()


async def test_a_row_of_no_job_is_refused(database):
    with pytest.raises(IntegrityError):
        async with database.writing() as connection:
            await connection.execute(insert(pictures).values(job_id="none", number=0, id="img", seed=1))


async def test_writers_that_read_first_do_not_lose_each_others_writes(database_url):
    """Two processes that count up in the same row: every step is counted, none fails."""
    both = [Database(database_url) for _ in range(2)]
    for each in both:
        await each.open()
    async with both[0].writing() as connection:
        await connection.execute(insert(gateways).values(ROW))

    async def count(database):
        for _ in range(20):
            async with database.writing() as connection:
                found = await connection.execute(select(gateways.c.began_s).with_for_update())
                await connection.execute(gateways.update().values(began_s=found.scalar_one() + 1))

    await asyncio.gather(*(count(each) for each in both))
    async with both[0].reading() as connection:
        assert (await connection.execute(select(gateways.c.began_s))).scalar_one() == 41.0
    await asyncio.gather(*(each.close() for each in both))


async def test_a_reader_sees_one_state_whatever_is_written_meanwhile(database):
    async with database.reading() as reader:
        assert (await reader.execute(select(gateways.c.id))).all() == []
        async with database.writing() as writer:
            await writer.execute(insert(gateways).values(ROW))
        assert (await reader.execute(select(gateways.c.id))).all() == []
    async with database.reading() as reader:
        assert (await reader.execute(select(gateways.c.id))).scalars().all() == ["one"]


async def test_sqlite_is_durable_and_read_while_it_is_written(tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'deep' / 'edgegen.db'}")
    await database.open()
    async with database.writing() as writer:
        await writer.execute(insert(gateways).values(ROW))
        async with database.reading() as reader:
            assert (await reader.execute(select(gateways.c.id))).first() is None
            assert (await reader.execute(text("PRAGMA journal_mode"))).scalar_one() == "wal"
            assert (await reader.execute(text("PRAGMA synchronous"))).scalar_one() == 2
    await database.close()


@pytest.mark.parametrize("url", ["mysql://me:secret@host/x", "nonsense", "sqlite://", "sqlite:///:memory:"])
def test_what_is_no_database_of_ours_is_said_without_its_password(url):
    with pytest.raises(ConfigError, match="sqlite:///edgegen-runs") as refused:
        parse_url(url)
    assert "secret" not in str(refused.value)


async def test_a_database_that_is_not_there_is_said_in_one_line_without_its_password():
    database = Database("postgresql://me:secret@127.0.0.1:9/none")
    with pytest.raises(ConfigError, match=r"cannot use the database .*\[storage\] url") as refused:
        await database.open()
    assert "secret" not in str(refused.value)
