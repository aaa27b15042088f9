"""Plan an instance and prove how good the plan is.

Prices first (the bound), then the assignment that they suggest, then moves; where the gap is still too wide, branch and
bound. All limits are counts and not seconds, so the same instance gives the same plan on every machine.
"""

import dataclasses
import enum

import numpy as np

from edgegen.core.errors import InputError
from edgegen.plan.certified.exact import Assignment, Tree, as_assignment, start_from
from edgegen.plan.certified.instance import LOCAL, REFUSED, Instance
from edgegen.plan.certified.prices import ascend, blank_work, first_prices
from edgegen.plan.certified.search import blank_placing, improve, total_cost
from edgegen.plan.certified.tables import LEAST_TIME_PRICE, Local, Tables, local_options, tables

HEATS = 0.03 * 0.3 ** np.arange(7)
WARM = 2  # given prices are good enough to leave out the first temperatures
TURNS = 25
GOAL = 1e-3
BRANCHES, FEW_USERS = 400, 12  # with more users the first gap is small and a branch is slow: none unless asked for
OPTIMAL_GAP = 1e-6
_ROUNDING = 1e-9  # relative: what sums and root searches may add to a bound


class Status(enum.StrEnum):
    """What is known about a plan."""

    OPTIMAL = "optimal"  # the gap is at most `OPTIMAL_GAP`
    FEASIBLE = "feasible"  # it keeps every limit; the gap says how far from the optimum it can be
    INFEASIBLE = "infeasible"  # proven: no plan serves everybody within the limits
    UNKNOWN = "unknown"  # no plan was found, and none was excluded


@dataclasses.dataclass(frozen=True)
class CertifiedPlan:
    """A plan with its proof. Arrays are [N]; without a plan, `node` is -1 everywhere and the objective is inf."""

    node: np.ndarray  # 0 the device, 1 to M a server, -1 refused
    model: np.ndarray  # as the instance numbers them
    steps: np.ndarray  # step counts
    clock_hz: np.ndarray  # clock of the device, or share of the server's clock
    uplink_hz: np.ndarray
    downlink_hz: np.ndarray
    objective: float
    bound: float  # no plan costs less
    status: Status
    branches: int  # branches opened beyond the first bound
    price: np.ndarray  # float[M, 3], cost of a hertz of clock, uplink and downlink; warm start for the next plan

    @property
    def gap(self) -> float:
        """How much cheaper another plan could at best be, relative to this one."""
        if not np.isfinite(self.objective):
            return np.inf
        return max(0.0, self.objective - self.bound) / max(abs(self.objective), 1e-12)


def plan(
    instance: Instance, *, goal: float = GOAL, branches: int | None = None, price: np.ndarray | None = None
) -> CertifiedPlan:
    """Return a plan and its certificate.

    goal: the relative gap at which to stop. branches: how many branches may be opened to get there (by default `BRANCHES`
    for up to `FEW_USERS` users, none for more). price: prices of an earlier plan for a similar instance.
    """
    if branches is None:
        branches = BRANCHES if instance.users <= FEW_USERS else 0
    local = local_options(instance)
    table = tables(instance, local)
    if instance.users == 0 or instance.servers == 0:
        return _without_servers(instance, local)
    start = None if price is None else _checked(price, instance)
    tree, best_price = solve(table, goal=goal, branches=branches, price=start)
    if tree is None:
        return nothing(instance, np.inf, best_price, 0)
    return _result(instance, local, tree, best_price)


def solve(
    table: Tables, *, goal: float, branches: int, price: np.ndarray | None = None
) -> tuple[Tree | None, np.ndarray]:
    """Return (the search tree with the best assignment and the bound, the best prices); None: proven infeasible."""
    users, servers, _ = table.pair.shape
    usable = np.ones((users, servers + 1), dtype=bool)
    hopeless = _hopeless(table)
    start, heats = (first_prices(table), HEATS) if price is None else (price, HEATS[WARM:])
    bound, best_price, _ = ascend(table, start, usable, blank_work(users, servers), heats, TURNS, hopeless)
    if bound >= hopeless:
        return None, best_price
    placing = blank_placing(users, servers)
    start_from(table, best_price, usable, usable, placing)
    improve(table, placing, usable, 50_000 + 20 * users)
    served = bool((placing.node >= 0).all())
    tree = Tree(table, usable, best_price, bound, as_assignment(placing, total_cost(placing)) if served else None)
    tree.run(branches=branches, goal=goal)
    return tree, best_price


