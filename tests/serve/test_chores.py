"""What nobody waits for is done in order, all of it, and before anybody looks."""

import asyncio
import json

import pytest
from structlog.testing import capture_logs

from edgegen.dispatch.audit import replay
from edgegen.dispatch.messages import Limits, Request
from edgegen.registry import load_policy
from edgegen.serve.chores import DELAY_S, Chores
from serve.conftest import small_config


async def test_chores_wait_for_the_loop_and_keep_their_order():
    chores, done = Chores(), []
    for number in range(3):
        chores.add(lambda number=number: done.append(number))
    assert done == []
    await asyncio.sleep(3 * DELAY_S)
    assert done == [0, 1, 2]


async def test_what_is_soon_brings_everything_before_it_along():
    chores, done = Chores(), []
    chores.add(lambda: done.append("first"))
    chores.add(lambda: done.append("second"), soon=True)
    await asyncio.sleep(0)
    assert done == ["first", "second"]


async def test_a_chore_that_fails_is_told_and_holds_no_other_back():
    chores, done = Chores(), []
    chores.add(lambda: 1 / 0)
    chores.add(lambda: done.append("next"))
    with capture_logs() as logs:
        chores.catch_up()
    assert done == ["next"]
    assert [entry["log_level"] for entry in logs] == ["error"]


def one_request() -> Request:
    return Request("img_1", 0, "a red circle", "basic", "phone", 0.0, 1e3, 1e4, 7, Limits(60.0))


@pytest.mark.parametrize("fsync", [True, False])
async def test_with_fsync_the_journal_has_a_start_before_the_worker_does(make_gateway, tmp_path, fsync):
    path, config = tmp_path / "journal.jsonl", small_config()
    config = config.model_copy(update={"gateway": config.gateway.model_copy(update={"fsync": fsync})})
    runtime = make_gateway(config=config, journal=path, maker="inside")().runtime
    await runtime.open()
    sent = []
    runtime._start = lambda start: sent.append('"Start"' in path.read_text())
    runtime.submit(one_request(), group="req_1", side=64)
    assert sent == [fsync]
    await runtime.close()
    lines = path.read_text().splitlines()
    assert [json.loads(line)["seq"] for line in lines[1:]] == list(range(1, len(lines)))
    assert replay(lines, load_policy).same
