"""The bars of many plans and of wide ones: instances per second in a batch, a hundred thousand users with a certificate.

Wall seconds depend on who else uses the cores; process seconds are those of this process and its workers together.
"""

import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgegen.core.result import Bar, median_interval
from edgegen.plan.certified.wide.executors import AbstractExecutor, Processes, Serial, cores

NAME = "scale"
SUMMARY = "many plans in one call, and wide plans by regions: seconds, certified gap, memory up to 100,000 users"
BATCH, BATCH_USERS, BATCH_SERVERS, TURNS = 1000, 20, 5, 10
BOTH = (2_000, 20, 5)  # users, servers, servers in a region: a size that one table can hold too
MIDDLE, LARGE = (10_000, 100), (100_000, 1_000)
BUSY = (20_000, 1_000, "tight_battery")  # more than half of the users need a server; of the default family few do
REFUSAL = 2.25  # 1.5 x the sum of the weights: some users of a busy plain can be served by nothing
GAP, LARGE_S = 1.0, 360.0  # percent; process seconds


def run(progress: Callable[[str], None]) -> list[Bar]:
    """Measure everything; takes three to five minutes."""
    progress(f"{BATCH} instances of {BATCH_USERS} users, in {TURNS} turns (the first plan may compile for a minute)")
    bars = batch_bars()
    progress(f"{BOTH[0]} users on {BOTH[1]} servers, by regions and in one table")
    bars += table_bars()
    for (users, servers, *family), executor in (
        (MIDDLE, Serial),
        (MIDDLE, Processes),
        (BUSY, Processes),
        (LARGE, Processes),
    ):
        progress(f"{users} users on {servers} servers, {executor.__name__.lower()}")
        bars += wide_bars(users, servers, executor, progress, *family)
    return bars


def batch_bars() -> list[Bar]:
    """Instances per second one by one and in a batch, taking turns so that a busy machine hurts both alike."""
    from edgegen.plan.certified.batch import plan_many
    from edgegen.plan.certified.draw import draw
    from edgegen.plan.certified.planner import plan

    instances = [draw(seed, users=BATCH_USERS, servers=BATCH_SERVERS) for seed in range(BATCH)]
    plan(instances[0])
    single, many, different = [], [], 0
    for turn in range(TURNS):
        part = instances[turn::TURNS]
        began_s = time.perf_counter()
        one_by_one = [plan(instance) for instance in part]
        middle_s = time.perf_counter()
        together = plan_many(part)
        many.append(time.perf_counter() - middle_s)
        single.append(middle_s - began_s)
        different += sum(not _same(one, other) for one, other in zip(one_by_one, together, strict=True))
    ratios = np.array(single) / np.array(many)
    low, high = median_interval(ratios)
    label = f"{BATCH} x {BATCH_USERS} users, M = {BATCH_SERVERS}"
    return [
        Bar.report(f"{label}: one by one", BATCH / sum(single), unit="1/s", n=BATCH),
        Bar.report(f"{label}: in a batch on {cores()} cores", BATCH / sum(many), unit="1/s", n=BATCH),
        Bar.report(
            f"{label}: a batch is faster, median of turns", np.median(ratios), unit="x", n=TURNS, low=low, high=high
        ),
        Bar.at_most(f"{label}: plans that differ from those one by one", different, 0, n=BATCH),
    ]


def _same(one: Any, other: Any) -> bool:
    return all(np.array_equal(value, vars(other)[name]) for name, value in vars(one).items())


