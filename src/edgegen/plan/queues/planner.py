"""A plan for machines with queues: search within limits of effort and time, then a lower bound."""

import dataclasses
import time

import numpy as np

from edgegen.core.decision import HOLD, REJECT, Certificate, Decision
from edgegen.core.state import LOCAL, State
from edgegen.physics.options import Options
from edgegen.plan.queues.bound import first_prices, raise_bound
from edgegen.plan.queues.problem import UNSERVED, Problem, Queues, queues
from edgegen.plan.queues.search import Placing, blank_placing, improve, insert_all, start_at, total_cost

_CHUNK = 400  # values between two looks at the clock, about a fifth of a millisecond
_ROUNDS_AT_ONCE = 4
_ROUNDING = 1e-9  # relative: what sums may add to a bound


@dataclasses.dataclass(frozen=True)
class Limits:
    """How long a plan may take. Counts come first, so that a plan that is not cut is the same on every machine."""

    effort: int  # values of places computed
    rounds: int  # steps spent on the bound
    until_s: float = np.inf  # moment of `time.perf_counter` after which the best plan so far is used
    goal: float = 1e-3  # the gap at which the bound is good enough
    cut: bool = False  # True: the counts are where an earlier plan was cut


def plan_queues(state: State, table: Options, limits: Limits, *, last: np.ndarray | None = None) -> Decision:
    """Return a decision with its certificate.

    last: int[T], where an earlier plan wanted each task (a node row), -1 for nowhere.
    """
    found = queues(state, table)
    placing, cut = _search(found, limits, last)
    certificate = _certify(found.problem, placing, limits, cut=cut)
    return _decision(state, table, found, placing).replace(certificate=certificate)


def _search(found: Queues, limits: Limits, last: np.ndarray | None) -> tuple[Placing, bool]:
    """Return the best placing found, and whether the time was over before the search ended."""
    problem = found.problem
    placing = blank_placing(*problem.options.shape)
    if last is not None:
        start_at(problem, placing, _places(found, last))
    insert_all(problem, placing)
    while placing.spent[0] < limits.effort:
        if time.perf_counter() >= limits.until_s:
            return placing, True
        if improve(problem, placing, min(placing.spent[0] + _CHUNK, limits.effort)):
            break
    return placing, limits.cut


def _places(found: Queues, last: np.ndarray) -> np.ndarray:
    """Return the place of each task for the node row that an earlier plan wanted."""
    wanted = last[found.tasks]
    own = (found.problem.options > 0) & (found.devices >= 0)[None, :]
    local = np.where(own.any(axis=1), own.argmax(axis=1), UNSERVED)
    on_node = int((found.devices >= 0).sum()) + wanted - 1
    return np.where(wanted == LOCAL, local, np.where(wanted > 0, on_node, UNSERVED)).astype(np.int64)


def _certify(problem: Problem, placing: Placing, limits: Limits, *, cut: bool) -> Certificate:
    """Return what is known about a placing; the time is over for the bound, too, when it is over for the search."""
    objective, effort = float(total_cost(problem, placing)), int(placing.spent[0])
    edges, price, cells = first_prices(problem, placing)
    bound, rounds = -np.inf, 0
    while rounds < limits.rounds and objective - bound > limits.goal * abs(objective):
        over = time.perf_counter() >= limits.until_s
        if over and rounds > 0:
            cut = True
            break
        more = min(1 if over else _ROUNDS_AT_ONCE, limits.rounds - rounds)
        found, used = raise_bound(problem, edges, price, cells, objective, more, limits.goal)
        bound, rounds = max(bound, float(found)), rounds + used
    bound = min(bound - _ROUNDING * max(1.0, abs(bound)), objective)
    return Certificate(objective, bound, effort, rounds, cut=cut)


def _decision(state: State, table: Options, found: Queues, placing: Placing) -> Decision:
    """Return a placing as a Decision; who is served nowhere is rejected if nothing could serve it even alone."""
    hold = Decision.hold(state)
    alone = table.feasible.any(axis=(1, 2, 3))
    node, model, steps = (np.array(column) for column in (hold.node, hold.model, hold.steps))
    shares, clock, power = (np.zeros(state.task_count) for _ in range(3))
    node[:] = np.where(state.tasks.live & ~alone, REJECT, HOLD)
    at = np.flatnonzero(placing.place >= 0)
    rows, place = found.tasks[at], placing.place[at]
    option = found.problem.choice[at, place, placing.pick[at]]
    model[rows], step = np.divmod(option, state.steps.shape[0])
    node[rows], steps[rows] = found.nodes[place], state.steps[step]
    shares[rows], power[rows] = 1.0, state.tasks.transmit_power_w[rows]
    clock[rows] = np.where(node[rows] == LOCAL, table.clock[rows, node[rows], model[rows], step], 1.0)
    return hold.replace(
        node=node,
        model=model,
        steps=steps,
        uplink_share=shares,
        downlink_share=shares,
        compute_share=clock,
        power_w=power,
    )
