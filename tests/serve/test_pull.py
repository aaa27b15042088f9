"""Machines that join by themselves: once with a token, over links that break, with nothing lost and nothing doubled."""

import asyncio
import contextlib
import json
import os
import random
import signal
import stat
import subprocess
import sys
import time

import httpx
import pytest
import websockets
from typer.testing import CliRunner

from edgegen.assemble import build_fleet
from edgegen.cli import app
from edgegen.config import parse_config
from edgegen.core.errors import ConfigError, InputError, WorkerError
from edgegen.serve.auth import Keys
from edgegen.serve.compose import compose
from edgegen.serve.run import in_thread, serving
from edgegen.serve.workers import checks
from edgegen.serve.workers.entrance import TOKEN_S, Entrance
from edgegen.serve.workers.joining import Member, Pass, battery, secret_file, socket_address
from edgegen.serve.workers.messages import PROTOCOL, Pace
from edgegen.serve.workers.protocol import JobError, WorkerGoneError
from edgegen.serve.workers.pull import PullWorker
from edgegen.serve.workers.station import Station
from serve.engines import until
from serve.joined import ARGUMENTS, JoinedWorker


def ignore(progress):
    del progress


@pytest.fixture
def make(tmp_path):
    return lambda **options: JoinedWorker(tmp_path / "secret.json", **options)


@pytest.mark.parametrize("check", checks.CHECKS, ids=lambda check: check.__name__)
async def test_a_machine_that_joined_fulfils_every_check(make, check):
    await check(make)


async def test_a_link_that_breaks_and_returns_leaves_its_jobs_unharmed_and_their_results_single(make):
    lost, seen = [], []
    worker = make()
    await worker.open(on_lost=lost.append, on_joined=lambda: None)
    running = asyncio.create_task(worker.run(checks.job(steps=80, pace=Pace(step_s=0.02)), seen.append))
    for _ in range(3):
        count = len(seen)
        async with asyncio.timeout(10):
            await until(lambda count=count: len(seen) > count + 5)
        worker.link.cut()
    async with asyncio.timeout(20):
        report = await running
    steps = [progress.step for progress in seen]
    assert report.id == "one"
    assert steps == sorted(set(steps)), "no step is told twice"
    assert steps[-1] == 80
    assert report.generate_s < 80 * 0.02 + 1.0, "the machine went on working while its link was broken"
    assert lost == []
    assert worker.joined == [("edge", False)] + [("edge", True)] * (worker.link.connections - 1)
    assert worker.link.connections >= 4
    await worker.close()


@pytest.mark.parametrize("seed", [1, 2])
async def test_however_often_the_link_breaks_every_job_ends_once_and_as_itself(make, seed):
    rng, lost = random.Random(seed), []
    worker = make()
    await worker.open(on_lost=lost.append, on_joined=lambda: None)
    seen: dict[str, list[int]] = {f"job-{index}": [] for index in range(12)}

    async def cut():
        while True:
            await asyncio.sleep(rng.uniform(0.02, 0.4))
            worker.link.cut()

    cutting = asyncio.create_task(cut())
    jobs = [
        worker.run(
            checks.job(name, steps=6, previews=(2, 4), pace=Pace(step_s=0.02)),
            lambda progress: seen[progress.id].append(progress.step),
        )
        for name in seen
    ]
    async with asyncio.timeout(60):
        reports = await asyncio.gather(*jobs)
    cutting.cancel()
    assert [report.id for report in reports] == list(seen)
    assert all(steps == sorted(set(steps)) and steps[-1] == 6 for steps in seen.values()), seen
    assert lost == []
    assert worker.link.connections >= 3
    await worker.close()


async def test_a_link_that_stays_broken_loses_its_jobs_and_the_machine_begins_anew_when_it_is_back(make):
    lost, back = [], []
    worker = make(grace_s=0.3)
    await worker.open(on_lost=lost.append, on_joined=lambda: back.append(1))
    running = asyncio.create_task(worker.run(checks.job(steps=500, pace=Pace(step_s=0.02)), ignore))
    await asyncio.sleep(0.1)
    worker.link.up = False
    worker.link.cut()
    with pytest.raises(WorkerGoneError, match=r"its link was broken for 0\.3 s"):
        async with asyncio.timeout(5):
            await running
    assert not worker.alive
    assert lost == ["its link was broken for 0.3 s"]
    with pytest.raises(WorkerError, match="no machine has joined as node 'edge'"):
        await worker.run(checks.job("two"), ignore)
    worker.link.up = True
    async with asyncio.timeout(10):
        await until(lambda: len(back) == 2)
        report = await worker.run(checks.job("three", steps=3), ignore)
        assert report.queue_s < 1.0, "the lost picture is not in the way of the next one"
    assert worker.joined == [("edge", False), ("edge", False)]
    await worker.close()


