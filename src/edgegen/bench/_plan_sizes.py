"""Gaps and times of the planner by size and family, and how its time grows."""

import time
from collections.abc import Callable, Iterable

import numpy as np

from edgegen.core.result import Bar

SMALL, SMALL_SERVERS = 200, 3
MEAN_GAP, WORST_GAP = 0.05, 0.5  # percent, to the proven optimum
SIZES, SERVERS, DRAWS = (20, 50, 100, 200), 5, 10
MEAN_CERTIFIED, WORST_CERTIFIED = 0.5, 2.0  # percent, of the default family
GOALS_AT_50 = {"default": (None, 30.0), "square_root": (0.03, 5.0)}  # mean certified gap [%] and median [ms]
FEW_SERVERS = 2  # reported beside the goals at 50: the gap grows with the servers per user
GROWTH, GROWTH_SERVERS, GROWTH_DRAWS = (100, 200, 500, 1000, 2000, 5000), 20, 3
LARGE, LARGE_GAP, LARGE_S = 1000, 1.0, 1.0
EXPONENT = 1.2  # of the time against the number of users: close to linear
LARGEST, LARGEST_DRAWS = 5000, 2


def small_bars(progress: Callable[[str], None]) -> list[Bar]:
    """Random instances of 3 to 8 users on 3 servers, all families in turn, against the proven optimum."""
    from edgegen.plan.certified.checker import check
    from edgegen.plan.certified.draw import FAMILIES, draw
    from edgegen.plan.certified.planner import Status, exact, plan

    progress(f"{SMALL} small instances against the exact method")
    gaps, missed, broken, unproven, times = [], 0, 0, 0, []
    for seed in range(SMALL):
        turn, family = divmod(seed, len(FAMILIES))
        instance = draw(seed, users=3 + turn % 6, servers=SMALL_SERVERS, family=FAMILIES[family])
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


def certified_bars(progress: Callable[[str], None]) -> list[Bar]:
    """Certified gap and time of every family by size; goals for the default family and at 50 users."""
    from edgegen.plan.certified.draw import FAMILIES

    bars = []
    for users in SIZES:
        progress(f"{DRAWS} instances of {users} users on {SERVERS} servers, {len(FAMILIES)} families")
        for family in FAMILIES:
            bars += _family_bars(users, SERVERS, family)
    return [*bars, *_family_bars(50, FEW_SERVERS, "square_root")]


def _family_bars(users: int, servers: int, family: str) -> list[Bar]:
    gaps, times = gaps_and_times(range(DRAWS), users, servers, family)
    label = f"N = {users}, M = {servers}, {family}"
    mean_goal, ms_goal = GOALS_AT_50.get(family, (None, None)) if (users, servers) == (50, SERVERS) else (None, None)
    worst_goal = None
    if family == "default":
        mean_goal, worst_goal = MEAN_CERTIFIED, WORST_CERTIFIED
    low, high = _mean_interval(gaps)
    return [
        _at_most(f"{label}: mean certified gap", np.mean(gaps), mean_goal, unit="%", n=len(gaps), low=low, high=high),
        _at_most(f"{label}: worst certified gap", np.max(gaps), worst_goal, unit="%", n=len(gaps)),
        _median(f"{label}: a plan takes", 1e3 * times, ms_goal),
    ]


def growth_bars(progress: Callable[[str], None]) -> list[Bar]:
    """Time and gap from a hundred to thousands of users on twenty servers, and the exponent of the time."""
    bars, sizes, seconds = [], [], []
    for users in GROWTH:
        progress(f"{GROWTH_DRAWS} instances of {users} users on {GROWTH_SERVERS} servers")
        gaps, times = gaps_and_times(range(GROWTH_DRAWS), users, GROWTH_SERVERS, "default")
        sizes += [users] * len(times)
        seconds += times.tolist()
        bars += _large_bars(f"N = {users}, M = {GROWTH_SERVERS}", gaps, times, goals=users == LARGE)
    slope, half = _slope(np.log(sizes), np.log(seconds))
    name = f"M = {GROWTH_SERVERS}: exponent of a plan's time in N, fitted from {GROWTH[0]} to {GROWTH[-1]}"
    bars.append(Bar.at_most(name, slope, EXPONENT, n=len(sizes), low=slope - half, high=slope + half))
    progress(f"{LARGEST_DRAWS} instances of {LARGEST} users on {GROWTH_SERVERS} servers, square_root")
    gaps, times = gaps_and_times(range(LARGEST_DRAWS), LARGEST, GROWTH_SERVERS, "square_root")
    return [*bars, *_large_bars(f"N = {LARGEST}, M = {GROWTH_SERVERS}, square_root", gaps, times, goals=False)]


def _large_bars(label: str, gaps: list[float], times: np.ndarray, *, goals: bool) -> list[Bar]:
    gap_goal, time_goal = (LARGE_GAP, LARGE_S) if goals else (None, None)
    return [
        _at_most(f"{label}: worst certified gap", max(gaps), gap_goal, unit="%", n=len(gaps)),
        _at_most(f"{label}: a plan takes at most", max(times), time_goal, unit="s", n=len(times)),
    ]


def gaps_and_times(seeds: Iterable[int], users: int, servers: int, family: str) -> tuple[list[float], np.ndarray]:
    """Return certified gaps [%] and process times [s]; plans that the checker refuses count as a gap of 100 %."""
    from edgegen.plan.certified.checker import check
    from edgegen.plan.certified.draw import draw
    from edgegen.plan.certified.planner import plan

    gaps, times = [], []
    for seed in seeds:
        instance = draw(seed, users=users, servers=servers, family=family)
        began_s = time.process_time()
        found = plan(instance)
        times.append(time.process_time() - began_s)
        gaps.append(100 * found.gap if np.isfinite(found.objective) and check(instance, found).holds else 100.0)
    return gaps, np.array(times)


def _slope(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return the least-squares slope and half of its 95 % interval (normal approximation)."""
    x = x - x.mean()
    slope = float(x @ y / (x @ x))
    left = y - y.mean() - slope * x
    return slope, 1.96 * float(np.sqrt(left @ left / (len(x) - 2) / (x @ x)))


def _mean_interval(values: list[float]) -> tuple[float, float]:
    """Return the 95 % interval of a mean (normal approximation)."""
    half = 1.96 * float(np.std(values, ddof=1)) / np.sqrt(len(values))
    return float(np.mean(values)) - half, float(np.mean(values)) + half


def _at_most(label: str, value, goal: float | None, **known) -> Bar:
    return Bar.report(label, value, **known) if goal is None else Bar.at_most(label, value, goal, **known)


def _median(label: str, times_ms: np.ndarray, goal: float | None = None) -> Bar:
    low, high = (float(value) for value in np.percentile(times_ms, [2.5, 97.5]))
    label, middle = f"{label} (median; the range holds 95 % of them)", float(np.median(times_ms))
    return _at_most(label, middle, goal, unit="ms", n=len(times_ms), low=low, high=high)
