"""The alternating method of the literature, reconstructed: resources for a fixed assignment, then a new assignment.

After the structure of arXiv:2409.20247 (continuous block, then a penalised binary block linearised by the convex-concave
procedure), with diffusion steps in the place of layers. Deviations: steps and shares are solved together by the
planner's own set solver instead of by a product transform and rounding; nodes are compared at the prices of their
capacities, because resources are undefined for a user that is elsewhere; the penalty doubles instead of having a bound.
"""

import numpy as np

from edgegen.plan.certified.baselines import fixed_assignment, nearest_nodes
from edgegen.plan.certified.instance import LOCAL, Instance
from edgegen.plan.certified.planner import CertifiedPlan
from edgegen.plan.certified.prices import blank_work, evaluate, first_prices
from edgegen.plan.certified.sets import solve_set
from edgegen.plan.certified.tables import Tables, local_options, tables

ROUNDS = 50
SETTLED = 1e-4
FIRST_PENALTY = 1e-3
_TRIES = 4


def alternating(instance: Instance, rng: np.random.Generator, *, starts: int = 3) -> CertifiedPlan:
    """Return the best plan of several starts: one from the devices, the others random. It carries no bound."""
    table = tables(instance, local_options(instance))
    local = np.isfinite(table.alone)
    nodes = [np.where(local, LOCAL, nearest_nodes(instance))]
    nodes += [rng.integers(0, instance.servers + 1, instance.users) for _ in range(starts - 1)]
    found = [_descend(table, node) for node in nodes]
    return fixed_assignment(instance, min(found, key=lambda pair: pair[0])[1])


def _descend(table: Tables, node: np.ndarray) -> tuple[float, np.ndarray]:
    """Alternate from one assignment; return the best cost and assignment seen."""
    price, work = first_prices(table), blank_work(node.size, table.capacity.shape[0])
    usable = np.ones((node.size, table.capacity.shape[0] + 1), dtype=bool)
    best, best_node, last, penalty = np.inf, node, np.inf, FIRST_PENALTY
    for _ in range(ROUNDS):
        cost = _resources(table, node, price)
        if cost < best:
            best, best_node = cost, node
        if abs(last - cost) < SETTLED:
            break
        last = cost
        evaluate(table, np.maximum(price, 1e-30), usable, work)
        chosen = np.zeros_like(work.cost)
        chosen[np.arange(node.size), node] = 1.0
        node = (work.cost + penalty * (1 - 2 * chosen)).argmin(axis=1)
        penalty *= 2
    return best, best_node


def _resources(table: Tables, node: np.ndarray, price: np.ndarray) -> float:
    """Solve every server for an assignment; set its prices (zero where nobody is) and return the cost."""
    cost = float(table.alone[node == LOCAL].sum())
    for m in range(price.shape[0]):
        members = np.flatnonzero(node == m + 1)
        steps, shares, mine = np.full(members.size, -1), np.zeros((members.size, 3)), price[m].copy()
        cost += solve_set(table, m, members, steps, mine, shares, _TRIES)[0]
        price[m] = np.clip(mine, 1e-30, 1.0) if members.size else 1e-30
    return cost
