"""A State whose nodes work on one task at a time, as the compiled loops want it.

A place is a node, or one device (each task's own LOCAL). Tasks are numbered in the order in which every place takes
them: the earlier deadline first, then the older. Sizes: T tasks, P places, K options of a task on a place.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
from numba import njit

from edgegen.core.arrays import padding_is_silent
from edgegen.core.state import ENERGY, LOCAL, QUALITY, TIME, State
from edgegen.physics.objective import REFUSAL, scales
from edgegen.physics.options import Options, air_s
from edgegen.plan.menu import cost_without_time

UNSERVED = -1  # the place of a task that waits
NEVER = 1e6  # cost of giving up a started task


class Problem(NamedTuple):
    """What the kernels read."""

    wait_s: np.ndarray  # float[P], until the place is free
    link_s: np.ndarray  # float[P], until its downlink is free
    up_s: np.ndarray  # float[T, P]
    down_s: np.ndarray  # float[T, P], from the downlink's turn to the device
    air_s: np.ndarray  # float[T, P], how long the downlink is taken
    base: np.ndarray  # float[T, P], cost of the radio
    left_s: np.ndarray  # float[T], until the deadline
    price: np.ndarray  # float[T], cost of a second
    refusal: np.ndarray  # float[T], cost of not being served
    options: np.ndarray  # int[T, P], how many; 0 where the task cannot go
    busy_s: np.ndarray  # float[T, P, K], rising: how long an option occupies the place
    cost: np.ndarray  # float[T, P, K], falling: weighted error, energy of generation and money
    choice: np.ndarray  # int[T, P, K], position of the option among model x steps


@dataclasses.dataclass(frozen=True)
class Queues:
    """A problem and which rows of the State it is about."""

    problem: Problem
    tasks: np.ndarray  # int[T], rows of the State
    nodes: np.ndarray  # int[P], node rows; LOCAL for devices
    devices: np.ndarray  # int[P], the device of a place, -1 for nodes


@padding_is_silent
def queues(state: State, table: Options) -> Queues:
    """Return the problem of the live tasks of a NumPy State."""
    tasks = state.tasks
    left_s = tasks.deadline_s * (1 + 1e-7) - tasks.age_s
    rows = np.flatnonzero(tasks.live)
    urgency = np.where(left_s < np.inf, left_s, 1e9 - tasks.age_s)
    urgency = np.where(tasks.done_steps >= 0, -np.inf, urgency)[rows]
    rows = rows[np.argsort(urgency, kind="stable")]
    origins = np.unique(tasks.origin[rows])
    nodes = np.concatenate([np.full(origins.size, LOCAL), np.arange(1, state.node_count)])
    devices = np.concatenate([origins, np.full(state.node_count - 1, -1)])
    mine = (devices[None, :] == tasks.origin[rows][:, None]) | (devices < 0)[None, :]
    time_scale, energy_scale, _ = (scale[rows] for scale in scales(state))
    weights = tasks.weights[rows]
    menus = _menus(state, table, rows)
    count = np.where(mine, menus[0][:, nodes], 0)
    joule = weights[:, ENERGY] / energy_scale
    wait_s = np.where(devices < 0, table.wait_s[rows[0]][nodes] if rows.size else 0.0, 0.0)
    for place, device in enumerate(origins):
        wait_s[place] = tasks.local_backlog_s[rows][tasks.origin[rows] == device][0]
    problem = Problem(
        wait_s=wait_s,
        link_s=table.link_s[nodes],
        up_s=table.upload_s[rows][:, nodes],
        down_s=table.download_s[rows][:, nodes],
        air_s=air_s(state, table)[rows][:, nodes],
        base=(joule * tasks.transmit_power_w[rows])[:, None] * table.upload_s[rows][:, nodes],
        left_s=left_s[rows],
        price=weights[:, TIME] / time_scale,
        refusal=REFUSAL * (weights[:, QUALITY] + weights[:, TIME] + weights[:, ENERGY]),
        options=count,
        busy_s=menus[1][:, nodes],
        cost=menus[2][:, nodes],
        choice=menus[3][:, nodes],
    )
    if (tasks.done_steps[rows] >= 0).any():
        problem = _with_started(problem, tasks.done_steps[rows] >= 0)
    kinds = {"options": np.int64, "choice": np.int64}
    arrays = (np.array(a, dtype=kinds.get(name, np.float64), order="C") for name, a in problem._asdict().items())
    return Queues(Problem(*arrays), rows, nodes, devices)


def _with_started(problem: Problem, started: np.ndarray) -> Problem:
    """Return the problem in which started tasks are never given up: a deadline that nothing can save does not count."""
    free_s, link_s, left_s = problem.wait_s.copy(), problem.link_s.copy(), problem.left_s.copy()
    for t in np.flatnonzero(started & (problem.options > 0).any(axis=1)):
        p = int(problem.options[t].argmax())
        free_s[p] += problem.busy_s[t, p, 0]
        sent_s = max(free_s[p], problem.up_s[t, p] + problem.busy_s[t, p, 0], link_s[p])
        link_s[p] = sent_s + problem.air_s[t, p]
        if sent_s + problem.down_s[t, p] > left_s[t]:
            left_s[t] = np.inf
    refusal = np.where(started & (problem.options > 0).any(axis=1), NEVER, problem.refusal)
    return problem._replace(left_s=left_s, refusal=refusal)


def _menus(state: State, table: Options, rows: np.ndarray):
    """Return counts and options [T, N, K] of every task on every node."""
    busy = table.load_s[None, :, :, None] + table.work_s[rows] / table.clock[rows]
    flat = (rows.size, state.node_count, -1)
    affordable = table.affordable[rows].reshape(flat)
    return _undominated(
        np.ascontiguousarray(affordable),
        np.ascontiguousarray(busy, dtype=np.float64).reshape(flat),
        np.ascontiguousarray(cost_without_time(state, table)[rows], dtype=np.float64).reshape(flat),
    )


@njit(cache=True)
def _undominated(affordable, busy, cost):
    """Return (count, busy, cost, position) of the options that no other beats in both, by rising busy time."""
    tasks, nodes, size = busy.shape
    count = np.zeros((tasks, nodes), dtype=np.int64)
    out_busy, out_cost = np.zeros((tasks, nodes, size)), np.zeros((tasks, nodes, size))
    position = np.zeros((tasks, nodes, size), dtype=np.int64)
    for t in range(tasks):
        for n in range(nodes):
            order = np.argsort(busy[t, n], kind="mergesort")
            k = 0
            for j in order:
                if not affordable[t, n, j]:
                    continue
                if k > 0 and cost[t, n, j] >= out_cost[t, n, k - 1] - 1e-12:
                    continue
                if k > 0 and busy[t, n, j] <= out_busy[t, n, k - 1]:
                    k -= 1  # as short and cheaper
                out_busy[t, n, k], out_cost[t, n, k], position[t, n, k] = busy[t, n, j], cost[t, n, j], j
                k += 1
            count[t, n] = k
    return count, out_busy, out_cost, position
