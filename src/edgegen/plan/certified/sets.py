"""The value of one server for a fixed set of users: shares by Newton's method, steps by the same prices (compiled).

For fixed steps the problem is convex; its dual in the three prices is smooth, and at the optimum the responses of the
users fill the three capacities. The steps start as the responses' own; a change is tried only where the prices say
that it could pay, which is a proof for the rest: the cost at any prices is a lower bound for every choice of steps.
"""

import math

import numpy as np
from numba import njit

from edgegen.plan.certified.prices import cheapest
from edgegen.plan.certified.response import INFINITE, respond, transfer_s

FILLED = 1e-10  # relative error of the capacities at which Newton's method stops
NEARLY_FILLED = 1e-9  # the error that is accepted when it cannot get there


@njit(cache=True)
def _solve3(a, b):
    """Solve the 3 x 3 system a x = b, pivots held away from zero; a and b are overwritten."""
    for k in range(3):
        pivot = k
        for i in range(k + 1, 3):
            if abs(a[i, k]) > abs(a[pivot, k]):
                pivot = i
        if pivot != k:
            for j in range(3):
                a[k, j], a[pivot, j] = a[pivot, j], a[k, j]
            b[k], b[pivot] = b[pivot], b[k]
        if abs(a[k, k]) < 1e-9:
            a[k, k] = -1e-9
        for i in range(k + 1, 3):
            ratio = a[i, k] / a[k, k]
            for j in range(k, 3):
                a[i, j] -= ratio * a[k, j]
            b[i] -= ratio * b[k]
    for k in range(2, -1, -1):
        for j in range(k + 1, 3):
            b[k] -= a[k, j] * b[j]
        b[k] /= a[k, k]


@njit(cache=True)
def _answers(tables, m, members, steps, price, shares, starts, off, matrix):
    """Fill shares, the logarithmic misfit of the capacities and its Jacobian; return the dual value."""
    dual, free = 0.0, np.full(3, INFINITE)
    used = np.zeros(3)
    matrix[:] = 0.0
    for i in range(members.shape[0]):
        n, s = members[i], steps[i]
        found = respond(tables.pair[n, m], tables.cycles[n, m, s], tables.base[n, m, s], price, free, starts[i])
        dual += found[0]
        starts[i] = found[1]
        for k in range(3):
            share = found[3][k]
            shares[i, k] = share
            used[k] += share
            matrix[k, k] -= share * found[5][k]
            for j in range(3):
                matrix[k, j] += share * found[4][k] * found[6][j]
    for k in range(3):
        dual -= price[k] * tables.capacity[m, k]
        if used[k] <= 0.0:  # nobody transfers anything this way
            off[k], matrix[k, k] = 0.0, -1.0
            continue
        off[k] = math.log(used[k] / tables.capacity[m, k])
        for j in range(3):
            matrix[k, j] /= used[k]
    return dual


@njit(cache=True)
def _cost(tables, m, members, steps, shares):
    """Return what these shares cost, without any limit."""
    total = 0.0
    for i in range(members.shape[0]):
        n, s = members[i], steps[i]
        row = tables.pair[n, m]
        send_s, fetch_s = transfer_s(row[2], row[4], shares[i, 1]), transfer_s(row[3], row[5], shares[i, 2])
        work_s = tables.cycles[n, m, s] / shares[i, 0] if tables.cycles[n, m, s] > 0 else 0.0
        total += tables.base[n, m, s] + row[0] * (send_s + fetch_s + work_s) + row[1] * send_s
    return total


@njit(cache=True)
def fixed_steps(tables, m, members, steps, price, shares):
    """Return the cost of the best shares for these steps, inf if none keeps the limits; price and shares are set."""
    count = members.shape[0]
    if count == 0:
        return 0.0
    for i in range(count):
        if tables.base[members[i], m, steps[i]] == INFINITE:
            return INFINITE
    capacity = tables.capacity[m]
    if count == 1:
        for k in range(3):
            shares[0, k] = capacity[k]
        return _cost(tables, m, members, steps, shares)
    off = np.empty(3)
    if not _fill(tables, m, members, steps, price, shares, off):
        return INFINITE
    for k in range(3):
        ratio = math.exp(-off[k])
        for i in range(count):
            shares[i, k] *= ratio
    return _cost(tables, m, members, steps, shares)


@njit(cache=True)
def _fill(tables, m, members, steps, price, shares, off):
    """Set the prices at which the responses fill the capacities; False where none keep the limits.

    The dual value only rises with exact Newton steps; a step that lowers it is halved. Above what all users together
    may cost within their limits, it proves that these steps cannot be kept.
    """
    worst = 1e-6
    for i in range(members.shape[0]):
        worst += tables.base[members[i], m, steps[i]] + tables.limits[members[i]]
    starts, matrix = np.zeros(members.shape[0]), np.empty((3, 3))
    trial, merit, scale, step = price.copy(), -INFINITE, 1.0, np.zeros(3)
    error = INFINITE
    for _ in range(100):
        dual = _answers(tables, m, members, steps, trial, shares, starts, off, matrix)
        error = np.abs(off).max()
        if dual > worst or error < FILLED:
            price[:] = trial
            return dual <= worst
        if dual < merit - 1e-12 * abs(merit) and scale > 0.02:
            scale *= 0.5
        else:
            merit, scale = dual, 1.0
            price[:] = trial
            step[:] = -off
            _solve3(matrix, step)
        for k in range(3):
            trial[k] = price[k] * math.exp(scale * min(max(step[k], -3.0), 3.0))
    return error < NEARLY_FILLED