async def test_a_worker_process_that_dies_on_its_machine_fails_its_jobs_at_once_and_is_replaced(make):
    worker = make()
    await worker.open(on_lost=print, on_joined=lambda: None)
    running = asyncio.create_task(worker.run(checks.job(steps=500, pace=Pace(step_s=0.02)), ignore))
    await asyncio.sleep(0.3)
    os.kill(worker.station._process.popen.pid, signal.SIGKILL)
    with pytest.raises(JobError, match="process went away") as failure:
        async with asyncio.timeout(5):
            await running
    assert failure.value.retry
    assert worker.alive
    async with asyncio.timeout(10):
        while True:
            try:
                await worker.run(checks.job("two"), ignore)
                break
            except JobError:
                await asyncio.sleep(0.1)
    await worker.close()


async def test_a_machine_that_leaves_is_gone_at_once(make):
    lost = []
    worker = make(grace_s=60)
    await worker.open(on_lost=lost.append, on_joined=lambda: None)
    await worker.leave()
    async with asyncio.timeout(3):
        await until(lambda: lost)
    assert lost == ["its machine left"]
    await worker.close()


async def test_a_machine_that_starts_again_finds_back_with_its_secret_and_ends_its_former_self(make):
    lost, back = [], []
    worker = make(grace_s=60)
    await worker.open(on_lost=lost.append, on_joined=lambda: back.append(1))
    mode = stat.S_IMODE(worker.secret_file.stat().st_mode)
    assert mode == 0o600
    first = worker.member
    worker.join(None)
    async with asyncio.timeout(10):
        await until(lambda: len(back) == 2)
    assert lost == ["its machine began anew"]
    first.cancel()
    await asyncio.wait({first})
    await worker.close()


async def test_a_token_works_once_and_a_wrong_one_never(make):
    worker = make()
    await worker.open(on_lost=print, on_joined=lambda: None)
    token = worker.entrance.issue("edge")
    assert worker.entrance.redeem(token)[0] == "edge"
    await worker.leave()
    worker.secret_file.unlink()
    for shown in (token, "join_nonsense"):
        worker.join(shown)
        with pytest.raises(WorkerError, match="refuses this machine: the token or secret is not valid"):
            await worker.member
    await worker.close()


async def test_a_token_that_was_used_at_an_earlier_start_does_not_keep_a_machine_out(make):
    worker = make()
    await worker.open(on_lost=print, on_joined=lambda: None)
    await worker.leave()
    worker.join("join_used_before")
    async with asyncio.timeout(10):
        await until(lambda: len(worker.joined) == 2)
    await worker.close()


async def test_only_the_models_that_a_machine_takes_are_made_on_it(make):
    async with checks.opened(lambda: make(models=("shapes-m",))) as worker:
        with pytest.raises(JobError, match="does not take shapes-s") as failure:
            await worker.run(checks.job(), ignore)
        assert failure.value.retry
        await worker.run(checks.job(model="shapes-m"), ignore)


async def test_a_machine_tells_how_it_is(make, monkeypatch):
    from edgegen.serve.workers import joining, letters

    monkeypatch.setattr(letters, "BEAT_S", 0.05)
    monkeypatch.setattr(joining, "battery", lambda: 0.42)
    async with checks.opened(make) as worker:
        await worker.load("shapes-s", pad_s=0.0)
        async with asyncio.timeout(5):
            await until(lambda: worker.told().get("loaded") == ["shapes-s"])
        told = worker.told()
    assert told["battery"] == 0.42
    assert told["queue"] == 0
    assert told["connected"]


@pytest.mark.parametrize(
    "frame",
    [
        "nonsense",
        '{"n": 7, "m": {"type": "alive"}}',
        '{"n": 1, "m": {"type": "start"}}',
        '{"n": 1, "m": {"type": "finished", "id": "one", "png_b64": "aGVsbG8="}}',
        '{"n": 1, "m": {"type": "finished", "id": "one", "generate_s": "long"}}',
        '{"n": 1, "m": {"type": "progress", "id": "one", "step": -1, "steps": 4}}',
        '{"n": 1, "m": {"type": "progress", "id": "one", "step": 1, "steps": 99999}}',
        '{"n": 1, "m": {"type": "progress", "id": "one", "surprise": 1}}',
        '{"ack": 99}',
    ],
)
async def test_a_machine_that_sends_nonsense_is_put_out_and_the_gateway_stays(tmp_path, frame):
    lost = []
    worker = JoinedWorker(tmp_path / "secret.json")
    await PullWorker.open(worker, on_lost=lost.append, on_joined=lambda: None)
    await worker.serve()
    socket = await websockets.connect(f"ws://127.0.0.1:{worker.link.port}/v1/workers")
    async with socket:
        await socket.send(json.dumps({"protocol": PROTOCOL, "token": worker.entrance.issue("edge")}))
        welcome = json.loads(await socket.recv())
        assert (welcome["node"], welcome["resumed"]) == ("edge", False)
        running = asyncio.create_task(worker.run(checks.job("one"), ignore))
        await asyncio.sleep(0.05)
        await socket.send(frame)
        with pytest.raises(WorkerGoneError, match="no message"):
            async with asyncio.timeout(5):
                await running
        assert len(lost) == 1
        with contextlib.suppress(websockets.ConnectionClosedError):
            async for _ in socket:
                pass  # what was on its way
    assert socket.close_code == 4400
    assert not worker.alive
    await worker.close()


