"""Methods compared on many instances of a varied scenario, with common random numbers and 95 % intervals.

Every point of a study draws instance k from the same seed, and every field draws from its own stream. So two points
differ in what was varied and in nothing else, and differences between methods are taken instance by instance.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from edgegen.core.result import interval
from edgegen.experiments.planning import audited, errors_of, generator
from edgegen.experiments.vary import Point
from edgegen.plan.certified.baselines import cost_of_refusing
from edgegen.plan.certified.draw import draw
from edgegen.plan.certified.instance import LOCAL, REFUSED, Instance
from edgegen.plan.certified.methods import PLAN, Method, method
from edgegen.plan.certified.planner import CertifiedPlan

METRICS = {
    "objective": "objective per user",
    "utility": "utility per user",
    "error": "average error of the served",
    "mean_s": "mean latency of the served (s)",
    "p95_s": "95th percentile of latency of the served (s)",
    "device_j": "device energy of the served (J)",
    "local_share": "share served locally",
    "refused_share": "share refused",
    "gap": "certified gap",
    "cpu_s": "processor time of a plan (s)",
    "above_plan": "cost above the planner (%)",
}
"""Figures of a row, with what they are called."""

ROW = ("seed", "method", "feasible", "violations", *(name for name in METRICS if name != "above_plan"), "wall_s")
"""Columns of a row, after those of the varied keys."""


@dataclasses.dataclass(frozen=True)
class Study:
    """What to run: points times instances times methods."""

    points: Sequence[Point]
    methods: Sequence[str]
    instances: int
    seed: int

    @property
    def size(self) -> int:
        """How many plans it takes."""
        return len(self.points) * self.instances * len(self.methods)

    def rows(self, progress: Callable[[int], None] = lambda done: None) -> Iterator[dict[str, Any]]:
        """Yield one row per plan, as soon as it is made."""
        chosen = {name: method(name) for name in self.methods}
        _warm_up(chosen, self.seed)
        done = 0
        for point in self.points:
            for seed in range(self.seed, self.seed + self.instances):
                instance = point.file.build(seed)
                for name, plan in chosen.items():
                    yield {**point.values, **measured(instance, plan, name, seed)}
                    done += 1
                    progress(done)


def _warm_up(methods: dict[str, Method], seed: int) -> None:
    """Compile what the methods need, so that no row's time contains it."""
    for plan in methods.values():
        plan(draw(seed, users=3, servers=2), np.random.default_rng(seed))


def measured(instance: Instance, method: Method, name: str, seed: int) -> dict[str, Any]:
    """Plan and return a row; a plan that keeps not every limit counts what refusing everybody costs.

    **Raises** `EdgegenError` when the independent checker refuses a plan that claims to keep the limits.
    """
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    plan = method(instance, generator(seed, name))
    cpu_s, wall_s = time.process_time() - began_cpu_s, time.perf_counter() - began_s
    feasible = bool(np.isfinite(plan.objective))
    audit = audited(instance, plan, name)
    users = max(instance.users, 1)
    objective = min(plan.objective, cost_of_refusing(instance))
    return {
        "seed": seed,
        "method": name,
        "feasible": feasible,
        "violations": len(audit.broken) if feasible else 0,
        "objective": objective / users,
        "utility": (float(instance.weights.sum()) - objective) / users,
        **_outcome(instance, plan, audit.total_s, audit.device_energy_j, feasible),
        "gap": plan.gap if feasible and np.isfinite(plan.bound) else math.nan,
        "cpu_s": cpu_s,
        "wall_s": wall_s,
    }


def _outcome(instance: Instance, plan: CertifiedPlan, total_s, energy_j, feasible: bool) -> dict[str, float]:
    served = plan.node != REFUSED
    names = ("error", "mean_s", "p95_s", "device_j", "local_share", "refused_share")
    if not feasible or not served.any():
        return {**dict.fromkeys(names, math.nan), "refused_share": 1.0 if instance.users else math.nan}
    figures = (
        errors_of(instance, plan)[served].mean(),
        total_s[served].mean(),
        np.percentile(total_s[served], 95),
        energy_j[served].mean(),
        (plan.node == LOCAL).mean(),
        1 - served.mean(),
    )
    return {name: float(figure) for name, figure in zip(names, figures, strict=True)}


# ------------------------------------------------------------------------------------------------------ the summary


def summary(rows: Sequence[dict[str, Any]], keys: Sequence[str]) -> list[dict[str, Any]]:
    """Return one entry per point and method: every metric with its mean, 95 % interval and number of values.

    Averages over users are of feasible plans only; objective and utility are of all. `above_plan` compares with the
    planner on the same instances.
    """
    groups: dict[tuple, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((*(row[key] for key in keys), row["method"]), []).append(row)
    planner = {(*(row[key] for key in keys), row["seed"]): row["objective"] for row in rows if row["method"] == PLAN}
    entries = []
    for group, members in groups.items():
        entry: dict[str, Any] = dict(zip((*keys, "method"), group, strict=True))
        entry |= {
            "instances": len(members),
            "infeasible": sum(not row["feasible"] for row in members),
            "violations": sum(row["violations"] for row in members),
        }
        for name in METRICS:
            values = _above(members, keys, planner) if name == "above_plan" else [row[name] for row in members]
            entry[name] = interval(values)
        entries.append(entry)
    return entries


def _above(rows: Sequence[dict[str, Any]], keys: Sequence[str], planner: dict[tuple, float]) -> list[float]:
    found = []
    for row in rows:
        best = planner.get((*(row[key] for key in keys), row["seed"]))
        if best is not None and best > 0:
            found.append(100 * (row["objective"] / best - 1))
    return found
