"""What no schedule can go below: prices of the places' time (compiled).

Give every second of every place a price. Let every task choose alone the place, the option and the moment of its start
that cost least at these prices, within its own deadline, or to wait; subtract what all time costs. No schedule, in any
order, costs less: one that never serves two tasks at once pays for each second at most once. Prices are constant in
cells of time. They start as what a second is worth in a given schedule: the prices of everybody's time behind it. Then
they are raised where more than one task wants a cell and lowered where none does.
"""

import numpy as np
from numba import njit

from edgegen.plan.queues.problem import UNSERVED

INFINITE = np.inf


@njit(cache=True)
def first_prices(problem, placing):
    """Return (edges float[P, C + 1], prices float[P, C], cells int[P]): one cell for each task's time on its place."""
    tasks, places = problem.options.shape
    cells = np.zeros(places, dtype=np.int64)
    for t in range(tasks):
        if placing.place[t] >= 0:
            cells[placing.place[t]] += 1
    most = max(1, cells.max())
    edges, price = np.zeros((places, most + 1)), np.zeros((places, most))
    for p in range(places):
        free_s, behind, at = problem.wait_s[p], 0.0, 0
        edges[p, 0] = free_s
        for t in range(tasks):
            if placing.place[t] == p:
                behind += problem.price[t]
        for t in range(tasks):
            if placing.place[t] != p:
                continue
            behind -= problem.price[t]
            free_s += problem.busy_s[t, p, placing.pick[t]]
            at += 1
            edges[p, at], price[p, at - 1] = free_s, behind
    return edges, price, cells


@njit(cache=True)
def _paid(edges, price, total, cells, x, at):
    """Return (what the time of a place costs until x, the cell of x); `at` is a cell that is not behind x."""
    while at < cells and edges[at + 1] <= x:
        at += 1
    if at >= cells:
        return total[cells], at
    return total[at] + price[at] * max(0.0, x - edges[at]), at


@njit(cache=True)
def _start(edges, price, total, cells, second, up_s, busy_s, high_s):
    """Return (least cost of a second x the moment the work begins + what the time costs, start of the time taken).

    The time of the place may be taken before the upload is over; the work begins after both. The cost is linear between
    the moments where the start or the end is on an edge or the upload ends, so only those are looked at.
    """
    low_s = edges[0]
    ahead, _ = _paid(edges, price, total, cells, low_s + busy_s, 0)
    best, start = second * max(low_s, up_s) + ahead, low_s
    for extra in (up_s, high_s):
        if low_s < extra <= high_s and extra < edges[cells]:
            ahead, _ = _paid(edges, price, total, cells, extra + busy_s, 0)
            behind, _ = _paid(edges, price, total, cells, extra, 0)
            cost = second * max(extra, up_s) + ahead - behind
            if cost < best:
                best, start = cost, extra
    front = 0
    for i in range(1, cells + 1):
        s = edges[i]
        if s <= high_s:
            ahead, front = _paid(edges, price, total, cells, s + busy_s, front)
            cost = second * max(s, up_s) + ahead - total[i]
            if cost < best:
                best, start = cost, s
    back = 0
    for i in range(1, cells + 1):
        s = edges[i] - busy_s
        if low_s < s <= high_s:
            behind, back = _paid(edges, price, total, cells, s, back)
            cost = second * max(s, up_s) + total[i] - behind
            if cost < best:
                best, start = cost, s
    return best, start


@njit(cache=True)
def _respond(problem, t, edges, price, total, cells):
    """Return (least cost of one task at these prices, its place or UNSERVED, start, busy time)."""
    best, place, start, busy = problem.refusal[t], UNSERVED, 0.0, 0.0
    second = problem.price[t]
    for p in range(problem.wait_s.shape[0]):
        low_s, up_s = problem.wait_s[p], problem.up_s[t, p]
        for o in range(problem.options[t, p]):
            busy_s = problem.busy_s[t, p, o]
            high_s = problem.left_s[t] - problem.down_s[t, p] - busy_s
            fixed = problem.cost[t, p, o] + problem.base[t, p] + second * (busy_s + problem.down_s[t, p])
            if high_s < max(low_s, up_s) or fixed + second * max(low_s, up_s) >= best:
                continue
            paid, s = _start(edges[p], price[p], total[p], cells[p], second, up_s, busy_s, high_s)
            if fixed + paid < best:
                best, place, start, busy = fixed + paid, p, s, busy_s
    return best, place, start, busy


@njit(cache=True)
def evaluate(problem, edges, price, cells, wanted):
    """Return the lower bound at these prices; fill how many seconds of each cell are wanted, float[P, C]."""
    places = price.shape[0]
    total = np.zeros((places, price.shape[1] + 1))
    bound = 0.0
    for p in range(places):
        for i in range(cells[p]):
            total[p, i + 1] = total[p, i] + price[p, i] * (edges[p, i + 1] - edges[p, i])
        bound -= total[p, cells[p]]
    wanted[:] = 0.0
    for t in range(problem.price.shape[0]):
        cost, p, start, busy = _respond(problem, t, edges, price, total, cells)
        bound += cost
        if p >= 0:
            for i in range(cells[p]):
                wanted[p, i] += max(0.0, min(start + busy, edges[p, i + 1]) - max(start, edges[p, i]))
    return bound


@njit(cache=True)
def raise_bound(problem, edges, price, cells, cost, rounds, goal):
    """Return (best bound, rounds used): subgradient steps that aim at the cost of a known schedule (Polyak)."""
    best, scale = -INFINITE, 1.0
    wanted = np.zeros(price.shape)
    for turn in range(rounds):
        bound = evaluate(problem, edges, price, cells, wanted)
        if bound > best:
            best = bound
        else:
            scale *= 0.7
        if cost - best <= goal * abs(cost):
            return best, turn + 1
        norm = 0.0
        for p in range(price.shape[0]):
            for i in range(cells[p]):
                length = edges[p, i + 1] - edges[p, i]
                slope = wanted[p, i] - length
                if length > 0 and (slope > 0 or price[p, i] > 0):
                    norm += slope * slope / length
        if norm <= 0.0:
            return best, turn + 1
        step = scale * (cost - bound) / norm
        for p in range(price.shape[0]):
            for i in range(cells[p]):
                length = edges[p, i + 1] - edges[p, i]
                if length > 0:
                    price[p, i] = max(0.0, price[p, i] + step * (wanted[p, i] - length) / length)
    return best, rounds
