"""A gateway that is told to end: what it does not finish is asked back, and goes on where its worker was."""

import asyncio
import time

import httpx
import pytest

from edgegen.serve.run import Live, serving
from serve.jobs.gateways import BODY, Place, ended, story

GRACE_S = 2.0
LONG = {**BODY, "edgegen": {**BODY["edgegen"], "steps": 16}}


@pytest.fixture
def place(database_url, tmp_path):
    return Place(database_url, tmp_path / "blobs")


@pytest.fixture
def lite(tmp_path):
    return Place(f"sqlite:///{tmp_path / 'edgegen.db'}", tmp_path / "blobs")


async def _begun(live: Live, body: dict, *, steps: int, pictures: int = 1) -> str:
    """Send a job and return its id once so many pictures have so many steps done."""
    async with httpx.AsyncClient(base_url=live.url, timeout=10) as client:
        job_id = (await client.post("/v1/jobs", json=body)).json()["id"]
    until_s = time.monotonic() + 10
    while sum(run["step"] >= steps for node in live.runtime.nodes()["data"] for run in node["running"]) < pictures:
        assert time.monotonic() < until_s, "it was not begun in time"
        await asyncio.sleep(0.02)
    return job_id


def _starts(place: Place, job_id: str, **options) -> list[tuple[int, int]]:
    """Let another gateway go on; return (picture, steps that were done) of each start."""
    with place.serving(**options) as client:
        assert ended(client, job_id)["status"] == "done"
        told = story(client, job_id)
    return [(data["picture"], data["done_steps"]) for _, kind, data in told if kind == "started"]


async def test_what_cannot_be_finished_goes_on_where_its_worker_was_without_any_checkpoint_before(place):
    async with serving(lambda: place.gateway(step_s=0.3, keep_every=0), grace_s=GRACE_S) as live:
        job_id = await _begun(live, LONG, steps=2)
        began_s = time.monotonic()
    assert time.monotonic() - began_s < GRACE_S, "it was foreseen, so nobody waited for the end of the grace time"
    (first, second) = _starts(place, job_id)
    assert first == (0, 0)
    assert second[1] >= 3, "the step that it was in is done as well"


async def test_every_picture_of_a_job_is_asked_back(lite):
    body = {**LONG, "n": 2, "edgegen": {"steps": 16, "nodes": ["edge-1", "edge-2"], "models": ["shapes-m"]}}
    async with serving(lambda: lite.gateway(step_s=0.3, keep_every=0), grace_s=GRACE_S) as live:
        job_id = await _begun(live, body, steps=2, pictures=2)
    starts = _starts(lite, job_id)
    assert sorted(picture for picture, done in starts if done >= 2) == [0, 1]


async def test_what_is_done_in_time_is_finished(lite):
    async with serving(lambda: lite.gateway(step_s=0.05, keep_every=0), grace_s=5.0) as live:
        job_id = await _begun(live, LONG, steps=2)
    assert _starts(lite, job_id) == [(0, 0)]


async def test_a_worker_process_gives_back_as_well(lite):
    made = {"maker": "instant", "keeping": False}
    async with serving(lambda: lite.gateway(step_s=0.3, keep_every=0, **made), grace_s=GRACE_S) as live:
        job_id = await _begun(live, LONG, steps=2)
    assert [done >= 2 for _, done in _starts(lite, job_id, **made)] == [False, True]


async def test_a_worker_that_does_not_answer_costs_the_grace_time_and_its_latest_checkpoint_is_kept(lite):
    def silent():
        gateway = lite.gateway(step_s=0.3, keep_every=2)
        for worker in gateway.runtime.roads.workers.values():
            worker.release = lambda job_id: None
        return gateway

    async with serving(silent, grace_s=GRACE_S) as live:
        job_id = await _begun(live, LONG, steps=2)
        began_s = time.monotonic()
    assert time.monotonic() - began_s < GRACE_S + 1.5
    done = _starts(lite, job_id)[1][1]
    assert done >= 2
    assert done % 2 == 0
