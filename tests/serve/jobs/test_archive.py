"""Jobs in the tables, on both databases: accepted once, owned by one, ended once, whoever tries at the same time."""

import asyncio

import pytest
from sqlalchemy import func, select

from edgegen.serve.jobs.archive import Archive
from edgegen.serve.jobs.reading import Reader
from edgegen.serve.jobs.records import Attempt, Change, Checkpoint, End, Job, KeyReusedError, Once, Result, Wanted
from edgegen.serve.storage.database import Database
from edgegen.serve.storage.metadata import METADATA
from edgegen.serve.storage.tables import ENDED, events, jobs, webhooks

NOW_S, LEASE_S = 1000.0, 10.0
START = Change("started", attempt=Attempt(0, "edge-1", "shapes-s", 8, 0, {"reason": "because"}))
MADE = Change("picture", result=Result(0, "blob", "hash", {"id": "img"}))
DONE = Change("done", end=End("done"))


def job(name: str, **fields) -> Job:
    body = {"prompt": "a red circle"}
    return Job(name, fields.pop("account", ""), body, NOW_S, (Wanted(0, f"img_{name}", 7),), takings=1, **fields)


@pytest.fixture
async def database(database_url):
    opened = Database(database_url)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
async def two(database, database_url):
    """Two gateways on one database, each with connections of its own."""
    other = Database(database_url)
    await other.open()
    pair = Archive(database, "one"), Archive(other, "two")
    for archive in pair:
        await archive.live(NOW_S, NOW_S + LEASE_S)
    yield pair
    await other.close()


async def story(database, name: str) -> list[str]:
    return [event.kind for event in await Reader(database).events(name, 0)]


async def test_what_is_accepted_is_there_for_every_other_process(two):
    one, other = two
    await one.accept(job("a"), None, None, take=False)
    (taken,) = await other.take(10, NOW_S)
    assert (taken.id, taken.body, taken.pictures[0].seed, taken.takings) == ("a", {"prompt": "a red circle"}, 7, 1)


async def test_the_same_key_and_body_are_one_job_however_many_send_it_at_once(two, database):
    once = Once("key", "hash")
    both = [archive.accept(job(f"{n}"), None, once, take=False) for n in range(4) for archive in [two[n % 2]]]
    ids = set(await asyncio.gather(*both))
    assert len(ids) == 1
    async with database.reading() as connection:
        assert (await connection.execute(select(func.count()).select_from(jobs))).scalar_one() == 1
    with pytest.raises(KeyReusedError, match=f"another body, for the job {ids.pop()}"):
        await two[0].accept(job("other"), None, Once("key", "other hash"), take=False)


async def test_a_key_is_only_the_same_within_an_account(two):
    first = await two[0].accept(job("a", account="me"), None, Once("key", "hash"), take=False)
    second = await two[0].accept(job("b", account="you"), None, Once("key", "hash"), take=False)
    assert first != second


async def test_every_job_is_taken_by_one(two):
    for number in range(20):
        await two[0].accept(job(f"{number}"), None, None, take=False)
    takes = await asyncio.gather(*(archive.take(3, NOW_S) for archive in two * 4))
    ids = [taken.id for take in takes for taken in take]
    assert sorted(ids) == sorted(map(str, range(20)))


async def test_the_earliest_deadline_is_taken_first_and_nobody_starves(two):
    await two[0].accept(job("late"), NOW_S + 100, None, take=False)
    await two[0].accept(job("none"), None, None, take=False)
    await two[0].accept(job("soon"), NOW_S + 5, None, take=False)
    await two[0].accept(job("beyond"), NOW_S + 4000, None, take=False)
    assert [taken.id for taken in await two[1].take(10, NOW_S)] == ["soon", "late", "none", "beyond"]


async def test_the_jobs_of_a_living_gateway_are_its_own_and_those_of_a_silent_one_are_taken_over(two, database):
    one, other = two
    await one.accept(job("a"), None, None, take=True)
    kept = Checkpoint("shapes-s", 4, "blob", "hash")
    assert await one.apply("a", [START, Change("progress", checkpoint=(0, kept))], NOW_S)
    assert await other.take(10, NOW_S + LEASE_S - 1) == []
    (taken,) = await other.take(10, NOW_S + LEASE_S + 1)
    assert taken.pictures[0].checkpoint == kept
    before = await story(database, "a")
    assert not await one.apply("a", [MADE, DONE], NOW_S), "what was taken over is not the old owner's to end"
    assert await one.mine() == set()
    assert await story(database, "a") == before
    assert await other.apply("a", [MADE, DONE], NOW_S)
    assert await story(database, "a") == ["accepted", "started", "progress", "picture", "done"]


