"""The planner with a certificate in the live path: how long a decision takes, and what it achieves beside the first planner."""

import json
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

from edgegen.core.result import Bar, wilson

NAME = "live"
SUMMARY = "the certified planner live: milliseconds of a decision, compilation, goodput beside the first planner"
TASKS, NODES, MODELS, DEVICES = 64, 8, 3, 8
DECISIONS, GOAL_P99_MS, BUDGET_S = 500, 10.0, 0.008
RATES, SEEDS, REQUESTS = (8.0, 16.0, 24.0, 40.0), 8, 300  # arrivals per second in virtual time
REAL, SEED = ((60, 20.0), (240, 10.0)), 3  # requests over real HTTP, with real pictures, and the time they come in
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
    """Measure everything; takes about three minutes."""
    progress(f"{DECISIONS} decisions about {TASKS} tasks")
    bars = decision_bars()
    progress("the first decision of another process")
    bars += start_bars()
    for rate in RATES:
        progress(f"{SEEDS} x {REQUESTS} requests at {rate:g}/s in virtual time, both planners")
        bars += virtual_bars(rate)
    for count, seconds in REAL:
        progress(f"{count} requests with real pictures over HTTP in {seconds:g} s, both planners")
        bars += real_bars(count, seconds)
    return bars


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
    from edgegen.dispatch.catalog import Catalog
    from edgegen.dispatch.replay import simulate, summary
    from edgegen.experiments.arrivals import draw_asks, to_requests
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


def real_bars(count: int, seconds: float) -> list[Bar]:
    """Compare both planners live: real HTTP, real worker processes, real pictures, the same requests."""
    from edgegen.assemble import build_fleet
    from edgegen.config import default_config
    from edgegen.demo.run import run_live
    from edgegen.demo.score import score
    from edgegen.experiments.arrivals import draw_asks
    from edgegen.observe.logs import set_up

    set_up("warning")
    config = default_config()
    fleet = build_fleet(config)
    origins = [node.name for node in fleet.nodes if node.tier == "device"]
    asks = draw_asks(count, seconds=seconds, origins=origins, seed=SEED)
    runs = {name: run_live(config, fleet, name, asks, lambda outcome: None) for name in (RIVAL, OURS)}
    ours, theirs = score(OURS, runs[OURS]), score(RIVAL, runs[RIVAL])
    shown = {
        name: sum(one.share_right for one in judged if one.outcome.in_time) / count for name, judged in runs.items()
    }
    label = f"live, {count / seconds:g}/s"
    return [
        _share(f"{label}: in time", ours.attained, theirs.attained, count),
        _share(f"{label}: in time and all right", ours.good, theirs.good, count),
        Bar.at_least(
            f"{label}: attributes right and in time, over those of the first planner ({shown[RIVAL]:.3f})",
            shown[OURS] / shown[RIVAL],
            1.0,
            n=count,
        ),
        Bar.report(
            f"{label}: joules per good picture, over those of the first planner ({theirs.joules_per_good_picture:.1f} J)",
            ours.joules_per_good_picture / theirs.joules_per_good_picture,
            n=count,
        ),
    ]


def _share(label: str, ours: int, theirs: int, count: int) -> Bar:
    """Our number over the rival's, with Wilson's interval of ours over their number."""
    low, high = (count * rate / theirs for rate in wilson(ours, count))
    name = f"{label}, over the first planner ({theirs} of {count})"
    return Bar.at_least(name, ours / theirs, 1.0, n=count, low=low, high=high)