def table_bars() -> list[Bar]:
    """Cost, bound and time of a plan by regions against the planner that holds everybody in one table."""
    from edgegen.plan.certified.planner import plan
    from edgegen.plan.certified.wide.draw import wide_draw
    from edgegen.plan.certified.wide.planner import plan_wide

    users, servers, size = BOTH
    costs, bounds, times = [], [], []
    for seed in range(3):
        wide = wide_draw(seed, users=users, servers=servers)
        dense = wide.dense()
        began_s = time.process_time()
        parts = plan_wide(wide, executor=Serial(), size=size)
        middle_s = time.process_time()
        whole = plan(dense)
        times.append((middle_s - began_s) / (time.process_time() - middle_s))
        costs.append(1e6 * (parts.objective / whole.objective - 1))
        bounds.append(1e6 * (1 - parts.bound / whole.bound))
    label, count = f"N = {users}, M = {servers}, {servers // size} regions against one table", len(times)
    return [
        Bar.report(f"{label}: the plan costs more by, at most", max(costs), unit="ppm", n=count),
        Bar.report(f"{label}: the bound is lower by, at most", max(bounds), unit="ppm", n=count),
        Bar.report(f"{label}: process time, median", float(np.median(times)), unit="x", n=count),
    ]


def wide_bars(
    users: int, servers: int, executor: type, progress: Callable[[str], None], family: str = "default"
) -> list[Bar]:
    """Seconds, certified gap, refused users and memory of one wide plan."""
    from edgegen.plan.certified.wide.checker import check_wide
    from edgegen.plan.certified.wide.draw import wide_draw
    from edgegen.plan.certified.wide.planner import device_options, plan_wide

    wide = wide_draw(0, users=users, servers=servers, family=family)
    wide = wide.replace(devices=wide.devices.replace(refusal_cost=np.full(users, REFUSAL)))
    workers = _Watched(executor())
    began, began_s = time.perf_counter(), _process_s()
    found = plan_wide(wide, executor=workers, progress=progress)
    wall_s, process_s = time.perf_counter() - began, _process_s() - began_s
    audit, saved = check_wide(wide, found), float(device_options(wide).cost.sum()) - found.objective
    label = f"N = {users}, M = {servers}, {family}, {executor.__name__.lower()}"
    refused = np.unique(np.concatenate([np.empty(0, dtype=int), *audit.wrong.values()])).size + len(audit.claims)
    seconds = Bar.report(f"{label}: process seconds", process_s, unit="s")
    if (users, servers) == LARGE:
        seconds = Bar.at_most(seconds.bar, process_s, LARGE_S, unit="s")
    bars = [
        Bar.report(f"{label}: wall seconds", wall_s, unit="s"),
        seconds,
        Bar.at_most(f"{label}: certified gap", 100 * found.gap, GAP, unit="%"),
        Bar.report(
            f"{label}: gap as a part of what servers save",
            100 * (found.objective - found.bound) / saved,
            unit="%",
        ),
        Bar.report(f"{label}: users refused by the plan", int((found.node == -1).sum()), n=users),
        Bar.report(f"{label}: users on servers", int((found.node > 0).sum()), n=users),
        Bar.at_most(f"{label}: users, servers and claims that the checker refuses", refused, 0, n=users),
        Bar.report(f"{label}: peak memory of this process so far", _peak_mb(None, None), unit="MB"),
    ]
    if workers.has_processes:
        bars.append(Bar.report(f"{label}: peak memory of the largest worker", workers.peak_mb, unit="MB"))
    return bars


class _Watched(AbstractExecutor):
    """An executor that asks its workers for their peak memory before they go."""

    def __init__(self, inner: AbstractExecutor):
        self.inner, self.peak_mb = inner, 0.0
        self.has_processes = not isinstance(inner, Serial)

    def share(self, shared: Any) -> None:
        self.inner.share(shared)

    def map(self, task: Callable, arguments: Sequence[Any]) -> list[Any]:
        return self.inner.map(task, arguments)

    def close(self) -> None:
        self.peak_mb = max(self.inner.map(_peak_mb, range(8 * cores())))
        self.inner.close()


def _peak_mb(shared: Any, argument: Any) -> float:
    """Return the peak memory of the process that runs this. Linux counts from the program's start only in /proc."""
    del shared, argument
    if os.path.exists("/proc/self/status"):
        with open("/proc/self/status") as status:
            lines = dict(line.split(":", 1) for line in status)
        return float(lines["VmHWM"].split()[0]) / 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 2**10)


def _process_s() -> float:
    """Return the process time of this process and of its workers that ended."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)
