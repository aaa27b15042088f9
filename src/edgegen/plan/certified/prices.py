"""Prices of the servers' capacities, and the lower bound that they prove (compiled).

For any prices >= 0 the cheapest response of every user on its own, minus what all capacity costs at these prices, is a
lower bound on the cost of every plan. Deadlines and batteries stay inside the responses. The bound is maximised by
Newton steps on a smoothed version (each user mixes its nodes by a softmin whose temperature falls).
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from edgegen.plan.certified.response import INFINITE, band, respond

NEAR = 12.0  # temperatures: pairs that cost more than this above the best are left out until the temperature falls
DRIFT = 0.1  # change of the logarithm of a price after which all pairs are looked at again
MIX_LEAST = 1e-7  # nodes with a smaller part in a user's mix are left out of the curvature


MOST_PARTS = 6.0  # more users rarely share a server well; prices far too high make every deadline bind


class Work(NamedTuple):
    """The responses of all users at some prices; `evaluate` fills it."""

    cost: np.ndarray  # float[N, 1 + M]
    step: np.ndarray  # int[N, M]
    share: np.ndarray  # float[N, M, 3]
    by_time: np.ndarray  # float[N, M, 3], elasticities as `respond` returns them
    by_price: np.ndarray  # float[N, M, 3]
    ways: np.ndarray  # float[N, M, 3]


def blank_work(users: int, servers: int) -> Work:
    """Return room for the responses."""
    shares = (np.zeros((users, servers, 3)) for _ in range(4))
    return Work(np.zeros((users, servers + 1)), np.zeros((users, servers), dtype=np.int64), *shares)


def first_prices(tables) -> np.ndarray:
    """Return prices float[M, 3] at which an average user takes an even part of a server, `1 / MOST_PARTS` at least."""
    users, servers, _ = tables.pair.shape
    if users == 0:
        return np.ones((servers, 3))
    parts = min(max(2.0, users / (servers + 1)), MOST_PARTS)
    pair, share = tables.pair, tables.capacity / parts
    price = np.empty((servers, 3))
    price[:, 0] = (pair[..., 0] * np.median(tables.cycles, axis=2)).mean(axis=0) / share[:, 0] ** 2
    for k, size, snr in ((1, 2, 4), (2, 3, 5)):
        proportional = np.isinf(pair[..., snr])
        z = np.where(proportional, 1.0, pair[..., snr] / share[:, k])
        log = np.log1p(z)
        weight = pair[..., 0] + (pair[..., 1] if k == 1 else 0.0)
        saved = np.where(proportional, 1.0, (log - z / (1 + z)) / np.maximum(log, 1e-30) ** 2) / share[:, k] ** 2
        price[:, k] = (weight * pair[..., size] * saved).mean(axis=0)
    return np.maximum(price, 1e-25)


@njit(cache=True)
def cheapest(row, base, cycles, root, price, most):
    """Return (position of the step count that costs one user least at these prices, that cost, and as `respond`: the
    shares and the three triples of elasticities). -1 when no step count is possible.

    The cost without the deadline is a lower bound for each step count, so only those that could still win are solved
    with it.
    """
    alpha = row[0]
    u, send_s, _, by_u = band(alpha + row[1], row[2], row[4], price[1], row[6], most[1])
    d, fetch_s, _, by_d = band(alpha, row[3], row[5], price[2], 0.0, most[2])
    radio = alpha * (send_s + fetch_s) + row[1] * send_s + price[1] * u + price[2] * d
    per_root = 2 * math.sqrt(alpha * price[0])
    capped = most[0] * math.sqrt(price[0] / alpha)  # roots beyond take the whole clock
    slack = row[7] - send_s - fetch_s
    slowest = slack * math.sqrt(alpha / price[0]) if slack > 0 else -1.0  # the largest root that is in time
    best, at = INFINITE, -1
    late = False
    for s in range(base.shape[0]):
        r = root[s]
        cost = base[s] + radio
        if r <= capped:
            cost += per_root * r
            in_time = r <= slowest
        else:
            cost += alpha * cycles[s] / most[0] + price[0] * most[0]
            in_time = cycles[s] / most[0] <= slack
        if cost < best:
            if in_time:
                best, at = cost, s
            else:
                late = True
    if late:
        s, start = _in_time(row, base, cycles, root, price, most, best, at, radio, capped, slowest)
        if s >= 0 and start > 0:
            found = respond(row, cycles[s], base[s], price, most, start)
            return s, found[0], found[3], found[4], found[5], found[6]
    clock, by_clock = most[0], 0.0
    if at >= 0 and root[at] <= capped:
        clock, by_clock = math.sqrt(alpha / price[0]) * root[at], 0.5
    by_price = (by_clock, by_u, by_d)
    return at, best, (clock, u, d), (by_clock, by_u * alpha / (alpha + row[1]), by_d), by_price, (0.0, 0.0, 0.0)


@njit(cache=True)
def _in_time(row, base, cycles, root, price, most, best, at, radio, capped, slowest):
    """Return (the best step count when deadlines bind, its deadline multiplier; 0 where none that binds wins)."""
    alpha, start = row[0], 0.0
    per_root, guess = 2 * math.sqrt(alpha * price[0]), alpha
    for s in range(base.shape[0]):
        r = root[s]
        if r <= slowest and r <= capped:
            continue
        cost = base[s] + radio
        cost += per_root * r if r <= capped else alpha * cycles[s] / most[0] + price[0] * most[0]
        if cost >= best:
            continue
        found = respond(row, cycles[s], base[s], price, most, guess)
        guess = found[1]
        if found[0] < best:
            best, at, start = found[0], s, guess
    return at, start


@njit(cache=True, nogil=True)
def evaluate(tables, price, usable, work):
    """Fill `work` with the response of every user on every usable server; return the bound."""
    users, servers = tables.pair.shape[0], tables.pair.shape[1]
    total = 0.0
    for m in range(servers):
        for k in range(3):
            total -= price[m, k] * tables.capacity[m, k]
    for n in range(users):
        least = tables.alone[n] if usable[n, 0] else INFINITE
        work.cost[n, 0] = least
        for m in range(servers):
            work.cost[n, m + 1] = INFINITE
            if not usable[n, m + 1]:
                continue
            s, cost, share, by_time, by_price, ways = cheapest(
                tables.pair[n, m],
                tables.base[n, m],
                tables.cycles[n, m],
                tables.root[n, m],
                price[m],
                tables.capacity[m],
            )
            work.step[n, m], work.cost[n, m + 1] = s, cost
            for k in range(3):
                work.share[n, m, k], work.by_time[n, m, k] = share[k], by_time[k]
                work.by_price[n, m, k], work.ways[n, m, k] = by_price[k], ways[k]
            least = min(least, cost)
        total += least
    return total


@njit(cache=True)
def _mix(cost, heat, part, used):
    """Fill the servers that a user mixes and their parts; return (smoothed cost, number of servers)."""
    least, total, count = cost.min(), 0.0, 0
    for j in range(cost.shape[0]):
        total += math.exp((least - cost[j]) / heat)
    for m in range(cost.shape[0] - 1):
        share = math.exp((least - cost[m + 1]) / heat) / total
        if share >= MIX_LEAST:
            part[count], used[count] = share, m
            count += 1
    return least - heat * math.log(total), count


@njit(cache=True)
def smoothed(tables, price, work, heat):
    """Return (smoothed bound, its gradient in the logarithms of the prices, minus its curvature) from `work`."""
    users, servers = tables.pair.shape[0], tables.pair.shape[1]
    gradient, curvature = np.zeros(3 * servers), np.zeros((3 * servers, 3 * servers))
    part, used, value = np.empty(servers), np.empty(servers, dtype=np.int64), 0.0
    for n in range(users):
        cost, count = _mix(work.cost[n], heat, part, used)
        value += cost
        for one in range(count):
            m = used[one]
            for k in range(3):
                paid = part[one] * price[m, k] * work.share[n, m, k]
                gradient[3 * m + k] += paid
                curvature[3 * m + k, 3 * m + k] += paid * work.by_price[n, m, k]
                for i in range(3):
                    curvature[3 * m + k, 3 * m + i] -= paid * work.by_time[n, m, k] * work.ways[n, m, i]
            for other in range(count):
                weight = (part[one] * (1.0 if one == other else 0.0) - part[one] * part[other]) / heat
                _add_outer(curvature, weight, price, work.share[n], m, used[other])
    for m in range(servers):
        for k in range(3):
            paid = price[m, k] * tables.capacity[m, k]
            value -= paid
            gradient[3 * m + k] -= paid
    return value, gradient, curvature


@njit(cache=True)
def _add_outer(curvature, weight, price, share, one, other):
    """Add weight x (what is paid on one server) x (what is paid on another) to their block."""
    for k in range(3):
        for i in range(3):
            paid = price[one, k] * share[one, k] * price[other, i] * share[other, i]
            curvature[3 * one + k, 3 * other + i] += weight * paid


@njit(cache=True, nogil=True)
def ascend(tables, price, usable, work, heats, turns, target):
    """Raise the bound from `price` in place; return (best bound, its prices, evaluations). Stops above `target`."""
    servers = price.shape[0]
    best, best_price, spent = -INFINITE, price.copy(), 0
    near, seen = usable.copy(), price.copy()
    enough = 0.02 * max(1.0, work.cost.shape[0] / 10)  # the smoothing itself costs about this much per user
    for heat in heats:
        worth, gradient, curvature = -INFINITE, np.zeros(3 * servers), np.zeros((3 * servers, 3 * servers))
        damping, tried = 1e-3, price.copy()
        step = np.zeros(3 * servers)
        for turn in range(turns):
            bound = _look(tables, tried, usable, work, near, seen, heat, turn == 0)
            spent += 1
            if bound > best:
                best, best_price = bound, tried.copy()
                if best > target:
                    return best, best_price, spent
            value, new_gradient, new_curvature = smoothed(tables, tried, work, heat)
            if value >= worth:
                gain = value - worth
                worth, gradient, curvature = value, new_gradient, new_curvature
                price[:] = tried
                damping = max(damping * 0.2, 1e-6)
                if turn > 0 and gain < enough * heat:
                    break
            else:
                damping = max(damping * 8, 1e-2)
                if damping > 1e3:
                    break
            matrix = curvature.copy()
            for i in range(3 * servers):
                matrix[i, i] += max(0.0, -gradient[i]) + damping * (curvature[i, i] + abs(gradient[i])) + 1e-13
            step = np.linalg.solve(matrix, gradient)
            largest = np.abs(step).max()
            scale = min(1.0, 1.5 / largest) if largest > 0 else 0.0
            for m in range(servers):
                for k in range(3):
                    tried[m, k] = max(price[m, k] * math.exp(scale * step[3 * m + k]), 1e-30)
    bound = evaluate(tables, price, usable, work)
    if bound > best:
        best, best_price = bound, price.copy()
    return best, best_price, spent + 1


@njit(cache=True)
def _look(tables, price, usable, work, near, seen, heat, all_pairs):
    """Evaluate the pairs that matter at this temperature; return the bound, -inf when pairs were left out.

    All pairs are looked at when asked for or when the prices have drifted; `near` and `seen` are set then.
    """
    if not all_pairs and _moved(price, seen) <= DRIFT:
        evaluate(tables, price, near, work)
        return -INFINITE
    bound = evaluate(tables, price, usable, work)
    seen[:] = price
    _keep_near(work, usable, price, near, NEAR * heat)
    return bound


@njit(cache=True)
def _moved(price, seen):
    """Return the largest change of the logarithm of a price."""
    most = 0.0
    for m in range(price.shape[0]):
        for k in range(3):
            most = max(most, abs(math.log(price[m, k] / seen[m, k])))
    return most


@njit(cache=True)
def _keep_near(work, usable, price, near, most):
    """Mark the pairs that have a part in the mix: at most `most` above their user's best node, now or after a drift."""
    for n in range(near.shape[0]):
        least = work.cost[n].min()
        near[n, 0] = usable[n, 0]
        for m in range(price.shape[0]):
            cost = work.cost[n, m + 1]
            for k in range(3):
                cost -= DRIFT * price[m, k] * work.share[n, m, k]
            near[n, m + 1] = usable[n, m + 1] and cost <= least + most