def exact(instance: Instance, *, branches: int = 200_000) -> CertifiedPlan:
    """Return the optimal plan of a small instance, by branch and bound."""
    return plan(instance, goal=0.0, branches=branches)


def _checked(price: np.ndarray, instance: Instance) -> np.ndarray:
    price = np.array(price, dtype=float)
    if price.shape != (instance.servers, 3) or not (np.isfinite(price) & (price >= 0)).all():
        raise InputError(f"price must be float[{instance.servers}, 3], finite and >= 0", param="price")
    return np.maximum(price, 1e-30)


def _hopeless(table: Tables) -> float:
    """Return a cost that no plan within the limits reaches; a bound above it proves that there is none."""
    on_server = np.where(np.isfinite(table.base), table.base, 0.0).max(axis=(1, 2), initial=0.0) + table.limits
    alone = np.where(np.isfinite(table.alone), table.alone, 0.0)
    return float(np.maximum(on_server, alone).sum()) + 1.0


def _result(instance: Instance, local: Local, tree: Tree, price: np.ndarray) -> CertifiedPlan:
    if tree.best is None:
        return nothing(instance, tree.bound, price, tree.branches)
    return with_certificate(instance, local, tree.best, tree.bound, tree.branches, price)


def with_certificate(
    instance: Instance, local: Local, best: Assignment, bound: float, branches: int, price: np.ndarray
) -> CertifiedPlan:
    """Return the plan of an assignment with the bound that can be stated: lowered by what rounding may have added."""
    bound = min(bound, best.cost) - rounding(bound) - LEAST_TIME_PRICE * _time_in_scales(instance)
    done = best.cost - bound <= OPTIMAL_GAP * abs(best.cost)
    return CertifiedPlan(
        **columns(instance, local, best),
        objective=best.cost,
        bound=bound,
        status=Status.OPTIMAL if done else Status.FEASIBLE,
        branches=branches,
        price=price,
    )


def rounding(bound: float) -> float:
    """Return what sums and root searches may have added to a bound."""
    return _ROUNDING * max(1.0, abs(bound))


def _time_in_scales(instance: Instance) -> float:
    free = instance.weights[:, 1] < LEAST_TIME_PRICE
    limit = np.where(np.isfinite(instance.deadline_s), instance.deadline_s, 0.0)
    return float((limit / instance.time_scale_s)[free].sum())


def columns(instance: Instance, local: Local, best: Assignment) -> dict[str, np.ndarray]:
    """Return the per-user columns of a plan."""
    alone = best.node == LOCAL
    node = np.where(alone, local.node, best.node)
    step = np.where(alone, local.step, best.step)
    share = np.where(alone[:, None], 0.0, best.share)
    share[:, 0] = np.where(node == LOCAL, local.clock_hz, share[:, 0])
    return {
        "node": node,
        "model": np.where(node == REFUSED, 0, instance.model[step]),
        "steps": np.where(node == REFUSED, 0, instance.steps[step]),
        "clock_hz": share[:, 0],
        "uplink_hz": share[:, 1],
        "downlink_hz": share[:, 2],
    }


def _without_servers(instance: Instance, local: Local) -> CertifiedPlan:
    price = np.zeros((instance.servers, 3))
    if np.isinf(local.cost).any():
        return nothing(instance, np.inf, price, 0)
    zeros, cost = np.zeros(instance.users, dtype=np.int64), float(local.cost.sum())
    best = Assignment(cost, zeros, zeros, np.zeros((instance.users, 3)))
    return CertifiedPlan(
        **columns(instance, local, best), objective=cost, bound=cost, status=Status.OPTIMAL, branches=0, price=price
    )


def nothing(instance: Instance, bound: float, price: np.ndarray, branches: int) -> CertifiedPlan:
    """Return the answer for an instance without a plan."""
    zeros = np.zeros(instance.users)
    return CertifiedPlan(
        node=np.full(instance.users, REFUSED),
        model=np.zeros(instance.users, dtype=np.int64),
        steps=np.zeros(instance.users, dtype=np.int64),
        clock_hz=zeros,
        uplink_hz=zeros,
        downlink_hz=zeros,
        objective=np.inf,
        bound=bound,
        status=Status.INFEASIBLE if bound == np.inf else Status.UNKNOWN,
        branches=branches,
        price=price,
    )
