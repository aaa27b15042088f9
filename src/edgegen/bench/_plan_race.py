"""How much longer SCIP takes than the planner, to the same objective and to a proof.

Both are process times of one thread. SCIP runs with its default settings; its start and the making of its model are not
counted, and it need not prove anything to reach the objective. The planner's time is all of a plan with its bound.
"""

import dataclasses
import time
from collections.abc import Callable

import numpy as np

from edgegen.bench._plan_golden import has_scip
from edgegen.core.result import Bar

FAMILIES = ("default", "tight_deadline", "tight_battery")
SIZES = (
    (3, 2),
    (4, 2),
    (5, 3),
)  # users and servers, each for every family, with the step counts of the golden instance
RUNS = 9  # warm plans of every instance
SAME = 1e-4  # relative: SCIP has the same objective when it is at most this much above the planner's
FORMULATIONS = ("conic", "naive", "reduced")
PROOF_LIMIT_S = 12.0  # of the first formulation, which goes on to a proof
CROWD, CROWD_DRAWS, CROWD_S = (50, 5), 3, 6.0  # users and servers of the square-root family, and SCIP's limit
SPEEDUP = 1000.0


@dataclasses.dataclass(frozen=True)
class Race:
    """One instance. What SCIP did not reach counts as its limit, so ratios can only be too low.

    The other formulations have the time of the first one, so the fastest of them is known.
    """

    plan_s: float
    exact_s: float
    scip_s: dict[str, float]  # to the same objective, by formulation
    proof_s: float  # of the first formulation, to a relative gap of `SAME`


def bars(progress: Callable[[str], None]) -> list[Bar]:
    """Race on three families, and on the family where a cone model is exact."""
    if not has_scip(progress):
        return []
    races = []
    for family in FAMILIES:
        for number, (users, servers) in enumerate(SIZES):
            progress(f"SCIP on {users} users and {servers} servers, {family}")
            races.append(race(40 + number, users, servers, family, FORMULATIONS))
    return [*_ratios(races), *_square_root_bars(progress)]


def _ratios(races: list[Race]) -> list[Bar]:
    first, *others = FORMULATIONS
    fastest = [min(race.scip_s.values()) / race.plan_s for race in races]
    won = {name: sum(race.scip_s[name] < race.scip_s[first] for race in races) for name in others}
    proofs = [race.proof_s / race.exact_s for race in races]
    return [
        _spread("SCIP's time to the plan's cost over the plan's, fastest formulation each", fastest, goal=SPEEDUP),
        *(Bar.report(f"instances on which {name} is faster than {first}", won[name], n=len(races)) for name in others),
        _spread(f"SCIP's time to a proof over the exact method's, {first}", proofs),
        _spread("these instances: a plan takes", [1e3 * race.plan_s for race in races], unit="ms"),
        _spread("these instances: an exact plan takes", [1e3 * race.exact_s for race in races], unit="ms"),
        _spread(f"these instances: SCIP, {first}, takes to a proof", [race.proof_s for race in races], unit="s"),
    ]


def _square_root_bars(progress: Callable[[str], None]) -> list[Bar]:
    """Race where the cone model is exact, small, and what SCIP is good at."""
    from edgegen.plan.certified.draw import draw
    from edgegen.plan.certified.oracles import Effort, solve
    from edgegen.plan.certified.planner import plan

    progress("SCIP on the family of the square-root law")
    roots = [race(40 + k, *size, "square_root", ("square_root",)) for k, size in enumerate(SIZES)]
    label, (users, servers) = "SCIP's time to the plan's cost over the plan's, square_root", CROWD
    ratios, above, above_bound = [], [], []
    for seed in range(CROWD_DRAWS):
        instance = draw(seed, users=users, servers=servers, family="square_root")
        ours = plan(instance)
        target = ours.objective * (1 + SAME)
        found = solve("square_root", instance, Effort(gap=SAME, limit_s=CROWD_S, target=target))
        ratios.append(min(found.first_s, CROWD_S) / _median_s(plan, instance))
        above.append(100 * (ours.objective - found.objective) / ours.objective)
        above_bound.append(100 * (ours.objective - found.bound) / ours.objective)
    where = f"N = {users}, M = {servers}, square_root"
    return [
        _spread(f"{label}, N = 3 to 5", [race.scip_s["square_root"] / race.plan_s for race in roots]),
        _spread(f"{label}, N = {users}, M = {servers}", ratios),
        _spread(f"{where}: the plan costs more than SCIP's after {CROWD_S:g} s by", above, unit="%"),
        _spread(f"{where}: the plan costs more than SCIP's bound after {CROWD_S:g} s by", above_bound, unit="%"),
    ]


def race(seed: int, users: int, servers: int, family: str, formulations: tuple[str, ...]) -> Race:
    """Time the planner and every formulation on one instance; the first goes on to a proof."""
    from edgegen.plan.certified.draw import GOLDEN_STEPS, draw
    from edgegen.plan.certified.oracles import Effort, solve
    from edgegen.plan.certified.planner import exact, plan

    instance = draw(seed, users=users, servers=servers, family=family, steps=GOLDEN_STEPS)
    target = plan(instance).objective * (1 + SAME)
    first, *others = formulations
    proved = solve(first, instance, Effort(gap=SAME, limit_s=PROOF_LIMIT_S, target=target))
    scip_s = {first: min(proved.first_s, PROOF_LIMIT_S)}
    effort = Effort(limit_s=scip_s[first], target=target, to_target=True)
    scip_s |= {name: min(solve(name, instance, effort).first_s, effort.limit_s) for name in others}
    return Race(_median_s(plan, instance), _median_s(exact, instance), scip_s, min(proved.seconds, PROOF_LIMIT_S))


def _median_s(method: Callable[..., object], instance) -> float:
    times = []
    for _ in range(RUNS):
        began_s = time.process_time()
        method(instance)
        times.append(time.process_time() - began_s)
    return float(np.median(times))


def _spread(label: str, values: list[float], *, unit: str = "x", goal: float | None = None) -> Bar:
    known = {"unit": unit, "n": len(values), "low": min(values), "high": max(values)}
    label, middle = f"{label} (median; the range holds all)", float(np.median(values))
    return Bar.report(label, middle, **known) if goal is None else Bar.at_least(label, middle, goal, **known)
