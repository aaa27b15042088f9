"""The planner with a certificate in the live path: how long a decision takes, and what it achieves beside the first planner."""

import json
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

from edgegen.core.result import Bar

NAME = "live"
SUMMARY = "the certified planner live: milliseconds of a decision, compilation, goodput beside the first planner"
TASKS, NODES, MODELS, DEVICES = 64, 8, 3, 8
DECISIONS, GOAL_P99_MS, BUDGET_S = 500, 10.0, 0.008
RATES, SEEDS, REQUESTS = (8.0, 16.0, 24.0, 40.0), 8, 300  # arrivals per second in virtual time
COUNT, SECONDS, SEED = 60, 20.0, 11  # requests over real HTTP, with real pictures
RIVAL, OURS = "planner", "certified"
_START = """
import json, time
began = time.perf_counter()
from edgegen.plan.live import CertifiedPlanner
from edgegen.plan.networks import fleet
CertifiedPlanner().decide(fleet(0, tasks=16, nodes=4))
from edgegen.bench.live import kernels
missed = sum(sum(kernel.stats.cache_misses.values()) for kernel in kernels())
print(json.dumps({"seconds": time.perf_counter() - began, "compiled": missed}))
"""


def run(progress: Callable[[str], None]) -> list[Bar]:
    """Measure everything; takes about two minutes."""
    progress(f"{DECISIONS} decisions about {TASKS} tasks")
    bars = decision_bars()
    progress("the first decision of another process")
    bars += start_bars()
    for rate in RATES:
        progress(f"{SEEDS} x {REQUESTS} requests at {rate:g}/s in virtual time, both planners")
        bars += virtual_bars(rate)
    progress(f"{COUNT} requests with real pictures over HTTP, both planners")
    return [*bars, *real_bars()]


def kernels() -> list:
    """Return the compiled functions of the live planner."""
    from edgegen.plan.queues import bound, problem, search

    found = [value for module in (bound, problem, search) for value in vars(module).values()]
    return list({id(value): value for value in found if hasattr(value, "signatures")}.values())


def decision_bars() -> list[Bar]:
    """Time decisions about States that were never seen before, each with its own number of tasks under way."""
    from edgegen.plan.live import CertifiedPlanner
    from edgegen.plan.networks import fleet

    policy = CertifiedPlanner()
    policy.decide(fleet(0, tasks=TASKS, nodes=1 + NODES, models=MODELS, devices=DEVICES))
    policy, before = policy.within(BUDGET_S), sum(len(kernel.signatures) for kernel in kernels())
    times, gaps, cut = [], [], 0
    for seed in range(1, 1 + DECISIONS):
        state = fleet(seed, tasks=TASKS, nodes=1 + NODES, models=MODELS, devices=DEVICES)
        began_s = time.perf_counter()
        certificate = policy.decide(state).certificate
        times.append(1e3 * (time.perf_counter() - began_s))
        assert certificate is not None
        gaps.append(100 * certificate.gap)
        cut += certificate.cut
    after = sum(len(kernel.signatures) for kernel in kernels())
    label, half = f"{TASKS} tasks x {NODES} nodes x {MODELS} models", 1.96 * float(np.std(gaps)) / np.sqrt(len(gaps))
    mean = float(np.mean(gaps))
    return [
        Bar.at_most(f"{label}: P99 of a decision", np.percentile(times, 99), GOAL_P99_MS, unit="ms", n=len(times)),
        Bar.report(f"{label}: P50 of a decision", np.median(times), unit="ms", n=len(times)),
        Bar.report(f"{label}: decisions that were cut", 100 * cut / len(times), unit="%", n=len(times)),
        Bar.report(f"{label}: mean certified gap", mean, unit="%", n=len(gaps), low=mean - half, high=mean + half),
        Bar.at_most("kernels compiled after the first decision", after - before, 0, n=len(times)),
    ]


def start_bars() -> list[Bar]:
    """Let another process decide: what was compiled must be found again."""
    answer = subprocess.run([sys.executable, "-c", _START], capture_output=True, text=True, check=True)
    found = json.loads(answer.stdout)
    return [
        Bar.at_most("kernels compiled by the next process", found["compiled"], 0),
        Bar.report("first decision of a new process, imports included", found["seconds"], unit="s"),
    ]


def virtual_bars(rate: float) -> list[Bar]:
    """Compare both planners on the built-in fleet in virtual time, on the same arrivals."""
    from edgegen.assemble import build_fleet
    from edgegen.config import default_config
    from edgegen.demo.arrivals import draw_asks
    from edgegen.demo.run import to_requests
    from edgegen.dispatch.catalog import Catalog
    from edgegen.dispatch.replay import simulate, summary
    from edgegen.registry import load_policy

    config = default_config()
    fleet = build_fleet(config)
    catalog, origins = Catalog(fleet), [node.name for node in fleet.nodes if node.tier == "device"]
    found: dict[str, list[dict[str, float]]] = {RIVAL: [], OURS: []}
    for seed in range(SEEDS):
        asks = draw_asks(REQUESTS, seconds=REQUESTS / rate, origins=origins, seed=seed)
        for name, rows in found.items():
            rows.append(summary(simulate(catalog, load_policy(name), to_requests(config, asks), policy_name=name)))
    return [_ratio(f"{rate:g}/s", figure, found) for figure in ("attainment", "quality_in_time")]


def _ratio(label: str, figure: str, found: dict[str, list[dict[str, float]]]) -> Bar:
    """Our mean over the rival's, with the interval of the mean of the paired ratios."""
    ours, theirs = (np.array([row[figure] for row in found[name]]) for name in (OURS, RIVAL))
    half = 1.96 * float((ours / theirs).std(ddof=1)) / np.sqrt(len(ours))
    ratio = float(ours.mean() / theirs.mean())
    name = f"virtual time, {label}: {figure.replace('_', ' ')} over that of the first planner ({theirs.mean():.3f})"
    return Bar.at_least(name, ratio, 1.0, n=len(ours), low=ratio - half, high=ratio + half)


def real_bars() -> list[Bar]:
    """Compare both planners live: real HTTP, real worker processes, real pictures, the same requests."""
    from edgegen.assemble import build_fleet
    from edgegen.config import default_config
    from edgegen.demo.arrivals import draw_asks
    from edgegen.demo.run import run_live
    from edgegen.demo.score import score
    from edgegen.observe.logs import set_up

    set_up("warning")
    config = default_config()
    fleet = build_fleet(config)
    origins = [node.name for node in fleet.nodes if node.tier == "device"]
    asks = draw_asks(COUNT, seconds=SECONDS, origins=origins, seed=SEED)
    rows = {name: score(name, run_live(config, fleet, name, asks, lambda outcome: None)) for name in (RIVAL, OURS)}
    ours, theirs = rows[OURS], rows[RIVAL]
    return [
        Bar.at_least(
            f"live: in time, over the first planner ({theirs.attained})", ours.attained / theirs.attained, 1.0, n=COUNT
        ),
        Bar.at_least(f"live: in time and all right, over ({theirs.good})", ours.good / theirs.good, 1.0, n=COUNT),
        Bar.at_least(
            f"live: attributes right, over ({theirs.share_right:.3f})",
            ours.share_right / theirs.share_right,
            1.0,
            n=COUNT,
        ),
        Bar.report(
            f"live: joules per good picture, over ({theirs.joules_per_good_picture:.1f} J)",
            ours.joules_per_good_picture / theirs.joules_per_good_picture,
            n=COUNT,
        ),
    ]
