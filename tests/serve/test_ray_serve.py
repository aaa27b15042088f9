"""A deployment on a real Ray of two nodes: every check of workers, and a picture whose replica is killed."""

import asyncio
import contextlib
import importlib
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from edgegen.config import RayWorkerSection
from edgegen.core.errors import ConfigError
from edgegen.serve.workers import checks
from edgegen.serve.workers.messages import Pace, decode, decode_job, encode
from edgegen.serve.workers.protocol import JobError
from edgegen.serve.workers.studio import Studio

ray = pytest.importorskip("ray", reason="pip install -e .[cluster]")


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    told = tmp_path_factory.mktemp("ray") / "told.json"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "RAY_DEDUP_LOGS": "0"}
    script = str(Path(__file__).with_name("on_ray.py"))
    done = subprocess.run(
        [sys.executable, script, str(told)], env=env, timeout=240, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(told.read_text())


@pytest.mark.slow
def test_replicas_stand_on_both_nodes_and_fulfil_every_check(seen):
    assert seen["nodes"] == 2
    assert sorted(seen["checks"]) == sorted(check.__name__ for check in checks.CHECKS)


@pytest.mark.slow
def test_a_picture_whose_replica_is_killed_is_made_after_all(seen):
    killed = seen["killed"]
    assert killed["victims"] == 2
    assert 0 < killed["killed_at"] < 60
    assert killed["steps"][-1] == 60
    assert killed["steps"] == sorted(set(killed["steps"])), "no step is told twice"
    assert killed["same"]
    assert killed["replaced"]
    assert killed["alive"]
    assert seen["lost"] == []


class Breaking:
    """Stands for a deployment's handle: real studios, of which some die after a number of messages."""

    def __init__(self, *lives: int):
        self.lives, self.orders, self.cancelled = list(lives), [], 0
        self.studio = Studio("instant", {}, 1, ("shapes-s",))
        self.make = self

    def options(self, *, stream: bool):
        assert stream
        return self

    def remote(self, order: bytes):
        self.orders.append(decode_job(decode(order)))
        return Response(self, order, self.lives.pop(0) if self.lives else 10**6)


class Response:
    def __init__(self, handle: Breaking, order: bytes, life: int):
        self._handle, self._order, self._life = handle, order, life

    def cancel(self) -> None:
        self._handle.cancelled += 1

    async def __aiter__(self):
        async with contextlib.aclosing(self._handle.studio.make(self._order)) as told:
            async for line in told:
                if self._life == 0:
                    raise ray.exceptions.ActorDiedError()
                self._life -= 1
                yield line


@pytest.fixture
def worker(monkeypatch):
    """A worker in front of a stand-in for Ray, without a cluster."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own, of what its dependencies deprecate
        module = importlib.import_module("edgegen.serve.workers.ray_serve")
    monkeypatch.setattr(module, "AGAIN_S", 0.01)
    made = module.RayWorker("ray", RayWorkerSection(kind="ray"), models=("shapes-s",), maker="instant")
    monkeypatch.setattr(made, "_deploy", lambda: made.stand_in)
    monkeypatch.setattr(made, "_withdraw", lambda: made.stand_in.studio.close())
    return made


async def run_with(worker, handle, job):
    seen: list[int] = []
    worker.stand_in = handle
    await worker.open(on_lost=print, on_joined=print)
    try:
        return await worker.run(job, lambda progress: seen.append(progress.step)), seen
    finally:
        await worker.close()


async def test_a_picture_goes_to_the_next_replica_and_no_step_is_told_twice(worker):
    handle = Breaking(2, 4)
    report, seen = await run_with(worker, handle, checks.job(steps=6, seed=3, pace=Pace(step_s=0.02)))
    assert seen == [1, 2, 3, 4, 5, 6]
    assert [job.seed for job in handle.orders] == [3, 3, 3]
    assert report.id == "one"


async def test_what_was_kept_of_a_picture_is_what_the_next_replica_begins_with(worker):
    handle = Breaking(1)
    handle.studio = Keeping(handle.studio)
    await run_with(worker, handle, checks.job(steps=3, pace=Pace(step_s=0.02)))
    assert [job.checkpoint_b64 for job in handle.orders] == [None, "a2VwdA=="]


class Keeping:
    """A studio whose progress carries what is kept."""

    def __init__(self, studio: Studio):
        self._studio, self.close = studio, studio.close

    async def make(self, order: bytes):
        async for line in self._studio.make(order):
            message = decode(line)
            if message["type"] == "progress":
                message["checkpoint_b64"] = "a2VwdA=="
            yield encode(message.pop("type"), **message)


async def test_a_picture_whose_replicas_all_die_may_be_made_on_another_node(worker):
    with pytest.raises(JobError, match="died 4 times; the last time: ActorDiedError") as failure:
        await run_with(worker, Breaking(1, 1, 1, 1), checks.job(steps=3, pace=Pace(step_s=0.02)))
    assert failure.value.retry


async def test_cancelling_reaches_the_replica(worker):
    worker.stand_in = Breaking()
    await worker.open(on_lost=print, on_joined=print)
    running = asyncio.create_task(worker.run(checks.job(steps=1000, pace=Pace(step_s=0.02)), lambda progress: None))
    await asyncio.sleep(0.1)
    running.cancel()
    await asyncio.wait({running})
    assert worker.stand_in.cancelled == 1
    await worker.close()


def test_without_ray_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "edgegen.serve.workers.ray_serve", raising=False)
    with pytest.raises(ConfigError, match=r"pip install 'edgegen\[cluster\]'"):
        importlib.import_module("edgegen.serve.workers.ray_serve")
