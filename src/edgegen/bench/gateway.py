"""What the gateway itself takes: a request's latency over real HTTP minus its worker's own time.

The path is the full one: HTTP, validation, grammar, dispatcher with the planner, journal on disk, worker process over its
line, response with the picture in it. Only the picture is made beforehand, and no link or step is padded. Every request asks
for something else, so nothing that is remembered of one helps the next. The load generator is a process of its own on the
same machine, so at many clients the figures are those of a saturated core.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from edgegen.config import Config, parse_config
from edgegen.core.result import Bar, median_interval
from edgegen.dispatch.fleet import Fleet, Link, ModelSpec, NodeSpec, Speed

NAME = "gateway"
SUMMARY = "the gateway's overhead on top of the worker's own time: P50 and P99 at 1 and at 32 clients"
GOAL_P50_MS = 2.0
COUNT, WARM = 600, 60
SEED = 5

_CONFIG = """
[gateway]
pace = false
max_waiting = 256
[[models]]
name = "shapes-s"
[[models]]
name = "shapes-m"
[[nodes]]
name = "phone"
tier = "device"
models = ["shapes-s"]
[[nodes]]
name = "edge-1"
tier = "edge"
models = ["shapes-s", "shapes-m"]
[[nodes]]
name = "edge-2"
tier = "edge"
models = ["shapes-s", "shapes-m"]
[[nodes]]
name = "cloud"
tier = "cloud"
models = ["shapes-m"]
"""


def run(progress: Callable[[str], None]) -> list[Bar]:
    """Measure at 1 and at 32 clients."""
    from edgegen.observe.logs import set_up
    from edgegen.serve.compose import compose
    from edgegen.serve.run import in_thread

    set_up("info")  # as `edgegen serve` does; and standard output is for the figures

    config, bars = instant_config(), []
    with tempfile.TemporaryDirectory() as folder:
        journal = Path(folder) / "journal.jsonl"
        with in_thread(lambda: compose(config, instant_fleet(config), journal=journal, maker="instant")) as live:
            for clients in (1, 32):
                progress(f"gateway: {COUNT} requests from {clients} client{'s' if clients > 1 else ''}")
                bars += _bars(clients, overhead_ms(live.url, clients, COUNT))
    return bars


def _bars(clients: int, samples_ms: np.ndarray) -> list[Bar]:
    p50, p99 = np.percentile(samples_ms, [50, 99])
    low, high = median_interval(samples_ms)
    shared = {"unit": "ms", "n": len(samples_ms)}
    median = f"overhead P50, {clients} client{'s' if clients > 1 else ''}"
    if clients == 1:
        first = Bar.at_most(median, p50, GOAL_P50_MS, low=low, high=high, **shared)
    else:
        first = Bar.report(median, p50, low=low, high=high, **shared)
    return [first, Bar.report(median.replace("P50", "P99"), p99, **shared)]


def overhead_ms(url: str, clients: int, count: int) -> np.ndarray:
    """Return latency minus the worker's own time, in milliseconds, for each of `count` requests."""
    address = urlsplit(url)
    command = [sys.executable, "-m", "edgegen.bench._load", str(address.hostname), str(address.port)]
    asked = "".join(json.dumps(body) + "\n" for body in bodies(WARM + count))
    said = subprocess.run([*command, str(clients), str(WARM)], input=asked, capture_output=True, text=True, check=True)
    samples = np.array(json.loads(said.stdout))
    return 1e3 * (samples[:, 0] - samples[:, 1])


def bodies(count: int) -> list[dict]:
    """Return requests of all categories, each with another prompt, deadline and quality floor."""
    from edgegen.generate.grammar import CATEGORIES, sample_scene

    rng, found = np.random.default_rng(SEED), []
    for number in range(count):
        prompt = sample_scene(rng, CATEGORIES[number % len(CATEGORIES)]).caption()
        limits = {"deadline_ms": int(rng.integers(30_000, 90_000)), "min_quality": round(rng.uniform(0.1, 0.4), 4)}
        found.append({"prompt": prompt, "edgegen": limits})
    return found


def instant_config() -> Config:
    """Return four machines without links or pace."""
    return parse_config(_CONFIG, source="the gateway benchmark")


def instant_fleet(config: Config) -> Fleet:
    """Return the fleet of a configuration as instant workers are: next to no time for anything."""
    steps = tuple(config.gateway.steps)
    quality = tuple(tuple(0.9 * count / (count + 1.0) for count in steps) for _ in range(4))
    speed = Speed(step_s=1e-5, fixed_s=1e-5, load_s=0.0)
    return Fleet(
        nodes=tuple(
            NodeSpec(node.name, node.tier, dict.fromkeys(node.models, speed), 1e9, 10.0, link=Link())
            for node in config.nodes
        ),
        models=tuple(ModelSpec(model.name, quality, 1e6) for model in config.models),
        categories=("basic", "detail", "relation", "complex"),
        steps=steps,
    )
