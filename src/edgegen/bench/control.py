"""The control plane without generation: requests per second beside the LiteLLM proxy, decisions in a crowd, ten thousand jobs.

The peer is LiteLLM's proxy in a process of its own, one worker, on the same machine, with an engine behind it that answers at
once; the same client asks both, in turns. It is not a dependency: `scripts/peers` installs it apart, or EDGEGEN_LITELLM names it.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from edgegen.bench.gateway import SEED, bodies, instant_config, instant_fleet
from edgegen.config import CATEGORIES, Config, parse_config
from edgegen.core.errors import ConfigError
from edgegen.core.result import Bar, median_interval
from edgegen.dispatch.catalog import Catalog
from edgegen.dispatch.choices import Table
from edgegen.dispatch.deciding import Answer
from edgegen.dispatch.dispatcher import Dispatcher
from edgegen.dispatch.fleet import Fleet, Link, ModelSpec, NodeSpec, Speed
from edgegen.dispatch.messages import (
    Arrived,
    Command,
    Event,
    Finished,
    Limits,
    Load,
    Loaded,
    NodeJoined,
    Progressed,
    Request,
    Retarget,
    Start,
)

NAME = "control"
SUMMARY = "the control plane: requests per second beside the LiteLLM proxy, decisions with 64 waiting, 10,000 jobs"
CLIENTS, SECONDS, TURNS = 16, 4.0, 5
GOAL_RATIO, GOAL_P99_MS, GOAL_ACCEPT = 3.0, 10.0, 1.2
TASKS, NODES, MODELS, DECISIONS = 64, 16, 3, 300
JOBS, PART = 10_000, 1_000
START_S = 120.0
_LITELLM = """
model_list:
  - model_name: picture
    litellm_params: {{ model: openai/picture, api_base: "http://127.0.0.1:{port}/v1", api_key: none }}
