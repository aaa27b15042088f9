"""The exact value of a server for a fixed set: every choice of steps that could still win is tried (compiled).

At fixed prices the cost of a choice is at least the sum of its users' costs, so a choice whose sum is above the best
known value is never solved. Prices that maximise that bound leave few choices.
"""

import numpy as np
from numba import njit

from edgegen.plan.certified.prices import ascend, blank_work
from edgegen.plan.certified.response import INFINITE, respond
from edgegen.plan.certified.sets import fixed_steps, solve_set
from edgegen.plan.certified.tables import Tables, contiguous

HEATS = np.array([1e-2, 1e-3, 1e-4, 1e-5])
MOST_CHOICES = 20_000
_SURE = 1e-9


@njit(cache=True, nogil=True)
def _table(tables, m, members, price):
    """Return the cost of every user at every step count, float[K, S]."""
    out = np.full((members.shape[0], tables.base.shape[2]), INFINITE)
    for i in range(members.shape[0]):
        n = members[i]
        for s in range(out.shape[1]):
            if tables.base[n, m, s] < INFINITE:
                row, most = tables.pair[n, m], tables.capacity[m]
                out[i, s] = respond(row, tables.cycles[n, m, s], tables.base[n, m, s], price, most, 0.0)[0]
    return out


@njit(cache=True, nogil=True)
def _enumerate(tables, m, members, table, paid, price, best, steps, shares, most):
    """Try all choices of steps below `best`; return (best value, smallest bound left, choices solved)."""
    count, size = table.shape
    order = np.empty((count, size), dtype=np.int64)
    rest = np.zeros(count + 1)
    for i in range(count):
        order[i] = np.argsort(table[i])
    for i in range(count - 1, -1, -1):
        rest[i] = rest[i + 1] + table[i, order[i, 0]]
    at, cost = np.full(count, -1, dtype=np.int64), np.zeros(count + 1)
    cost[0] = -paid
    trial, trial_shares = np.zeros(count, dtype=np.int64), np.zeros((count, 3))
    solved, i = 0, 0
    while i >= 0:
        at[i] += 1
        if at[i] >= size or cost[i] + table[i, order[i, at[i]]] + rest[i + 1] >= best - _SURE:
            at[i] = -1
            i -= 1
            continue
        trial[i] = order[i, at[i]]
        cost[i + 1] = cost[i] + table[i, trial[i]]
        if i + 1 < count:
            i += 1
            continue
        if solved >= most:
            return best, rest[0] - paid, solved
        solved += 1
        start = price.copy()
        value = fixed_steps(tables, m, members, trial, start, trial_shares)
        if value < best:
            best = value
            steps[:], shares[:] = trial, trial_shares
    return best, best - _SURE, solved


def exact_set(tables: Tables, m: int, members: np.ndarray) -> tuple[float, float, np.ndarray, np.ndarray]:
    """Return (cost, lower bound, steps, shares) of a set on server m; the two agree unless the effort was spent."""
    count = members.size
    steps, shares = np.full(count, -1), np.zeros((count, 3))
    if count == 0:
        return 0.0, 0.0, steps, shares
    rows = contiguous(
        tables.pair[members][:, [m]],
        tables.base[members][:, [m]],
        tables.cycles[members][:, [m]],
        tables.root[members][:, [m]],
        np.full(count, np.inf),
        tables.limits[members],
        tables.capacity[[m]],
    )
    worst = float((np.where(np.isfinite(rows.base), rows.base, -1).max(axis=(1, 2)) + rows.limits).sum()) + 1e-6
    price = np.array([0.1 * count / tables.capacity[m]])
    usable = np.tile([False, True], (count, 1))
    bound, best_price, _ = ascend(rows, price, usable, blank_work(count, 1), HEATS, 20, worst)
    if bound > worst:
        return np.inf, np.inf, steps, shares
    price = best_price[0].copy()
    value, lower = solve_set(tables, m, members, steps, price, shares, 50)
    lower = max(lower, bound)
    if value - lower <= _SURE:
        return value, value, steps, shares
    table = _table(tables, m, members, best_price[0])
    paid = float(best_price[0] @ tables.capacity[m])
    start = min(value, worst)
    value, lower, _ = _enumerate(tables, m, members, table, paid, best_price[0], start, steps, shares, MOST_CHOICES)
    if value >= worst:  # nothing was found below what any plan within the limits may cost
        return np.inf, (np.inf if lower >= worst - 2 * _SURE else lower), steps, shares
    return value, lower, steps, shares