@pytest.mark.parametrize("greeting", ["", "[]", "{}", '{"protocol": 1}', "x" * 5000])
async def test_who_does_not_greet_is_refused(tmp_path, greeting):
    worker = JoinedWorker(tmp_path / "secret.json")
    await PullWorker.open(worker, on_lost=print, on_joined=lambda: None)
    await worker.serve()
    async with websockets.connect(f"ws://127.0.0.1:{worker.link.port}/v1/workers") as socket:
        await socket.send(greeting)
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await socket.recv()
    assert closed.value.rcvd.code in (4400, 4401)
    await worker.close()


def test_tokens_last_for_minutes_and_few_wait_at_a_time(tmp_path):
    now_s = [0.0]
    entrance = Entrance(tmp_path / "in" / "workers.json", clock=lambda: now_s[0])
    late, early = entrance.issue("a"), entrance.issue("a")
    now_s[0] = TOKEN_S + 1
    assert entrance.redeem(late) is None
    assert entrance.redeem(early) is None
    first = entrance.issue("a")
    others = [entrance.issue("b") for _ in range(64)]
    assert entrance.redeem(first) is None, "the oldest gave way"
    assert entrance.redeem(others[0])[0] == "b"


def test_secrets_outlive_the_gateway_as_hashes_and_a_new_one_ends_the_old_one(tmp_path):
    path = tmp_path / "workers.json"
    entrance = Entrance(path)
    _, secret = entrance.redeem(entrance.issue("a"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert secret not in path.read_text()
    again = Entrance(path)
    assert again.recognises("a", secret)
    assert not again.recognises("b", secret)
    assert not again.recognises("a", "")
    _, newer = again.redeem(again.issue("a"))
    assert again.recognises("a", newer)
    assert not again.recognises("a", secret)
    path.write_text("[]")
    with pytest.raises(ConfigError, match="let the workers join again"):
        Entrance(path)


def test_secrets_go_in_the_open_only_on_this_machine_or_when_told(tmp_path):
    assert socket_address("https://g.example/v1", insecure=False) == "wss://g.example/v1/workers"
    assert socket_address("http://127.0.0.1:8000/", insecure=False) == "ws://127.0.0.1:8000/v1/workers"
    assert socket_address("http://g.example", insecure=True) == "ws://g.example/v1/workers"
    with pytest.raises(InputError, match="in the open"):
        socket_address("http://g.example", insecure=False)
    with pytest.raises(InputError, match="the address of a gateway"):
        socket_address("g.example", insecure=False)
    with pytest.raises(InputError, match="needs a token"):
        Pass(tmp_path / "none.json", None)
    assert (
        secret_file("https://g.example:9", {"XDG_STATE_HOME": "/s"}).as_posix() == "/s/edgegen/worker-g.example-9.json"
    )


def test_a_battery_is_read_where_linux_tells_of_one(tmp_path):
    assert battery(tmp_path) is None
    for name, kind, capacity in (("AC", "Mains", None), ("BAT0", "Battery", "87")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "type").write_text(kind + "\n")
        if capacity:
            (tmp_path / name / "capacity").write_text(capacity + "\n")
    assert battery(tmp_path) == pytest.approx(0.87)


GATEWAY = """
[gateway]
steps = [1, 4, 12]
workers = "{file}"
payload = {{ input = "2 kB", output = "20 kB" }}
[[models]]
name = "shapes-s"
[[nodes]]
name = "phone"
tier = "device"
models = ["shapes-s"]
[[nodes]]
name = "edge"
tier = "edge"
models = ["shapes-s"]
worker = {{ kind = "pull", grace = "30 s" }}
"""


def test_a_laptop_joins_by_the_documented_commands_and_makes_the_pictures_of_its_node(tmp_path):
    config = parse_config(GATEWAY.format(file=tmp_path / "workers.json"))
    wanted = {"prompt": "a red circle", "edgegen": {"nodes": ["edge"], "steps": 4}}
    (tmp_path / "token").write_text("")
    with in_thread(lambda: compose(config, build_fleet(config), maker="inside", policy="planner")) as live:
        absent = httpx.post(f"{live.url}/v1/images/generations", json=wanted, timeout=20)
        assert absent.status_code == 503
        refused = CliRunner().invoke(app, ["worker", "token", "phone", "--url", live.url])
        assert "none" in str(refused.exception)
        assert "'phone' is none" in str(refused.exception)
        given = CliRunner().invoke(app, ["worker", "token", "edge", "--url", live.url, "--json"])
        token = json.loads(given.output)["token"]
        (tmp_path / "token").write_text(token)
        join = ["worker", "join", live.url, "--key-file", str(tmp_path / "token")]
        command = [sys.executable, "-c", "from edgegen.cli import main; main()", *join]
        command += ["--secret-file", str(tmp_path / "secret.json")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as laptop:
            try:
                _wait(lambda: live.runtime.roads.workers["edge"].told().get("connected"))
                made = httpx.post(f"{live.url}/v1/images/generations", json=wanted, timeout=60)
                nodes = httpx.get(f"{live.url}/v1/nodes", timeout=20).json()["data"]
            finally:
                laptop.send_signal(signal.SIGTERM)
                said, logged = laptop.communicate(timeout=20)
        _wait(lambda: not live.runtime.roads.workers["edge"].alive)
    assert made.status_code == 200, made.text
    assert made.json()["edgegen"]["items"][0]["node"] == "edge"
    assert nodes[1]["worker"]["connected"]
    assert "working as node edge" in said + logged
    assert token not in said + logged
    assert laptop.returncode == 0


async def test_a_machine_finds_back_to_a_gateway_that_was_started_again(tmp_path):
    config = parse_config(GATEWAY.format(file=tmp_path / "workers.json"))
    joined: list[bool] = []

    def make():
        return compose(config, build_fleet(config), maker="inside", policy="planner")

    async with serving(make) as live:
        port = int(live.url.rpartition(":")[2])
        member = Member(
            f"ws://127.0.0.1:{port}/v1/workers",
            Pass(tmp_path / "secret.json", live.gateway.entrance.issue("edge")),
            lambda on_message: Station(ARGUMENTS, on_message),
            on_joined=lambda node, resumed: joined.append(resumed),
        )
        working = asyncio.create_task(member.run())
        async with asyncio.timeout(20):
            await until(lambda: joined)
        began_s = time.monotonic()
    assert time.monotonic() - began_s < 4, "a machine that is there does not hold the end up"
    async with serving(make, port=port) as live, asyncio.timeout(30):
        await until(lambda: len(joined) == 2)
        assert live.runtime.roads.workers["edge"].alive
        working.cancel()
        await asyncio.wait({working})
    assert joined == [False, False]


def test_only_a_key_gets_a_token_where_keys_are_needed(tmp_path, monkeypatch):
    config = parse_config(GATEWAY.format(file=tmp_path / "workers.json"))
    monkeypatch.setenv("THE_KEY", "a-key-of-this-gateway")
    keys = Keys(["a-key-of-this-gateway"])
    with in_thread(lambda: compose(config, build_fleet(config), maker="inside", policy="planner", keys=keys)) as live:
        without = CliRunner().invoke(app, ["worker", "token", "edge", "--url", live.url])
        given = CliRunner().invoke(app, ["worker", "token", "edge", "--url", live.url, "--key-env", "THE_KEY"])
    assert "refuses (401)" in str(without.exception)
    assert given.stdout.startswith("join_")
    assert not (tmp_path / "workers.json").exists(), "nobody joined"


async def test_what_was_never_acknowledged_ends_the_session_and_not_the_machine(make, monkeypatch):
    from edgegen.serve.workers import letters

    monkeypatch.setattr(letters, "BEAT_S", 0.05)
    lost = []
    worker = make()
    await worker.open(on_lost=lost.append, on_joined=lambda: None)
    monkeypatch.setattr(letters, "MAX_KEPT_BYTES", 500)  # an order fits, a picture does not
    running = asyncio.create_task(worker.run(checks.job("x", steps=1), ignore))
    async with asyncio.timeout(10):
        await asyncio.wait({running})
        assert isinstance(running.exception(), WorkerGoneError)
        await until(lambda: len(worker.joined) >= 2)
    assert lost == ["its machine began anew"]
    await worker.close()


def _wait(condition, seconds=30.0):
    until_s = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until_s
        time.sleep(0.05)