litellm_settings: {{ telemetry: false, num_retries: 0 }}
general_settings: {{ dangerously_permit_weak_or_unset_master_key: true }}
"""
_IN_FRONT = """
[gateway]
pace = false
max_waiting = 256
[[models]]
name = "shapes-s"
[[nodes]]
name = "phone"
tier = "device"
models = ["shapes-s"]
[[nodes]]
name = "engine"
tier = "cloud"
models = ["shapes-s"]
worker = {{ kind = "openai", url = "http://127.0.0.1:{port}" }}
"""


def run(progress: Callable[[str], None]) -> list[Bar]:
    """Measure everything; takes about five minutes."""
    progress(f"requests per second, {TURNS} turns of {SECONDS:g} s with {CLIENTS} clients each")
    bars = rate_bars()
    progress(f"{DECISIONS} decisions about {TASKS} tasks on {NODES} nodes")
    bars += decision_bars()
    progress(f"{JOBS} jobs that nobody works on yet")
    return bars + accept_bars()


# --------------------------------------------------------------------------------------------------- requests per second


@dataclasses.dataclass(frozen=True)
class Target:
    """Who is asked."""

    name: str
    port: int
    bodies: list[dict]


def rate_bars() -> list[Bar]:
    """The gateway with workers that answer at once, the gateway in front of an engine, and the peer in front of it."""
    asked = [{**body, "edgegen": {**body["edgegen"], "tiers": ["edge", "cloud"]}} for body in bodies(200)]
    plain = [{"model": "picture", "prompt": body["prompt"]} for body in asked]
    with contextlib.ExitStack() as open_now:
        engine = open_now.enter_context(engine_at_once())
        targets = [
            Target("edgegen, workers at once", open_now.enter_context(gateway(instant_config(), "inside")), asked),
            Target("edgegen, engine at once", open_now.enter_context(gateway(in_front_of(engine), "inside")), asked),
            Target("LiteLLM proxy, engine at once", open_now.enter_context(litellm(engine)), plain),
        ]
        for target in targets:  # first calls import and connect
            ask(target, 1.0)
        rates = {target.name: [] for target in targets}
        for _ in range(TURNS):
            for target in targets:
                rates[target.name].append(len(ask(target, SECONDS)) / SECONDS)
    bars = [_rate_bar(name, np.array(found)) for name, found in rates.items()]
    peer = np.array(rates[targets[2].name])
    for target, goal in ((targets[0], GOAL_RATIO), (targets[1], None)):
        ratios = np.array(rates[target.name]) / peer
        low, high = median_interval(ratios)
        name, more = f"{target.name}: over the LiteLLM proxy", {"unit": "x", "n": TURNS, "low": low, "high": high}
        median = float(np.median(ratios))
        bars.append(Bar.report(name, median, **more) if goal is None else Bar.at_least(name, median, goal, **more))
    return bars


def _rate_bar(name: str, rates: np.ndarray) -> Bar:
    low, high = median_interval(rates)
    return Bar.report(
        f"{name}: requests, {CLIENTS} clients", float(np.median(rates)), unit="1/s", n=len(rates), low=low, high=high
    )


def ask(target: Target, seconds: float) -> list[list[float]]:
    """Let the client ask for so long; return (moment, latency) of every answer."""
    command = [sys.executable, "-m", "edgegen.bench._rate", "127.0.0.1", str(target.port), "/v1/images/generations"]
    asked = "".join(json.dumps(body) + "\n" for body in target.bodies)
    said = subprocess.run([*command, str(CLIENTS), str(seconds)], input=asked, capture_output=True, text=True)
    if said.returncode:
        raise RuntimeError(f"{target.name}: {said.stderr[-1000:]}")
    return json.loads(said.stdout)


@contextlib.contextmanager
def engine_at_once() -> Iterator[int]:
    """Start the engine in a process of its own; yield its port."""
    command = [sys.executable, "-m", "edgegen.bench._engine_at_once"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


@contextlib.contextmanager
def gateway(config: Config, maker) -> Iterator[int]:
    """Serve from a process-wide thread with a journal on disk; yield the port."""
    from edgegen.observe.logs import set_up
    from edgegen.serve.compose import compose
    from edgegen.serve.run import in_thread

    set_up("warning")
    with tempfile.TemporaryDirectory() as folder:
        journal, fleet = Path(folder) / "journal.jsonl", instant_fleet(config)
        with in_thread(lambda: compose(config, fleet, journal=journal, maker=maker)) as live:
            yield int(live.url.rpartition(":")[2])


def in_front_of(port: int) -> Config:
    """Return a gateway with one engine behind it."""
    return parse_config(_IN_FRONT.format(port=port), source="the control benchmark")


@contextlib.contextmanager
def litellm(engine: int) -> Iterator[int]:
    """Start the peer's proxy; yield its port. **Raises** `ConfigError` where it is not installed."""
    program = find_litellm()
    port = _free_port()
    # It looks up prices and reports usage over the network otherwise.
    quiet = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "LITELLM_TELEMETRY": "False"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(_LITELLM.format(port=engine), encoding="utf-8")
        command = [program, "--config", str(path), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
        log = (Path(folder) / "log").open("w+", encoding="utf-8")
        with subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **quiet}) as process:
            try:
                _wait_for(f"http://127.0.0.1:{port}/health/liveliness", process, log.name)
                yield port
            finally:
                process.terminate()


def find_litellm() -> str:
    """Return the peer's program. **Raises** `ConfigError` where there is none."""
    beside = Path(__file__).parents[3] / ".venv-peers" / "bin" / "litellm"
    found = os.environ.get("EDGEGEN_LITELLM") or shutil.which("litellm") or (str(beside) if beside.exists() else None)
    if found is None:
        raise ConfigError(
            "the LiteLLM proxy is not installed on this machine; `scripts/peers` installs it apart from edgegen,"
            " or name its program in EDGEGEN_LITELLM"
        )
    return found


def _wait_for(url: str, process: subprocess.Popen, log: str) -> None:
    until_s = time.monotonic() + START_S
    while time.monotonic() < until_s and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2.0):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise RuntimeError(f"the peer did not start: {Path(log).read_text(encoding='utf-8', errors='replace')[-1000:]}")


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


# ------------------------------------------------------------------------------------------------------------- decisions


