"""Who goes where: local search over assignments, screened by prices (compiled).

A move sends one user elsewhere, or two users in a chain (the second makes room for the first; a swap is the chain that
ends where it began). At a server's own prices the response of a user is a lower bound on what adding it costs and an
upper bound on what removing it saves, so a move whose screen is not negative cannot pay and is never solved. What was
solved without success is remembered until one of its servers changes.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from edgegen.plan.certified.prices import cheapest
from edgegen.plan.certified.response import INFINITE
from edgegen.plan.certified.sets import solve_set

UNPLACED = -2
UNPLACED_COST = 1e4
STEP_TRIES = 4
_GAIN = 1e-10  # a move must save more
_CURVATURE = 0.6  # part of the estimated second-order cost that a screen counts


class Placing(NamedTuple):
    """An assignment with everything that is known about it. The search changes the arrays in place."""

    node: np.ndarray  # int[N]: 0 without a server, m for server m, UNPLACED
    step: np.ndarray  # int[N], position in the step set (of users on servers)
    share: np.ndarray  # float[N, 3]
    price: np.ndarray  # float[M, 3]
    value: np.ndarray  # float[M], cost of each server's users
    cost: np.ndarray  # float[N, 1 + M]: a user's response at the prices of each node
    pull: np.ndarray  # float[N, M, 3]: what that response takes of each capacity, times the root of price/capacity
    version: np.ndarray  # int[M], counts the changes of a server
    spent: np.ndarray  # int[1], sets solved so far


def blank_placing(users: int, servers: int) -> Placing:
    """Return an empty placing."""
    return Placing(
        node=np.full(users, UNPLACED),
        step=np.zeros(users, dtype=np.int64),
        share=np.zeros((users, 3)),
        price=np.zeros((servers, 3)),
        value=np.zeros(servers),
        cost=np.zeros((users, servers + 1)),
        pull=np.zeros((users, servers, 3)),
        version=np.zeros(servers, dtype=np.int64),
        spent=np.zeros(1, dtype=np.int64),
    )


@njit(cache=True, nogil=True)
def total_cost(placing):
    """Return the cost of the assignment; unplaced users cost `UNPLACED_COST` each."""
    total = placing.value.sum()
    for n in range(placing.node.shape[0]):
        if placing.node[n] == 0:
            total += placing.cost[n, 0]
        elif placing.node[n] == UNPLACED:
            total += UNPLACED_COST
    return total


@njit(cache=True, nogil=True)
def refresh(tables, placing, usable, m):
    """Compute every user's response at the present prices of server m."""
    empty = True
    for n in range(placing.node.shape[0]):
        if placing.node[n] == m + 1:
            empty = False
    price, most = placing.price[m].copy(), tables.capacity[m]
    if empty:
        price[:] = 1e-30
    for n in range(placing.node.shape[0]):
        placing.cost[n, m + 1] = INFINITE
        placing.pull[n, m, :] = 0.0
        if not usable[n, m + 1]:
            continue
        s, cost, share, _, _, _ = cheapest(
            tables.pair[n, m], tables.base[n, m], tables.cycles[n, m], tables.root[n, m], price, most
        )
        if s >= 0:
            placing.cost[n, m + 1] = cost
            for k in range(3):
                placing.pull[n, m, k] = share[k] * np.sqrt(price[k] / most[k])


@njit(cache=True)
def _members(node, m):
    count = 0
    for n in range(node.shape[0]):
        if node[n] == m + 1:
            count += 1
    members = np.empty(count, dtype=np.int64)
    count = 0
    for n in range(node.shape[0]):
        if node[n] == m + 1:
            members[count] = n
            count += 1
    return members


@njit(cache=True)
def _solve(tables, placing, node, m):
    """Solve server m for the users that `node` puts there; return (cost, members, steps, price, shares)."""
    members = _members(node, m)
    steps, price = np.empty(members.shape[0], dtype=np.int64), placing.price[m].copy()
    shares = np.zeros((members.shape[0], 3))
    for i in range(members.shape[0]):
        steps[i] = placing.step[members[i]] if placing.node[members[i]] == m + 1 else -1
    placing.spent[0] += 1
    value = solve_set(tables, m, members, steps, price, shares, np.int64(STEP_TRIES))[
        0
    ]  # a literal would compile again
    return value, members, steps, price, shares


@njit(cache=True)
def _keep(placing, m, solved):
    value, members, steps, price, shares = solved
    placing.value[m], placing.price[m] = value, price
    placing.version[m] += 1
    for i in range(members.shape[0]):
        n = members[i]
        placing.node[n], placing.step[n], placing.share[n] = m + 1, steps[i], shares[i]


