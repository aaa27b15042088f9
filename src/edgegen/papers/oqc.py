"""Offloading and Quality Control for AI Generated Content Services in 6G Mobile Edge Computing Networks.

Wang, Liu and Zhao, 2023, arXiv:2312.06203.

From the paper (abstract and first lines only; the body could not be read): diffusion models run on edge servers and on
devices with batteries and tight deadlines; offloading, computation time and the number of reverse diffusion steps are
chosen together; quality is an average error; the method beats benchmarks. There is no number in the abstract.
Derived by us: for fixed assignment and steps the problem is convex; local branches have a closed form; it separates by
server; prices of the capacities with deadlines inside give a bound (`plan.certified`).
Guessed: all equations and parameters, on the structure of a sibling by two of the authors (arXiv:2409.20247).
Deviations: 1. The planner is ours; the sibling's alternating method is kept beside it (`plan.certified.alternating`).
2. Reception costs a device nothing. 3. Servers are shared by clock and bandwidth, without queues.
"""

from collections.abc import Callable

import numpy as np

from edgegen.core import citation
from edgegen.core.result import Bar
from edgegen.plan.certified.alternating import alternating
from edgegen.plan.certified.baselines import BASELINES, cost_of_refusing
from edgegen.plan.certified.draw import draw
from edgegen.plan.certified.planner import exact, plan

CITATION = citation.OQC
USERS, SERVERS = 10, 2
SMALL_USERS = 8


def claims(progress: Callable[[str], None], *, instances: int = 30, seed: int = 100) -> list[Bar]:
    """Check "beats benchmarks" (abstract) on average, and our own bar: within 1 % of the optimum for up to 8 users."""
    rng = np.random.default_rng(seed)
    rivals = {"alternating": alternating, **BASELINES}
    ours, theirs = np.zeros(instances), {name: np.zeros(instances) for name in rivals}
    progress(f"oqc: {instances} instances against {len(rivals)} benchmarks, then against the optimum")
    for number in range(instances):
        instance = draw(seed + number, users=USERS, servers=SERVERS)
        ours[number] = plan(instance).objective
        for name, rival in rivals.items():
            theirs[name][number] = min(rival(instance, rng).objective, cost_of_refusing(instance))
    gaps = [_gap(draw(seed + number, users=SMALL_USERS, servers=SERVERS)) for number in range(instances)]
    return [
        *(_saved(name, 100 * (1 - ours / cost)) for name, cost in theirs.items()),
        Bar.at_most(f"oqc: worst gap to the optimum, {SMALL_USERS} users", 100 * max(gaps), 1.0, unit="%", n=instances),
    ]


def _saved(name: str, percent: np.ndarray) -> Bar:
    """What the planner saves against a benchmark, with the 95 % interval of the mean."""
    mean, half = float(percent.mean()), 1.96 * float(percent.std(ddof=1)) / np.sqrt(len(percent))
    label = f"oqc: mean cost saved against {name}"
    return Bar.at_least(label, mean, 0.0, unit="%", n=len(percent), low=mean - half, high=mean + half)


def _gap(instance) -> float:
    best = exact(instance).objective
    return (plan(instance).objective - best) / best