def decision_bars() -> list[Bar]:
    """The time of a decision about 64 waiting requests on 16 nodes, and of the whole event that led to it."""
    from edgegen.registry import load_policy

    crowd = Crowd(Dispatcher(Catalog(crowded_fleet()), load_policy("certified").within(0.008), max_waiting=TASKS))
    for _ in range(20):
        crowd.turn()
    crowd.decisions_s.clear()
    events = [1e3 * crowd.turn() for _ in range(DECISIONS)]
    decisions = [1e3 * seconds for seconds in crowd.decisions_s]
    label, bars = f"{TASKS} waiting x {NODES} nodes", []
    for what, times, goal in (("a decision", decisions, GOAL_P99_MS), ("the whole event", events, None)):
        low, high = median_interval(np.array(times))
        more, worst = {"unit": "ms", "n": len(times)}, float(np.percentile(times, 99))
        bars.append(Bar.report(f"{label}: P50 of {what}", statistics.median(times), low=low, high=high, **more))
        name = f"{label}: P99 of {what}"
        bars.append(Bar.report(name, worst, **more) if goal is None else Bar.at_most(name, worst, goal, **more))
    return bars


def crowded_fleet() -> Fleet:
    """Return a phone and sixteen servers of different speeds with three models."""
    rng, names = np.random.default_rng(SEED), [f"model-{at}" for at in range(MODELS)]
    steps = (1, 2, 4, 8, 12, 16, 24, 32)
    servers = [
        NodeSpec(
            f"edge-{at}",
            "edge",
            {name: Speed(float(rng.uniform(0.02, 0.1)) * (1 + size), 0.02, 0.5) for size, name in enumerate(names)},
            8e9,
            float(rng.uniform(20, 200)),
            link=Link(uplink_bps=20e6, downlink_bps=60e6, rtt_s=0.01),
        )
        for at in range(NODES)
    ]
    phone = NodeSpec("phone", "device", {names[0]: Speed(0.2, 0.05, 0.0)}, 1e9, 4.0, transmit_power_w=0.8)
    models = tuple(
        ModelSpec(name, tuple(tuple((0.8 + 0.1 * at) * k / (k + c) for k in steps) for c in (0.5, 1.0, 1.5, 2.0)), 1e9)
        for at, name in enumerate(names)
    )
    return Fleet(nodes=(phone, *servers), models=models, categories=CATEGORIES, steps=steps)


class Crowd:
    """A dispatcher whose queue is always full: whenever a picture is finished, another request comes."""

    def __init__(self, dispatcher: Dispatcher):
        self._dispatcher, self._rng = dispatcher, np.random.default_rng(SEED)
        self._now_s, self._number, self._running = 0.0, 0, []
        self.decisions_s: list[float] = []
        decider = dispatcher._decider
        decider.choose = self._timed(decider.choose)  # type: ignore[method-assign]
        for name in dispatcher.catalog.nodes:
            self._hear(NodeJoined(name))
        while len(dispatcher.waiting) < TASKS:
            self._arrive()

    def turn(self) -> float:
        """Let a picture be generated; return the seconds that the dispatcher took for it, all waiting requests planned anew."""
        start = self._running.pop(0)
        self._now_s += 0.01
        assert len(self._dispatcher.waiting) == TASKS
        began_s = time.perf_counter()
        commands = self._dispatcher.react(Progressed(start.id, start.steps, start.steps), self._now_s)
        took_s = time.perf_counter() - began_s
        self._obey(commands)
        self._hear(Finished(start.id, start.predicted))
        while len(self._dispatcher.waiting) < TASKS:
            self._arrive()
        return took_s

    def _timed(self, choose: Callable[[Table], Answer]) -> Callable[[Table], Answer]:
        def timed(table: Table) -> Answer:
            began_s = time.perf_counter()
            answer = choose(table)
            self.decisions_s.append(time.perf_counter() - began_s)
            return answer

        return timed

    def _arrive(self) -> None:
        rng, self._number = self._rng, self._number + 1
        limits = Limits(deadline_s=float(rng.uniform(20.0, 60.0)), min_quality=float(rng.uniform(0.1, 0.4)))
        category = CATEGORIES[int(rng.integers(len(CATEGORIES)))]
        identity = {"id": f"r{self._number}", "number": self._number, "prompt": "", "seed": 0, "origin": "phone"}
        asked = Request(
            **identity, category=category, arrived_s=self._now_s, input_bits=16e3, output_bits=4e6, limits=limits
        )
        self._hear(Arrived(asked))

    def _hear(self, event: Event) -> None:
        self._obey(self._dispatcher.react(event, self._now_s))

    def _obey(self, commands: list[Command]) -> None:
        for command in commands:
            if isinstance(command, Start):
                self._running.append(command)
            elif isinstance(command, Load):
                self._hear(Loaded(command.node, command.model, 0.5))
            elif isinstance(command, Retarget):
                at = next(at for at, start in enumerate(self._running) if start.id == command.id)
                self._running[at] = dataclasses.replace(self._running[at], steps=command.steps)