async def test_a_job_that_is_given_back_and_one_whose_gateway_is_known_to_be_gone_are_free(two):
    one, other = two
    for name in ("a", "b"):
        await one.accept(job(name), None, None, take=True)
    await one.release(["a"])
    assert [taken.id for taken in await other.take(10, NOW_S)] == ["a"]
    assert await other.others(NOW_S) == ["one"]
    await other.bury(["one"])
    assert [taken.id for taken in await other.take(10, NOW_S)] == ["b"]


async def test_a_job_ends_once_whoever_tries_at_the_same_time(two, database):
    one, other = two
    for number in range(10):
        name = f"{number}"
        await one.accept(job(name), None, None, take=True)
        won = await asyncio.gather(
            one.apply(name, [MADE, DONE], NOW_S), other.cancel(name, NOW_S), one.apply(name, [DONE], NOW_S)
        )
        assert won.count(True) == 1
        kinds = await story(database, name)
        assert sum(kind in ENDED for kind in kinds) == 1
        assert kinds[-1] in ENDED


async def test_events_are_numbered_without_gaps_whoever_writes(two, database):
    one, other = two
    await one.accept(job("a"), None, None, take=True)
    writes = [one.apply("a", [Change("progress", {"step": step}), START], NOW_S) for step in range(8)]
    await asyncio.gather(*writes)
    await other.cancel("a", NOW_S)
    numbers = [event.number for event in await Reader(database).events("a", 0)]
    assert numbers == list(range(1, 19))


@pytest.mark.parametrize("end", [End("done"), End("failed", {"message": "no"}), End("cancelled")])
async def test_a_message_is_due_exactly_when_its_job_has_ended(two, database, end):
    one, _ = two
    for name, url in (("told", "https://example.com/"), ("silent", None)):
        await one.accept(job(name, webhook=url), None, None, take=True)
        await one.apply(name, [MADE], NOW_S)
    async with database.reading() as connection:
        assert (await connection.execute(select(webhooks.c.job_id))).all() == []
    for name in ("told", "silent"):
        assert await one.apply(name, [Change(end.status, end=end)], NOW_S)
        assert not await one.apply(name, [Change(end.status, end=end)], NOW_S)
    async with database.reading() as connection:
        assert (await connection.execute(select(webhooks.c.job_id))).scalars().all() == ["told"]


async def test_a_job_is_forgotten_once_however_many_forget_at_the_same_time(two):
    for number in range(12):
        await two[0].accept(job(f"{number:02}"), None, None, take=True)
        await two[0].apply(f"{number:02}", [MADE, DONE], NOW_S)
    found = await asyncio.gather(*(archive.forget(NOW_S + 1, NOW_S, limit=5) for archive in two * 4))
    assert sorted(job_id for ids in found for job_id in ids) == sorted(f"{number:02}" for number in range(12))
    assert len(await two[0].unswept()) == 12


async def test_what_is_forgotten_leaves_nothing_behind(two, database):
    one, other = two
    await one.accept(job("a", webhook="https://example.com/"), None, Once("key", "hash"), take=True)
    await one.accept(job("open"), None, None, take=True)
    await one.apply("a", [START, MADE, DONE], NOW_S)
    assert await one.forget(NOW_S, NOW_S) == []
    assert await one.forget(NOW_S + 1, NOW_S) == ["a"]
    assert await other.unswept() == ["a"], "whoever comes next knows what is left"
    assert await other.unswept("a") == []
    await other.swept(["a"])
    async with database.reading() as connection:
        for table in METADATA.sorted_tables:
            if "job_id" in table.c:
                left = (await connection.execute(select(table.c.job_id).distinct())).scalars().all()
                assert set(left) <= {"open"}, table.name
        assert (await connection.execute(select(jobs.c.id))).scalars().all() == ["open"]
        assert (await connection.execute(select(func.count()).select_from(events))).scalar_one() == 1
