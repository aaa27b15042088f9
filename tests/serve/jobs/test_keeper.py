"""The gateway's part in jobs, without HTTP."""

import asyncio

import pytest

from edgegen.serve.jobs.keeper import _first


@pytest.mark.parametrize("turns", range(4))
async def test_who_waits_for_an_event_can_be_ended_at_the_moment_at_which_it_comes(turns):
    """Else a gateway that closes while a job ends would wait for ever for the task that takes the next one."""
    event = asyncio.Event()

    async def again() -> None:
        while True:
            event.clear()
            await _first(event, 60.0)

    task = asyncio.create_task(again())
    await asyncio.sleep(0.01)
    event.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=1.0)
    task.cancel()
    assert done == {task}
    assert task.cancelled()
