"""What each task could take on each node: only the options that no other beats in both time and cost."""

import bisect
import dataclasses

import numpy as np

from edgegen.core.arrays import padding_is_silent
from edgegen.core.state import ENERGY, LOCAL, MONEY, QUALITY, TIME, State
from edgegen.physics.objective import REFUSAL, scales
from edgegen.physics.options import Options


@dataclasses.dataclass(frozen=True)
class Menu:
    """Undominated options of one task on one node, by rising duration and falling cost. Arrays are [K]."""

    busy_s: np.ndarray  # how long the node is occupied (loading and generating at the option's clock)
    cost: np.ndarray  # weighted error, energy of generation and money: all but the price of time and of the radio
    work_s: np.ndarray  # generation at full speed
    model: np.ndarray  # model row
    step: np.ndarray  # column of `State.steps`
    clock: np.ndarray  # compute share (LOCAL)
    busy_list: list[float]  # `busy_s` and `cost` again: a few of a list are read faster than a few of an array
    cost_list: list[float]
    corners: list[
        int
    ]  # the options that are best at some price of a second: the lower convex hull of cost over duration
    prices: list[float]  # falling prices at which the next corner takes over

    def best_at(self, price: float) -> int:
        """Return the option with the least cost + price x duration, for a price >= 0 of a second."""
        return self.corners[bisect.bisect_left(self.prices, -price)]


def _hull(busy_s: list[float], cost: list[float]) -> tuple[list[int], list[float]]:
    """Return the corners of the lower hull from short to long, and minus the price between neighbours (rising)."""
    corners: list[int] = []
    prices: list[float] = []
    for k in range(len(cost)):
        while corners:
            saved = (cost[corners[-1]] - cost[k]) / max(busy_s[k] - busy_s[corners[-1]], 1e-300)
            if not prices or -prices[-1] > saved:
                prices.append(-saved)
                break
            corners.pop()
            prices.pop()
        corners.append(k)
    return corners, prices


@dataclasses.dataclass(frozen=True)
class Prices:
    """Per-task constants of the objective, each float[T]."""

    time: np.ndarray  # cost of a second
    radio: np.ndarray  # cost of a second of sending
    refusal: np.ndarray  # cost of not being served
    left_s: np.ndarray  # time left to the deadline
    send_limit_s: np.ndarray  # how long the energy budget lets the device send


class Menus:
    """The menus of all tasks and nodes of one State, cut out on demand."""

    @padding_is_silent
    def __init__(self, state: State, table: Options):
        self.state, self.table = state, table
        self.prices = _prices(state)
        count, nodes = state.task_count, state.node_count
        busy = table.load_s[None, :, :, None] + table.work_s / table.clock
        cost = cost_without_time(state, table)
        affordable = table.affordable.reshape(count, nodes, -1)
        self._busy = np.where(affordable, busy.reshape(count, nodes, -1), np.inf)
        self._cost = np.where(affordable, cost.reshape(count, nodes, -1), np.inf)
        self._order = np.lexsort((self._cost, self._busy), axis=-1)
        sorted_cost = np.take_along_axis(self._cost, self._order, axis=-1)
        best_before = np.minimum.accumulate(sorted_cost, axis=-1)
        self._kept = sorted_cost < np.inf
        self._kept[..., 1:] &= sorted_cost[..., 1:] < best_before[..., :-1] - 1e-12
        self._cut: dict[tuple[int, int], Menu | None] = {}

    def of(self, task: int, node: int) -> Menu | None:
        """Return the menu of a task on a node, or None when nothing there is affordable."""
        key = (task, node)
        if key not in self._cut:
            self._cut[key] = self._make(task, node)
        return self._cut[key]

    def _make(self, task: int, node: int) -> Menu | None:
        flat = self._order[task, node][self._kept[task, node]]
        if flat.size == 0:
            return None
        model, step = np.divmod(flat, self.state.steps.shape[0])
        busy_s, cost = self._busy[task, node, flat], self._cost[task, node, flat]
        busy_list, cost_list = busy_s.tolist(), cost.tolist()
        corners, prices = _hull(busy_list, cost_list)
        return Menu(
            busy_s=busy_s,
            cost=cost,
            busy_list=busy_list,
            cost_list=cost_list,
            corners=corners,
            prices=prices,
            work_s=self.table.work_s[task, node, model, step],
            model=model,
            step=step,
            clock=self.table.clock[task, node, model, step],
        )


def _prices(state: State) -> Prices:
    tasks, weights = state.tasks, state.tasks.weights
    time_scale, energy_scale, _ = scales(state)
    energy_price = weights[:, ENERGY] / energy_scale
    power = np.maximum(tasks.transmit_power_w, 1e-12)
    return Prices(
        time=weights[:, TIME] / time_scale,
        radio=energy_price * tasks.transmit_power_w,
        refusal=REFUSAL * (weights[:, QUALITY] + weights[:, TIME] + weights[:, ENERGY]),
        left_s=tasks.deadline_s * (1 + 1e-7) - tasks.age_s,
        send_limit_s=np.where(tasks.transmit_power_w > 0, tasks.energy_budget_j / power, np.inf),
    )


def cost_without_time(state: State, table: Options) -> np.ndarray:
    """Return the weighted error, energy of generation and money of every option, float[T, N, M, S]."""
    _, energy_scale, money_scale = scales(state)
    weights = state.tasks.weights
    local = (np.arange(state.node_count) == LOCAL)[None, :, None, None]

    def per_task(column, scale):
        return (weights[:, column] / scale)[:, None, None, None]

    error = weights[:, QUALITY, None, None, None] * (1 - table.quality[:, None])
    generation_j = np.where(local, table.device_energy_j, 0.0)
    return error + per_task(ENERGY, energy_scale) * generation_j + per_task(MONEY, money_scale) * table.money_usd
