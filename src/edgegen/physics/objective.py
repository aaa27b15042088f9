"""Reward is data: weights times ledger."""

import numpy as np

from edgegen.core.arrays import Array, namespace, padding_is_silent
from edgegen.core.ledger import Ledger
from edgegen.core.state import ENERGY, MONEY, QUALITY, TIME, State

REFUSAL = 1.5  # a task that is not served costs this much times its weights of quality, time and energy
NO_DEADLINE_S = 10.0  # what time is divided by when a task has no deadline
NO_BUDGET_J = 10.0  # what energy is divided by when a task has no energy budget
NO_BUDGET_USD = 0.01  # what money is divided by when a task has no money budget


def scales(state: State) -> tuple[Array, Array, Array]:
    """Return what time [s], energy [J] and money [USD] are divided by, each float[T]: the task's own limits."""
    xp = namespace(state.tasks.live)
    tasks = state.tasks

    def finite(limit, default):
        return xp.where((limit < np.inf) & (limit > 0), limit, default)

    return (
        finite(tasks.deadline_s, NO_DEADLINE_S),
        finite(tasks.energy_budget_j, NO_BUDGET_J),
        finite(tasks.money_budget_usd, NO_BUDGET_USD),
    )


@padding_is_silent
def task_costs(state: State, ledger: Ledger, served: Array) -> Array:
    """Return the weighted cost float[T]: average error, time, device energy and money against the task's limits.

    The form of the objective follows Wang, Liu and Zhao (arXiv:2312.06203) as reconstructed: w_q (1 - quality) + w_t
    T/Tmax + w_e E/Emax, with money added. A live task that is not served costs `REFUSAL` times its weights.
    """
    xp = namespace(state.tasks.live, served)
    weights = state.tasks.weights
    time_scale, energy_scale, money_scale = scales(state)
    cost = (
        weights[:, QUALITY] * (1 - ledger.quality)
        + weights[:, TIME] * ledger.total_s / time_scale
        + weights[:, ENERGY] * ledger.device_energy_j / energy_scale
        + weights[:, MONEY] * ledger.money_usd / money_scale
    )
    refused = REFUSAL * (weights[:, QUALITY] + weights[:, TIME] + weights[:, ENERGY])
    return xp.where(state.tasks.live, xp.where(served, cost, refused), 0.0)