@njit(cache=True)
def attempt(tables, placing, usable, movers, targets, least):
    """Make a move if it saves more than `least`; return what it saved, 0 if it was not made."""
    node, saved = placing.node.copy(), 0.0
    touched = np.zeros(placing.value.shape[0] + 1, dtype=np.bool_)
    for i in range(movers.shape[0]):
        n, old, new = movers[i], placing.node[movers[i]], targets[i]
        saved += placing.cost[n, 0] if old == 0 else UNPLACED_COST if old == UNPLACED else 0.0
        saved -= placing.cost[n, 0] if new == 0 else 0.0
        for place in (old, new):
            if place > 0:
                touched[place] = True
        node[n] = new
    solved = []
    for m in range(placing.value.shape[0]):
        if touched[m + 1]:
            found = _solve(tables, placing, node, m)
            saved += placing.value[m] - found[0]
            if not saved > -UNPLACED_COST * 10:
                return 0.0
            solved.append(found)
    if not saved > least:
        return 0.0
    placing.node[:] = node
    at = 0
    for m in range(placing.value.shape[0]):
        if touched[m + 1]:
            _keep(placing, m, solved[at])
            refresh(tables, placing, usable, m)
            at += 1
    return saved


@njit(cache=True, nogil=True)
def place(tables, price, usable, placing):
    """Start: everybody goes where it costs least at the given prices; who does not fit stays alone or unplaced."""
    users, servers = tables.pair.shape[0], tables.pair.shape[1]
    placing.price[:] = price
    placing.node[:] = UNPLACED
    for n in range(users):
        placing.cost[n, 0] = tables.alone[n] if usable[n, 0] else INFINITE
        placing.step[n] = -1
    placing.node[0] = 0
    for m in range(servers):
        placing.node[0] = m + 1  # so that no server counts as empty
        refresh(tables, placing, usable, m)
    for n in range(users):
        best = int(placing.cost[n].argmin())
        placing.node[n] = best if placing.cost[n, best] < INFINITE else UNPLACED
    for m in range(servers):
        while True:
            solved = _solve(tables, placing, placing.node, m)
            if solved[0] < INFINITE:
                break
            _drop(placing, m)
        _keep(placing, m, solved)
    for m in range(servers):
        refresh(tables, placing, usable, m)


@njit(cache=True)
def _drop(placing, m):
    """Take the user that loses least by leaving off a server that cannot keep everybody's limits."""
    chosen, least = -1, INFINITE
    for n in range(placing.node.shape[0]):
        if placing.node[n] == m + 1:
            loss = min(placing.cost[n, 0], UNPLACED_COST) - placing.cost[n, m + 1]
            if loss < least:
                chosen, least = n, loss
    placing.node[chosen] = 0 if placing.cost[chosen, 0] < INFINITE else UNPLACED


@njit(cache=True)
def _pay(placing, n, place):
    """Return (cost at the place's prices, estimate of what the prices do not see)."""
    if place == UNPLACED:
        return UNPLACED_COST, 0.0
    if place == 0:
        return placing.cost[n, 0], 0.0
    pull = placing.pull[n, place - 1]
    return placing.cost[n, place], pull[0] ** 2 + pull[1] ** 2 + pull[2] ** 2


@njit(cache=True)
def _stamp(placing, here, there):
    """Return a number that changes when one of two places does."""
    stamp = placing.version[here - 1] if here > 0 else 0
    return stamp + (placing.version[there - 1] << 20 if there > 0 else 0)


@njit(cache=True)
def _same(placing, seen, place):
    return place <= 0 or placing.version[place - 1] == seen[place - 1]


@njit(cache=True)
def relocations(placing, usable, tried):
    """Return (users, targets) of single moves that may pay, best first."""
    users, nodes = placing.cost.shape
    who, where, worth = np.empty(users * nodes, np.int64), np.empty(users * nodes, np.int64), np.empty(users * nodes)
    count = 0
    for n in range(users):
        here = placing.node[n]
        cost, bend = _pay(placing, n, here)
        for j in range(nodes):
            if j == here or not usable[n, j] or placing.cost[n, j] == INFINITE:
                continue
            stamp = _stamp(placing, here, j)
            if tried[n, j] == stamp:
                continue
            new_cost, new_bend = _pay(placing, n, j)
            estimate = new_cost - cost + _CURVATURE * (bend + new_bend)
            if estimate < -_GAIN:
                who[count], where[count], worth[count] = n, j, estimate
                tried[n, j] = stamp
                count += 1
    order = np.argsort(worth[:count])
    return who[:count][order], where[:count][order]


