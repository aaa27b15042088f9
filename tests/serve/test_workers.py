import asyncio
import os
import signal
import subprocess
import sys
import time

import pytest

from edgegen.core.errors import WorkerError
from edgegen.serve.workers import checks, client
from edgegen.serve.workers.client import ProcessWorker
from edgegen.serve.workers.instant import InstantWorker
from edgegen.serve.workers.messages import LineError, Pace, decode, decode_retarget, encode, encode_retarget
from edgegen.serve.workers.protocol import JobError, WorkerGoneError
from edgegen.serve.workers.replay import ReplayWorker

WORKERS = {
    "instant": lambda: InstantWorker("here"),
    "replay": lambda: ReplayWorker("again"),
    "process": lambda: ProcessWorker("there", maker="instant"),
    "process-two-slots": lambda: ProcessWorker("there", maker="instant", slots=2),
}


@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("make", WORKERS.values(), ids=WORKERS.keys())
async def test_every_worker_fulfils_every_check(make, check):
    await check(make)


async def test_a_killed_worker_fails_its_job_and_comes_back():
    lost, back = [], asyncio.Event()
    worker = ProcessWorker("edge", maker="instant")
    await worker.open(on_lost=lost.append, on_joined=back.set)
    first_pid = worker.pid
    job = asyncio.create_task(worker.run(checks.job(steps=1000, pace=Pace(step_s=0.01)), lambda progress: None))
    await asyncio.sleep(0.1)
    os.kill(first_pid, signal.SIGKILL)
    with pytest.raises(WorkerGoneError, match="went away"):
        await job
    assert "exit status -9" in lost[0]
    async with asyncio.timeout(20):
        await back.wait()
    assert worker.alive
    assert worker.pid != first_pid
    await worker.run(checks.job("after"), lambda progress: None)
    await worker.close()


async def test_a_worker_that_hangs_is_ended_and_replaced(monkeypatch):
    monkeypatch.setattr(client, "SILENCE_S", 2.0)
    lost, back = [], asyncio.Event()
    worker = ProcessWorker("edge", maker="instant")
    await worker.open(on_lost=lost.append, on_joined=back.set)
    os.kill(worker.pid, signal.SIGSTOP)
    async with asyncio.timeout(30):
        await back.wait()
    assert lost == ["the worker was silent for 2 s"]
    await worker.run(checks.job(), lambda progress: None)
    await worker.close()


async def test_a_worker_that_does_not_start_says_so():
    worker = ProcessWorker("edge", maker="nonsense")
    with pytest.raises(WorkerError, match="'edge' did not say hello"):
        await worker.open(on_lost=print, on_joined=print)
    assert not worker.alive
    await worker.close()


async def test_a_model_that_does_not_exist_is_a_refusal_of_its_loading():
    worker = ProcessWorker("edge", maker="builtin")
    await worker.open(on_lost=print, on_joined=print)
    with pytest.raises(JobError, match="shapes-xxl"):
        await worker.load("shapes-xxl", pad_s=0.0)
    await worker.close()


async def test_a_paced_worker_lasts_as_long_as_the_machine_it_stands_for():
    async with checks.opened(WORKERS["process"]) as worker:
        pace = Pace(load_s=0.1, fixed_s=0.05, step_s=0.02)
        report = await worker.run(checks.job(steps=5, pace=pace), lambda progress: None)
        again = await worker.run(checks.job("again", steps=5, pace=pace), lambda progress: None)
    assert 0.1 <= report.load_s < 0.3
    assert 0.15 <= report.generate_s < 0.4
    assert report.compute_s < report.generate_s
    assert again.load_s < 0.05, "the model is in memory already"


@pytest.mark.parametrize("make", WORKERS.values(), ids=WORKERS.keys())
@pytest.mark.parametrize(("first", "wanted", "made"), [(10, 6, 6), (6, 12, 12), (10, 2, 10), (10, 3, 10), (3, 9, 3)])
async def test_a_change_of_steps_keeps_the_pace_and_may_come_too_late(make, first, wanted, made):
    """It is told when the second step is done and the third has begun: too late for two, three, or one of three."""
    seen = []
    async with checks.opened(make) as worker:

        def notice(progress):
            seen.append(progress)
            if progress.step == 2:
                asyncio.get_running_loop().call_later(0.01, worker.retarget, "one", wanted)

        await worker.load("shapes-s", pad_s=0.0)
        report = await worker.run(checks.job(steps=first, pace=Pace(step_s=0.03, fixed_s=0.02)), notice)
    assert [progress.step for progress in seen] == list(range(1, made + 1))
    assert [progress.steps for progress in seen][:2] == [first] * 2
    assert seen[-1].steps == made
    assert 0.02 + 0.03 * made - 1e-6 <= report.generate_s < 0.02 + 0.03 * (made + 1.5)