@njit(cache=True)
def wishes(tables, m, members, steps, price, want, gain):
    """Fill each user's best step at these prices and what changing to it saves at most; return the lower bound."""
    bound = 0.0
    for k in range(3):
        bound -= price[k] * tables.capacity[m, k]
    for i in range(members.shape[0]):
        n = members[i]
        row, most = tables.pair[n, m], tables.capacity[m]
        s, least, _, _, _, _ = cheapest(row, tables.base[n, m], tables.cycles[n, m], tables.root[n, m], price, most)
        want[i] = s
        if s < 0:
            return INFINITE
        bound += least
        gain[i] = 0.0
        if s != steps[i]:
            t = steps[i]
            gain[i] = respond(row, tables.cycles[n, m, t], tables.base[n, m, t], price, most, row[0])[0] - least
    return bound


@njit(cache=True, nogil=True)
def solve_set(tables, m, members, steps, price, shares, tries):
    """Return (cost, lower bound) of the best steps and shares found for a set; steps, price and shares are set.

    `steps` may start with -1 for users whose steps follow from the prices.
    """
    count = members.shape[0]
    if count == 0:
        return 0.0, 0.0
    want, gain, trial_shares = np.empty(count, dtype=np.int64), np.empty(count), np.empty((count, 3))
    if count == 1:
        return _alone(tables, m, members, steps, price, shares)
    for i in range(count):
        if steps[i] < 0:
            n = members[i]
            steps[i] = cheapest(
                tables.pair[n, m],
                tables.base[n, m],
                tables.cycles[n, m],
                tables.root[n, m],
                price,
                tables.capacity[m],
            )[0]
            if steps[i] < 0:
                return INFINITE, INFINITE
    trial_price, trial = price.copy(), steps.copy()
    best, lower = INFINITE, -INFINITE
    for _ in range(12):  # all wishes at once, while that helps or nothing holds yet
        value = fixed_steps(tables, m, members, trial, trial_price, trial_shares)
        lower = max(lower, wishes(tables, m, members, trial, trial_price, want, gain))
        improved = value < best
        if improved:
            best = value
            steps[:], price[:], shares[:] = trial, trial_price, trial_shares
        if lower >= best - 1e-12 or (value < INFINITE and not improved) or lower == INFINITE:
            break
        if (want == trial).all():
            break
        trial[:] = want
    if best == INFINITE or best - lower <= 1e-10:
        return best, lower
    return _one_by_one(tables, m, members, steps, price, shares, best, lower, tries)


@njit(cache=True)
def _alone(tables, m, members, steps, price, shares):
    n, best = members[0], INFINITE
    chosen = -1
    steps[0] = 0
    for s in range(tables.base.shape[2]):
        if tables.base[n, m, s] < best:  # time is never free, so no step whose fixed cost is higher already can win
            steps[0] = s
            value = fixed_steps(tables, m, members, steps, price, shares)
            if value < best:
                best, chosen = value, s
    steps[0] = chosen
    row, cap, cycles = tables.pair[n, m], tables.capacity[m], tables.cycles[n, m, max(chosen, 0)]
    seconds = best - tables.base[n, m, max(chosen, 0)]
    price[0] = row[0] * cycles / cap[0] ** 2
    for k in range(1, 3):
        price[k] = max(seconds / cap[k] * 1e-2, 1e-30)
    return best, best


@njit(cache=True)
def _one_by_one(tables, m, members, steps, price, shares, best, lower, tries):
    """Change single steps in order of promise until none helps or `tries` are spent."""
    count = members.shape[0]
    want, gain, trial_shares = np.empty(count, dtype=np.int64), np.empty(count), np.empty((count, 3))
    trial_price, trial = price.copy(), steps.copy()
    lower = max(lower, wishes(tables, m, members, steps, price, want, gain))
    while tries > 0 and best - lower > 1e-10:
        i = int(gain.argmax())
        if gain[i] <= 1e-12:
            break
        trial[:], trial_price[:] = steps, price
        trial[i] = want[i]
        value = fixed_steps(tables, m, members, trial, trial_price, trial_shares)
        tries -= 1
        if value < best - 1e-13:
            best = value
            steps[:], price[:], shares[:] = trial, trial_price, trial_shares
            lower = max(lower, wishes(tables, m, members, steps, price, want, gain))
        else:
            gain[i] = 0.0
    return best, lower
