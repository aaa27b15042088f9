"""What runs inside of a replica: it tells what a process tells, and whoever stops listening stops the work."""

import asyncio
import contextlib

import pytest

from edgegen.serve.workers import checks
from edgegen.serve.workers.messages import Pace, decode, encode_job
from edgegen.serve.workers.studio import Studio


@pytest.fixture
def studio():
    made = Studio("instant", {}, 1, ("shapes-s",))
    yield made
    made.close()


async def told(studio, job):
    return [decode(line) async for line in studio.make(encode_job(job))]


async def test_a_picture_is_told_from_its_steps_to_its_end(studio):
    messages = await told(studio, checks.job(steps=3, pace=Pace(step_s=0.02)))
    assert [message["type"] for message in messages] == ["progress"] * 3 + ["finished"]
    assert messages[-1]["load_s"] < 0.01, "its model was in memory"


async def test_pictures_asked_for_at_once_all_end_as_themselves(studio):
    ended = await asyncio.gather(*(told(studio, checks.job(f"{index}")) for index in range(5)))
    assert [messages[-1]["id"] for messages in ended] == [str(index) for index in range(5)]


async def test_whoever_stops_listening_stops_the_work(studio):
    slow = studio.make(encode_job(checks.job("slow", steps=1000, pace=Pace(step_s=0.02))))
    async with contextlib.aclosing(slow):
        await anext(slow)
    async with asyncio.timeout(5):
        assert (await told(studio, checks.job("next")))[-1]["type"] == "finished"


async def test_a_picture_that_cannot_be_made_fails_and_the_studio_stays():
    made = Studio("builtin", {}, 1)
    failed = await told(made, checks.job(model="shapes-xxl"))
    assert failed[-1]["type"] == "failed"
    made.close()