@pytest.mark.parametrize("make", WORKERS.values(), ids=WORKERS.keys())
async def test_a_change_reaches_a_job_that_has_hardly_begun(make):
    async with checks.opened(make) as worker:

        async def run(name, steps, wanted):
            seen = []
            job = checks.job(name, steps=steps, pace=Pace(load_s=0.05, step_s=0.04))
            running = asyncio.create_task(worker.run(job, seen.append))
            await asyncio.sleep(0.02)  # it loads its model, waits for the one that does, or is in its first step
            worker.retarget(name, wanted)
            await running
            return [(progress.step, progress.steps) for progress in seen]

        first, second = await asyncio.gather(run("first", 8, 3), run("second", 3, 5))
    assert first == [(step, 3) for step in range(1, 4)]
    assert second == [(step, 5) for step in range(1, 6)]


async def test_a_change_of_what_was_cancelled_or_of_a_worker_that_is_gone_is_nothing():
    async with checks.opened(WORKERS["process"]) as worker:
        running = asyncio.create_task(worker.run(checks.job(steps=500, pace=Pace(step_s=0.01)), print))
        await asyncio.sleep(0.05)
        running.cancel()
        await asyncio.wait([running])
        worker.retarget("one", 300)
        await worker.run(checks.job("two", steps=2), lambda progress: None)
    worker.retarget("two", 4)


def test_a_change_that_is_no_message_is_named():
    assert decode_retarget(decode(encode_retarget("x", 8))) == ("x", 8)
    for fields in ({}, {"id": 3, "steps": 8}, {"id": "x", "steps": "8"}, {"id": "x", "steps": True},
                   {"id": "x", "steps": 0}, {"id": "x", "steps": 1001}, {"id": "x", "steps": 8.0}):  # fmt: skip
        with pytest.raises(LineError, match="expected a retarget with an id and steps from 1 to 1000"):
            decode_retarget(decode(encode("retarget", **fields)))


async def test_work_waits_its_turn_with_one_slot_and_runs_side_by_side_with_two():
    async def both(make):
        async with checks.opened(make) as worker:
            jobs = [checks.job(f"{i}", steps=5, pace=Pace(step_s=0.04)) for i in range(2)]
            await worker.load("shapes-s", pad_s=0.0)
            return await asyncio.gather(*(worker.run(job, lambda progress: None) for job in jobs))

    one_slot, two_slots = await both(WORKERS["process"]), await both(WORKERS["process-two-slots"])
    replayed = await both(WORKERS["replay"])
    assert one_slot[1].queue_s >= 0.2 - 0.02
    assert replayed[1].queue_s >= 0.2 - 0.02
    assert two_slots[1].queue_s < 0.15


def test_a_worker_process_ends_when_the_gateway_does():
    script = (
        "import asyncio, time\n"
        "from edgegen.serve.workers.client import ProcessWorker\n"
        "async def main():\n"
        "    worker = ProcessWorker('edge', maker='instant')\n"
        "    await worker.open(on_lost=print, on_joined=print)\n"
        "    print(worker.pid, flush=True)\n"
        "    time.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as gateway:
        pid = int(gateway.stdout.readline())
        gateway.kill()
    deadline = time.monotonic() + 10
    while _alive(pid):
        assert time.monotonic() < deadline, "the worker outlived its gateway"
        time.sleep(0.05)


def test_a_worker_starts_without_the_heavy_libraries():
    code = (
        "import sys, edgegen.serve.workers.process as p; p.make_maker('instant', {});"
        "print([m for m in ('jax', 'torch', 'fastapi', 'equinox', 'pydantic', 'structlog') if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_what_is_no_message_is_named():
    assert decode(encode("cancel", id="x")) == {"type": "cancel", "id": "x"}
    for line in (b"nonsense\n", b"[1]\n", b'{"type": 3}\n', b"\xff\xfe\n"):
        with pytest.raises(LineError, match="expected"):
            decode(line)


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