# ------------------------------------------------------------------------------------------------------------------ jobs


def accept_bars() -> list[Bar]:
    """How long it takes until a job is on the disk and answered, with few and with ten thousand that have not ended.

    Two gateways take jobs by turns, one that is empty and one that is nearly full: what the machine does meanwhile, it does to both.
    """
    from edgegen.observe.logs import set_up

    set_up("warning")
    with contextlib.ExitStack() as stack:
        full, empty = (stack.enter_context(_taking_jobs()) for _ in range(2))
        asked = iter(bodies(JOBS + PART))
        for _ in range(JOBS - PART):
            full(next(asked))
        pairs = np.array([(empty(next(asked)), full(next(asked))) for _ in range(PART)])
    first, last = (1e3 * pairs).T
    ratios = last / first
    low, high = median_interval(ratios)
    more = {"unit": "ms", "n": PART}
    name = f"the last {PART:,} of {JOBS:,} jobs accepted, over the first {PART:,} of an empty gateway, by turns: P50"
    return [
        Bar.at_most(name, float(np.median(ratios)), GOAL_ACCEPT, unit="x", n=PART, low=low, high=high),
        Bar.report(f"accepting one of the first {PART:,} jobs: P50", float(np.median(first)), **more),
        Bar.report(f"accepting one of the first {PART:,} jobs: P99", float(np.percentile(first, 99)), **more),
        Bar.report(f"accepting one of the last {PART:,} jobs: P50", float(np.median(last)), **more),
        Bar.report(f"accepting one of the last {PART:,} jobs: P99", float(np.percentile(last, 99)), **more),
    ]


@contextlib.contextmanager
def _taking_jobs() -> Iterator[Callable[[dict], float]]:
    """Start a gateway that works on one job for hours; give what posts a job over one connection and returns its seconds."""
    import http.client

    from edgegen.serve.compose import compose
    from edgegen.serve.run import in_thread
    from edgegen.serve.storage.place import Storage

    with tempfile.TemporaryDirectory() as folder:
        config = parse_config(_waiting(folder), source="the control benchmark")
        storage = Storage.of(config.storage, {})

        def make():
            return compose(config, slow_fleet(config), maker="inside", storage=storage)

        with in_thread(make) as live:
            connection = http.client.HTTPConnection("127.0.0.1", int(live.url.rpartition(":")[2]))

            def post(body: dict) -> float:
                sent = json.dumps({"prompt": body["prompt"], "edgegen": {"tiers": ["device"]}})
                began_s = time.perf_counter()
                connection.request("POST", "/v1/jobs", sent, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                said, took_s = answer.read(), time.perf_counter() - began_s
                if answer.status != 202:
                    raise RuntimeError(f"a job was not accepted: {answer.status} {said[:300]!r}")
                return took_s

            yield post
            connection.close()


def slow_fleet(config: Config) -> Fleet:
    """Return the fleet of a configuration on machines that take hours for a picture."""
    fleet, hours = instant_fleet(config), Speed(step_s=3600.0, fixed_s=0.0, load_s=0.0)
    nodes = [dataclasses.replace(node, speeds=dict.fromkeys(node.speeds, hours), paced=True) for node in fleet.nodes]
    return dataclasses.replace(fleet, nodes=tuple(nodes))


def _waiting(folder: str) -> str:
    """A gateway that works on one job at a time."""
    return f"""
[storage]
url = "sqlite:///{folder}/edgegen.db"
blobs = "{folder}/blobs"
[jobs]
at_once = 1
max_open = 20000
[[models]]
name = "shapes-s"
[[nodes]]
name = "phone"
tier = "device"
models = ["shapes-s"]
"""
