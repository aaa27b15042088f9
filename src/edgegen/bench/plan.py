"""The bars of the certified planner: golden values, the gap to the proven optimum, certified gaps and times.

Times are process times of one thread, warm: what a busy machine does to the wall clock is not the planner's.
"""

import time
from collections.abc import Callable

import numpy as np

from edgegen.core.result import Bar

NAME = "plan"
SUMMARY = "the certified planner: golden values, gap to the proven optimum, certified gap and milliseconds by size"
GOLDEN_OPTIMUM, GOLDEN_TOLERANCE = 0.590842, 1e-4
SMALL, SMALL_SERVERS = 200, 3
MEAN_GAP, WORST_GAP = 0.05, 0.5  # percent, to the proven optimum
SIZES, SERVERS, DRAWS = (20, 50, 100, 200), 5, 10
MEAN_CERTIFIED, WORST_CERTIFIED = 0.5, 2.0  # percent
PLAN_MS_AT_50 = 30.0
LARGE, LARGE_GAP, LARGE_S = (1000, 20), 1.0, 1.0


def run(progress: Callable[[str], None]) -> list[Bar]:
    """Measure everything; takes a minute or two."""
    from edgegen.plan.certified.draw import golden
    from edgegen.plan.certified.planner import exact, plan

    progress("the golden instance (the first plan after an installation compiles for a minute)")
    values = {"exact": exact(golden()).objective, "plan": plan(golden()).objective}
    bars = [
        Bar.at_most(f"golden instance, {name}: off by", abs(value - GOLDEN_OPTIMUM), GOLDEN_TOLERANCE)
        for name, value in values.items()
    ]
    progress(f"{SMALL} small instances against the exact method")
    bars += small_bars()
    for users in SIZES:
        progress(f"{DRAWS} instances of {users} users on {SERVERS} servers")
        bars += certified_bars(users)
    progress(f"{LARGE[0]} users on {LARGE[1]} servers")
    return [*bars, *large_bars()]


def small_bars() -> list[Bar]:
    """Random instances of 3 to 8 users on 3 servers, three families in turn, against the proven optimum."""
    from edgegen.plan.certified.checker import check
    from edgegen.plan.certified.draw import FAMILIES, draw
    from edgegen.plan.certified.planner import Status, exact, plan

    gaps, missed, broken, unproven, times = [], 0, 0, 0, []
    for seed in range(SMALL):
        instance = draw(seed, users=3 + seed % 6, servers=SMALL_SERVERS, family=FAMILIES[seed % 3])
        began_s = time.process_time()
        found = plan(instance)
        times.append(time.process_time() - began_s)
        best = exact(instance)
        unproven += best.status not in (Status.OPTIMAL, Status.INFEASIBLE)
        if not np.isfinite(best.objective):
            continue
        missed += not np.isfinite(found.objective)
        broken += not (check(instance, found).holds and check(instance, best).holds)
        gaps.append(100 * (found.objective - best.objective) / best.objective)
    label, count = f"N = 3 to 8, M = {SMALL_SERVERS}", len(gaps)
    low, high = _mean_interval(gaps)
    return [
        Bar.at_most(
            f"{label}: mean gap to the optimum", float(np.mean(gaps)), MEAN_GAP, unit="%", n=count, low=low, high=high
        ),
        Bar.at_most(f"{label}: worst gap to the optimum", float(np.max(gaps)), WORST_GAP, unit="%", n=count),
        Bar.at_most(f"{label}: no plan where there is one", missed, 0, n=count),
        Bar.at_most(f"{label}: plans that the checker refuses", broken, 0, n=2 * count),
        Bar.at_most(f"{label}: optima without proof", unproven, 0, n=SMALL),
        _median(f"{label}: a plan takes", 1e3 * np.array(times)),
    ]


def certified_bars(users: int) -> list[Bar]:
    """Certified gap and time of the default family at one size; the other families without goals."""
    from edgegen.plan.certified.draw import FAMILIES

    bars = []
    for family in FAMILIES:
        gaps, times = _gaps_and_times(range(DRAWS), users, SERVERS, family)
        mean, worst, count = float(np.mean(gaps)), float(np.max(gaps)), len(gaps)
        low, high = _mean_interval(gaps)
        label = f"N = {users}, M = {SERVERS}, {family}"
        names = (f"{label}: mean certified gap", f"{label}: worst certified gap")
        if family == "default":
            bars.append(Bar.at_most(names[0], mean, MEAN_CERTIFIED, unit="%", n=count, low=low, high=high))
            bars.append(Bar.at_most(names[1], worst, WORST_CERTIFIED, unit="%", n=count))
        else:
            bars.append(Bar.report(names[0], mean, unit="%", n=count, low=low, high=high))
            bars.append(Bar.report(names[1], worst, unit="%", n=count))
        goal = PLAN_MS_AT_50 if (users, family) == (50, "default") else None
        bars.append(_median(f"{label}: a plan takes", times, goal))
    return bars


def large_bars() -> list[Bar]:
    """Gap and time of a thousand users on twenty servers."""
    users, servers = LARGE
    gaps, times = _gaps_and_times(range(3), users, servers, "default")
    label = f"N = {users}, M = {servers}"
    return [
        Bar.at_most(f"{label}: worst certified gap", float(np.max(gaps)), LARGE_GAP, unit="%", n=len(gaps)),
        Bar.at_most(f"{label}: a plan takes at most", float(np.max(times)) / 1e3, LARGE_S, unit="s", n=len(times)),
    ]


def _gaps_and_times(seeds, users: int, servers: int, family: str) -> tuple[list[float], np.ndarray]:
    """Return certified gaps [%] and process times [ms]; plans that the checker refuses count as a gap of 100 %."""
    from edgegen.plan.certified.checker import check
    from edgegen.plan.certified.draw import draw
    from edgegen.plan.certified.planner import plan

    gaps, times = [], []
    for seed in seeds:
        instance = draw(seed, users=users, servers=servers, family=family)
        began_s = time.process_time()
        found = plan(instance)
        times.append(1e3 * (time.process_time() - began_s))
        gaps.append(100 * found.gap if np.isfinite(found.objective) and check(instance, found).holds else 100.0)
    return gaps, np.array(times)


def _mean_interval(values: list[float]) -> tuple[float, float]:
    """Return the 95 % interval of a mean (normal approximation)."""
    half = 1.96 * float(np.std(values, ddof=1)) / np.sqrt(len(values))
    return float(np.mean(values)) - half, float(np.mean(values)) + half


def _median(label: str, times_ms: np.ndarray, goal: float | None = None) -> Bar:
    low, high = (float(value) for value in np.percentile(times_ms, [2.5, 97.5]))
    label, middle = f"{label} (median; the range holds 95 % of them)", float(np.median(times_ms))
    if goal is None:
        return Bar.report(label, middle, unit="ms", n=len(times_ms), low=low, high=high)
    return Bar.at_most(label, middle, goal, unit="ms", n=len(times_ms), low=low, high=high)
