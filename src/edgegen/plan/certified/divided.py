"""A State whose nodes divide their compute and their bands, planned with a certificate.

Every node counts as a server whose three capacities are 1; a task's options are the models and step counts that it can
afford. Devices serve themselves: they must not have two tasks each.
"""

import numpy as np

from edgegen.core.arrays import padding_is_silent
from edgegen.core.decision import HOLD, REJECT, Certificate, Decision
from edgegen.core.state import ENERGY, LOCAL, QUALITY, TIME, State
from edgegen.physics.objective import REFUSAL, scales
from edgegen.physics.options import Options
from edgegen.plan.certified.exact import Assignment
from edgegen.plan.certified.planner import BRANCHES, FEW_USERS, rounding, solve
from edgegen.plan.certified.tables import LEAST_SNR_HZ, LEAST_TIME_PRICE, UNLIMITED, Tables, contiguous, least_band
from edgegen.plan.menu import cost_without_time

GOAL = 1e-3


def is_divided(state: State, table: Options) -> bool:
    """Return whether `plan_divided` plans this kind of State: no queues, no backlogs, all models in memory."""
    away = state.nodes.live.copy()
    away[LOCAL] = False
    loads = (table.possible.any(axis=(0, 3)) & (table.load_s > 0))[away]
    waits = (table.wait_s[state.tasks.live] > 0)[:, away]
    origins = state.tasks.origin[state.tasks.live]
    alone = np.unique(origins).size == origins.size
    return bool(away.any() and state.nodes.shared[away].all() and not (loads.any() or waits.any()) and alone)


def plan_divided(state: State, table: Options) -> Decision:
    """Return a decision with its certificate for a NumPy State that `is_divided`."""
    rows, nodes = np.flatnonzero(state.tasks.live), np.flatnonzero(state.nodes.live)[1:]
    local_cost, refusal = _alone(state, table, rows)
    found = _tables(state, table, rows, nodes, np.minimum(local_cost, refusal))
    tree, _ = solve(found, goal=GOAL, branches=BRANCHES if rows.size <= FEW_USERS else 0)
    assert tree is not None  # everybody may be refused, so there is a plan
    assert tree.best is not None
    objective = tree.best.cost
    bound = min(tree.bound, objective) - rounding(tree.bound)
    decision = _decision(state, table, rows, nodes, tree.best, local_cost <= refusal)
    return decision.replace(certificate=Certificate(objective, bound, rows.size, tree.branches, cut=False))


@padding_is_silent
def _alone(state: State, table: Options, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the least cost of each task on its own device, inf if there is none, and of not being served."""
    weights = state.tasks.weights[rows]
    local = np.where(table.feasible[rows, LOCAL], table.cost[rows, LOCAL], np.inf).min(axis=(1, 2))
    return local, REFUSAL * (weights[:, QUALITY] + weights[:, TIME] + weights[:, ENERGY])


@padding_is_silent
def _tables(state: State, table: Options, rows: np.ndarray, nodes: np.ndarray, alone: np.ndarray) -> Tables:
    """Return the tables of the certified planner; options run over models x steps."""
    tasks, links = state.tasks, state.links
    time_scale, energy_scale, _ = (scale[rows] for scale in scales(state))
    pick = np.ix_(rows, nodes)
    second = np.maximum(tasks.weights[rows, TIME] / time_scale, LEAST_TIME_PRICE)
    radio = tasks.weights[rows, ENERGY] / energy_scale * tasks.transmit_power_w[rows]
    fixed_s = links.rtt_s[pick]
    pair = np.empty((rows.size, nodes.size, 8))
    pair[..., 0], pair[..., 1] = second[:, None], radio[:, None]
    for k, bits, bps, snr in (
        (2, tasks.input_bits, links.uplink_bps, links.uplink_snr),
        (3, tasks.output_bits, links.downlink_bps, links.downlink_snr),
    ):
        pair[..., k] = bits[rows, None] / bps[pick] * np.where(snr[pick] < np.inf, np.log1p(snr[pick]), 1.0)
        pair[..., k + 2] = np.maximum(snr[pick], LEAST_SNR_HZ)
    power_w, budget_j = tasks.transmit_power_w[rows], tasks.energy_budget_j[rows]
    half_rtt_j = power_w[:, None] * links.rtt_s[pick] / 2
    send_s = np.where(power_w[:, None] > 0, (budget_j[:, None] - half_rtt_j) / power_w[:, None], np.inf)
    pair[..., 6] = least_band(pair[..., 2], pair[..., 4], send_s, 1.0)
    pair[..., 7] = (tasks.deadline_s * (1 + 1e-7) - tasks.age_s)[rows, None] - fixed_s
    shape = (rows.size, nodes.size, -1)
    work_s = table.work_s[pick].reshape(shape)
    base = cost_without_time(state, table)[pick].reshape(shape)
    base = base + (second[:, None] * fixed_s + radio[:, None] * links.rtt_s[pick] / 2)[..., None]
    base = np.where(table.feasible[pick].reshape(shape) & (pair[..., 6] <= 1.0)[..., None], base, np.inf)
    return contiguous(pair, base, work_s, np.sqrt(work_s), alone, _limits(state, rows), np.ones((nodes.size, 3)))


def _limits(state: State, rows: np.ndarray) -> np.ndarray:
    """Return what time and energy cost a task that uses all it may."""
    tasks, (time_scale, energy_scale, _) = state.tasks, scales(state)
    limits = np.maximum(tasks.weights[:, TIME], LEAST_TIME_PRICE) * tasks.deadline_s / time_scale
    limits = limits + tasks.weights[:, ENERGY] * tasks.energy_budget_j / energy_scale
    return np.where(np.isfinite(limits), limits, UNLIMITED)[rows]


def _decision(
    state: State, table: Options, rows: np.ndarray, nodes: np.ndarray, best: Assignment, at_home: np.ndarray
) -> Decision:
    """Return an assignment as a Decision."""
    hold = Decision.hold(state)
    columns = {
        name: np.array(getattr(hold, name))
        for name in ("node", "model", "steps", "uplink_share", "downlink_share", "compute_share", "power_w")
    }
    columns["node"][:] = np.where(state.tasks.live & ~table.feasible.any(axis=(1, 2, 3)), REJECT, HOLD)
    for at, row in enumerate(rows):
        if best.node[at] == 0 and not at_home[at]:
            continue
        if best.node[at] == 0:
            cost = np.where(table.feasible[row, LOCAL], table.cost[row, LOCAL], np.inf)
            node, option = LOCAL, int(cost.argmin())
            shares = (float(table.clock[row, LOCAL].flat[option]), 1.0, 1.0)
        else:
            node, option, shares = int(nodes[best.node[at] - 1]), int(best.step[at]), best.share[at]
        model, step = divmod(option, state.steps.shape[0])
        columns["node"][row], columns["model"][row], columns["steps"][row] = node, model, state.steps[step]
        columns["compute_share"][row], columns["uplink_share"][row], columns["downlink_share"][row] = shares
        columns["power_w"][row] = state.tasks.transmit_power_w[row]
    return hold.replace(**columns)
