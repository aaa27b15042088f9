"""A gateway in front of nodes that only replay: the declared times, no process, no processor."""

import time

import httpx
import pytest

from edgegen.assemble import build_fleet
from edgegen.config import parse_config
from edgegen.serve.compose import compose
from edgegen.serve.run import in_thread
from edgegen.serve.workers.replay import ReplayWorker

CONFIG = """
[gateway]
steps = [1, 4, 12]
pace = false
[[models]]
name = "shapes-s"
[[nodes]]
name = "phone"
tier = "device"
models = ["shapes-s"]
worker = "replay"
[[nodes]]
name = "edge"
tier = "edge"
models = ["shapes-s"]
step_time = { shapes-s = "30 ms" }
fixed_time = { shapes-s = "20 ms" }
load_time = { shapes-s = "0 ms" }
worker = "replay"
"""


def test_a_replayed_picture_takes_the_declared_time_and_hardly_any_of_the_processor():
    config = parse_config(CONFIG)
    wanted = {"prompt": "a red circle", "edgegen": {"nodes": ["edge"], "steps": 12}}
    with in_thread(lambda: compose(config, build_fleet(config), policy="planner")) as live:
        workers = live.runtime.roads.workers
        assert all(isinstance(worker, ReplayWorker) for worker in workers.values())
        httpx.post(f"{live.url}/v1/images/generations", json=wanted, timeout=60)  # compiles
        began_s, used_s = time.monotonic(), time.process_time()
        answers = [httpx.post(f"{live.url}/v1/images/generations", json=wanted, timeout=60) for _ in range(3)]
        took_s, used_s = time.monotonic() - began_s, time.process_time() - used_s
    actual = [answer.json()["edgegen"]["items"][0]["actual"] for answer in answers]
    assert [split["generate_s"] for split in actual] == pytest.approx([0.38] * 3, abs=1e-6)
    assert took_s >= 3 * 0.38
    assert used_s < 0.5 * took_s
