"""The only waiting task: it shares nothing with anybody, so the cheapest option of the table is the best plan."""

import numpy as np

from edgegen.core.decision import HOLD, REJECT, Certificate, Decision
from edgegen.core.state import ENERGY, LOCAL, QUALITY, TIME, State
from edgegen.physics.objective import REFUSAL
from edgegen.physics.options import Options


def plan_single(state: State, table: Options, task: int) -> Decision:
    """Return the best decision when `task` is the only live one; its certificate has no gap."""
    weights = state.tasks.weights[task].tolist()
    refusal = REFUSAL * (weights[QUALITY] + weights[TIME] + weights[ENERGY])
    cost = np.where(table.feasible[task], table.cost[task], np.inf)
    node, model, step = best = np.unravel_index(int(cost.argmin()), cost.shape)
    least = float(cost[best])
    whole, shares = np.zeros((4, state.task_count), dtype=np.int32), np.zeros((4, state.task_count))
    whole[0], whole[3] = HOLD, 1
    if least < refusal:
        clock = table.clock[task][best] if node == LOCAL else 1.0
        whole[:3, task] = node, model, state.steps[step]
        shares[:, task] = 1.0, 1.0, clock, state.tasks.transmit_power_w[task]
    elif least == np.inf:
        whole[0, task] = REJECT
    objective = min(least, refusal)
    return Decision(
        node=whole[0],
        model=whole[1],
        steps=whole[2],
        trials=whole[3],
        uplink_share=shares[0],
        downlink_share=shares[1],
        compute_share=shares[2],
        power_w=shares[3],
        resident=state.nodes.resident,
        certificate=Certificate(objective, objective, 1, 0, cut=False),
    )
