"""Who queues where and with which option: greedy insertion, then moves and swaps while they pay (compiled).

A place serves its tasks one at a time in the order of their numbers. A second of an early task is paid by everybody
behind it, which makes the choice of options separate while no deadline binds; where one does, options are shortened
where a saved second costs least.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from edgegen.plan.queues.problem import UNSERVED

INFINITE = np.inf
_GAIN = 1e-9  # a move must save more than this


class Placing(NamedTuple):
    """An assignment and what is known about it. The search changes the arrays in place."""

    place: np.ndarray  # int[T], or UNSERVED
    pick: np.ndarray  # int[T], option
    value: np.ndarray  # float[P]
    version: np.ndarray  # int[P], counts the changes of a place
    added: np.ndarray  # float[T, P], what a task would add to a place
    added_at: np.ndarray  # int[T, P], the version of the place for which that holds
    failed: np.ndarray  # int[T, T], the versions of both places at which a swap did not pay
    spent: np.ndarray  # int[1], values computed so far


def blank_placing(tasks: int, places: int) -> Placing:
    """Return a placing in which everybody waits."""
    return Placing(
        place=np.full(tasks, UNSERVED),
        pick=np.zeros(tasks, dtype=np.int64),
        value=np.zeros(places),
        version=np.zeros(places, dtype=np.int64),
        added=np.zeros((tasks, places)),
        added_at=np.full((tasks, places), -1),
        failed=np.full((tasks, tasks), -1),
        spent=np.zeros(1, dtype=np.int64),
    )


@njit(cache=True)
def queue_value(problem, p, members, count, picks):
    """Return the least cost found of serving the first `count` members in turn, inf if some are late; fill picks."""
    behind = 0.0
    for k in range(count - 1, -1, -1):
        t = members[k]
        if problem.options[t, p] == 0:
            return INFINITE
        behind += problem.price[t]
        best = INFINITE
        for o in range(problem.options[t, p]):
            cost = problem.cost[t, p, o] + behind * problem.busy_s[t, p, o]
            if cost < best:
                best, picks[k] = cost, o
    while True:
        total, late = _in_turn(problem, p, members, count, picks)
        if late < 0:
            return total
        if not _shorten(problem, p, members, count, picks, late):
            return INFINITE


@njit(cache=True)
def _in_turn(problem, p, members, count, picks):
    """Return (cost, position of the first late member or -1).

    Results are sent in turn, too. A task waits from its upload on, as `physics.predict` says.
    """
    free_s, link_s, total = problem.wait_s[p], problem.link_s[p], 0.0
    for k in range(count):
        t, o = members[k], picks[k]
        made_s = max(free_s, problem.up_s[t, p]) + problem.busy_s[t, p, o]
        sent_s = max(made_s, link_s)
        end_s = sent_s + problem.down_s[t, p]
        free_s += problem.busy_s[t, p, o]
        link_s = sent_s + problem.air_s[t, p]
        if end_s > problem.left_s[t]:
            return INFINITE, k
        total += problem.cost[t, p, o] + problem.base[t, p] + problem.price[t] * end_s
    return total, -1


@njit(cache=True)
def _shorten(problem, p, members, count, picks, late):
    """Move one member up to the late one to a shorter option, where a saved second costs least; False if none is left."""
    behind = 0.0
    for k in range(late + 1, count):
        behind += problem.price[members[k]]
    best, who, option = INFINITE, -1, 0
    for k in range(late, -1, -1):
        t, now = members[k], picks[k]
        behind += problem.price[t]
        for o in range(now):
            saved_s = max(problem.busy_s[t, p, now] - problem.busy_s[t, p, o], 1e-12)
            price = (problem.cost[t, p, o] - problem.cost[t, p, now]) / saved_s - behind
            if price < best:
                best, who, option = price, k, o
    if who < 0:
        return False
    picks[who] = option
    return True


@njit(cache=True)
def value_with(problem, placing, p, leaves, enters, members, picks):
    """Return (value, count) of a place without one task and with another (-1: none); fill members and picks."""
    placing.spent[0] += 1
    count = 0
    for t in range(placing.place.shape[0]):
        if (placing.place[t] == p and t != leaves) or t == enters:
            members[count] = t
            count += 1
    return queue_value(problem, p, members, count, picks), count


@njit(cache=True)
def _settle(problem, placing, p, members, picks):
    """Compute a place anew after its tasks changed."""
    placing.version[p] += 1
    value, count = value_with(problem, placing, p, -1, -1, members, picks)
    placing.value[p] = value
    for k in range(count):
        placing.pick[members[k]] = picks[k]


@njit(cache=True)
def _move(problem, placing, t, new, members, picks):
    old, placing.place[t] = placing.place[t], new
    if old >= 0:
        _settle(problem, placing, old, members, picks)
    if new >= 0:
        _settle(problem, placing, new, members, picks)


@njit(cache=True)
def _best_place(problem, placing, t, members, picks):
    """Return (the place where a task adds least beside its own, what it adds there)."""
    best, least = UNSERVED, problem.refusal[t]
    for p in range(placing.value.shape[0]):
        if problem.options[t, p] == 0 or placing.place[t] == p:
            continue
        if placing.added_at[t, p] != placing.version[p]:
            value, _ = value_with(problem, placing, p, -1, t, members, picks)
            placing.added[t, p], placing.added_at[t, p] = value - placing.value[p], placing.version[p]
        if placing.added[t, p] < least:
            best, least = p, placing.added[t, p]
    return best, least


@njit(cache=True)
def insert_all(problem, placing):
    """Give each waiting task, the most urgent first, the place where it adds least."""
    members, picks = np.empty(placing.place.shape[0], np.int64), np.empty(placing.place.shape[0], np.int64)
    for t in range(placing.place.shape[0]):
        if placing.place[t] == UNSERVED:
            best, _ = _best_place(problem, placing, t, members, picks)
            if best >= 0:
                _move(problem, placing, t, best, members, picks)


@njit(cache=True)
def start_at(problem, placing, place):
    """Put everybody where an earlier plan had them; who does not fit any more, and new tasks, wait."""
    members, picks = np.empty(place.shape[0], np.int64), np.empty(place.shape[0], np.int64)
    for t in range(place.shape[0]):
        if place[t] >= 0 and problem.options[t, place[t]] > 0:
            placing.place[t] = place[t]
    for p in range(placing.value.shape[0]):
        _settle(problem, placing, p, members, picks)
        if placing.value[p] == INFINITE:
            for t in range(place.shape[0]):
                if placing.place[t] == p:
                    placing.place[t] = UNSERVED
            _settle(problem, placing, p, members, picks)
            for t in range(place.shape[0]):
                if place[t] == p:
                    value, _ = value_with(problem, placing, p, -1, t, members, picks)
                    if value < INFINITE:
                        _move(problem, placing, t, p, members, picks)


@njit(cache=True)
def _relocate(problem, placing, t, members, picks):
    """Move a task where it adds less than it costs now; return whether it moved."""
    old = placing.place[t]
    saved = problem.refusal[t]
    if old >= 0:
        without, _ = value_with(problem, placing, old, t, -1, members, picks)
        saved = placing.value[old] - without
    best, added = _best_place(problem, placing, t, members, picks)
    if added < saved - _GAIN:
        _move(problem, placing, t, best, members, picks)
        return True
    return False


@njit(cache=True)
def _stamp(placing, p):
    """Return a number that tells a place and its version."""
    return (placing.version[p] << 10) + p + 1 if p >= 0 else 0


@njit(cache=True)
def _swap(problem, placing, t, members, picks):
    """Exchange the places of a task and of a later one where that pays; return whether it did."""
    mine = placing.place[t]
    for u in range(t + 1, placing.place.shape[0]):
        theirs = placing.place[u]
        if (
            mine == theirs
            or (mine >= 0 and problem.options[u, mine] == 0)
            or (theirs >= 0 and problem.options[t, theirs] == 0)
        ):
            continue
        stamp = (_stamp(placing, mine) << 31) + _stamp(placing, theirs)
        if placing.failed[t, u] == stamp:
            continue
        before = after = 0.0
        if mine >= 0:
            before += placing.value[mine]
            after += value_with(problem, placing, mine, t, u, members, picks)[0]
        else:
            before, after = before + problem.refusal[t], after + problem.refusal[u]
        if after < INFINITE:
            if theirs >= 0:
                before += placing.value[theirs]
                after += value_with(problem, placing, theirs, u, t, members, picks)[0]
            else:
                before, after = before + problem.refusal[u], after + problem.refusal[t]
        if after < before - _GAIN:
            placing.place[t], placing.place[u] = theirs, mine
            for p in (mine, theirs):
                if p >= 0:
                    _settle(problem, placing, p, members, picks)
            return True
        placing.failed[t, u] = stamp
    return False


@njit(cache=True)
def improve(problem, placing, effort):
    """Relocate and swap while that saves something; True when nothing does, False when `effort` values were computed."""
    count = placing.place.shape[0]
    members, picks = np.empty(count, np.int64), np.empty(count, np.int64)
    improved = True
    while improved:
        improved = False
        for t in range(count):
            if placing.spent[0] >= effort:
                return False
            improved |= _relocate(problem, placing, t, members, picks)
        if improved:
            continue
        for t in range(count):
            if placing.spent[0] >= effort:
                return False
            improved |= _swap(problem, placing, t, members, picks)
    return True


@njit(cache=True)
def total_cost(problem, placing):
    """Return the cost of the assignment."""
    total = placing.value.sum()
    for t in range(placing.place.shape[0]):
        if placing.place[t] == UNSERVED:
            total += problem.refusal[t]
    return total
