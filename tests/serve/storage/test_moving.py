"""Jobs that move to another database are the same there, and go on there."""

import pytest
from sqlalchemy import insert, select

from edgegen.core.errors import InputError
from edgegen.serve.storage.database import Database
from edgegen.serve.storage.moving import move
from edgegen.serve.storage.tables import gateways
from serve.jobs.gateways import BODY, Place, accepted, ended, story


@pytest.fixture
def source(tmp_path):
    return Place(f"sqlite:///{tmp_path / 'source.db'}", tmp_path / "blobs")


async def test_jobs_go_on_in_the_database_that_they_moved_to(source, database_url, tmp_path):
    url = database_url if database_url.startswith("postgres") else f"sqlite:///{tmp_path / 'target.db'}"
    with source.serving(step_s=0.2, at_once=1) as client:
        first = ended_job(client)
        waiting = [accepted(client, BODY, f"key-{n}")["id"] for n in range(2)]
    told = {}
    counts = await move(source.url, url, now_s=0.0, told=told.__setitem__)
    assert told == counts
    assert (counts["jobs"], counts["results"], counts["idempotency"]) == (3, 1, 2)
    with Place(url, source.folder).serving() as client:
        assert client.get(f"/v1/jobs/{first['id']}").json() == first
        assert [ended(client, job_id)["status"] for job_id in waiting] == ["done"] * 2
        assert accepted(client, BODY, "key-0")["id"] == waiting[0]
        assert story(client, waiting[0])[0][1] == "accepted"
    with pytest.raises(InputError, match="not empty"):
        await move(source.url, url, now_s=0.0, told=told.__setitem__)


def ended_job(client) -> dict:
    return ended(client, accepted(client, {**BODY, "edgegen": {**BODY["edgegen"], "steps": 1}})["id"])


async def test_a_database_that_a_gateway_works_on_is_not_moved(source, tmp_path):
    database = Database(source.url)
    await database.open()
    async with database.writing() as connection:
        await connection.execute(insert(gateways).values(id="one", began_s=1.0, until_s=100.0))
    target = f"sqlite:///{tmp_path / 'target.db'}"
    with pytest.raises(InputError, match="end it first"):
        await move(source.url, target, now_s=99.0, told=lambda name, count: None)
    await move(source.url, target, now_s=101.0, told=lambda name, count: None)
    async with database.reading() as connection:
        assert (await connection.execute(select(gateways.c.id))).scalars().all() == ["one"]
    await database.close()