@njit(cache=True)
def _exits(placing, usable):
    """Return what each user on a server loses least by leaving it, without the curvature there, and where it goes."""
    users, nodes = placing.cost.shape
    leave, target = np.full(users, INFINITE), np.zeros(users, np.int64)
    for k in range(users):
        if placing.node[k] <= 0:
            continue
        cost = placing.cost[k, placing.node[k]]
        for j in range(nodes):
            if j != placing.node[k] and usable[k, j] and placing.cost[k, j] < INFINITE:
                new_cost, bend = _pay(placing, k, j)
                if new_cost - cost + _CURVATURE * bend < leave[k]:
                    leave[k], target[k] = new_cost - cost + _CURVATURE * bend, j
    return leave, target


@njit(cache=True)
def _bend_between(placing, n, k, place):
    """Return the estimated second-order cost on a server where n comes and k goes, or the reverse."""
    total = 0.0
    for p in range(3):
        total += (placing.pull[n, place - 1, p] - placing.pull[k, place - 1, p]) ** 2
    return _CURVATURE * total


@njit(cache=True)
def chains(placing, usable, room):
    """Return (first user, second user, target of the second) of double moves that may pay, best first."""
    users = placing.cost.shape[0]
    leave, exit_to = _exits(placing, usable)
    first, second = np.empty(room, np.int64), np.empty(room, np.int64)
    where, worth = np.empty(room, np.int64), np.empty(room)
    count = 0
    for n in range(users):
        here = placing.node[n]
        cost, bend = _pay(placing, n, here)
        for k in range(users):
            there = placing.node[k]
            if there <= 0 or there == here or not usable[n, there] or count >= room:
                continue
            gain = placing.cost[n, there] - cost + _bend_between(placing, n, k, there)
            estimate, target = gain + _CURVATURE * bend + leave[k], exit_to[k]
            if here > 0 and usable[k, here]:
                swap = gain + placing.cost[k, here] - placing.cost[k, there] + _bend_between(placing, n, k, here)
                if swap < estimate:
                    estimate, target = swap, here
            if estimate < -_GAIN:
                first[count], second[count], where[count], worth[count] = n, k, target, estimate
                count += 1
    order = np.argsort(worth[:count])
    return first[:count][order], second[:count][order], where[:count][order]


@njit(cache=True)
def _relocate_all(tables, placing, usable, tried, effort):
    """Make every single move that pays; return whether one did."""
    one, target, moved = np.empty(1, np.int64), np.empty(1, np.int64), False
    seen = placing.version.copy()
    who, where = relocations(placing, usable, tried)
    for i in range(who.shape[0]):
        here, there = placing.node[who[i]], where[i]
        if not (_same(placing, seen, here) and _same(placing, seen, there)):
            tried[who[i], there] = -1
        elif placing.spent[0] < effort:
            one[0], target[0] = who[i], there
            moved |= attempt(tables, placing, usable, one, target, _GAIN) > 0.0
    return moved


@njit(cache=True)
def _chain_all(tables, placing, usable, failed, effort):
    """Make every double move that pays; return whether one did."""
    users, nodes = placing.cost.shape
    two, target, moved = np.empty(2, np.int64), np.empty(2, np.int64), False
    seen = placing.version.copy()
    first, second, last = chains(placing, usable, 40 * users)
    for i in range(first.shape[0]):
        here, there = placing.node[first[i]], placing.node[second[i]]
        if not (_same(placing, seen, here) and _same(placing, seen, there) and _same(placing, seen, last[i])):
            continue
        key = (first[i] * users + second[i]) * nodes + last[i]
        stamp = _stamp(placing, here, there) + (placing.version[last[i] - 1] << 40 if last[i] > 0 else 0)
        if (key in failed and failed[key] == stamp) or placing.spent[0] >= effort:
            continue
        two[0], two[1], target[0], target[1] = first[i], second[i], there, last[i]
        if attempt(tables, placing, usable, two, target, _GAIN) > 0.0:
            moved = True
        else:
            failed[key] = stamp
    return moved


@njit(cache=True, nogil=True)
def improve(tables, placing, usable, effort):
    """Move users while that pays, until nothing promising is left (True) or `effort` sets were solved (False)."""
    users, servers = tables.pair.shape[0], tables.pair.shape[1]
    tried = np.full((users, servers + 1), -1, dtype=np.int64)
    failed = {np.int64(0): np.int64(0)}
    while placing.spent[0] < effort:
        if _relocate_all(tables, placing, usable, tried, effort):
            continue
        if not _chain_all(tables, placing, usable, failed, effort):
            return True
    return False
