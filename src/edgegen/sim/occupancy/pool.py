"""A pool of denoising steps that may run at once, and a crash when a task does not fit.

A task holds its steps from the moment it is admitted until it ends; there is no queue. A task that does not fit crashes
the site: it and everything that runs there are lost, and the pool is free again at once. The rule is exact in time: what
runs is a table with one row per running task, not a grid of time slots. S sites, R rows per site.

A row is running while its end is later than the clock of the pools, so time passes without touching a row: only the
row of the new task and the column of the site it is given to are written. What a caller leaves unread is not computed.
"""

import dataclasses

import jax.numpy as jnp

from edgegen.core.arrays import Array
from edgegen.core.decision import REJECT
from edgegen.core.errors import InputError
from edgegen.core.tree import value
from edgegen.sim.epochs import Entries
from edgegen.sim.occupancy.amounts import count, later, number, total


@value
class Pools:
    """Sites and what runs on them. Rows that do not run hold what ran there before."""

    now_s: Array  # float[], the clock: what ends by then is over
    capacity: Array  # int[S] or float[S], steps that may run at once; whole numbers are added faster
    free: Array  # like capacity [S], steps that nobody holds
    steps: Array  # like capacity [R, S], steps held by a running task
    begin_s: Array  # float[R, S]
    end_s: Array  # float[R, S]
    quality: Array  # float[R, S], credited when the task was admitted

    @property
    def running(self) -> Array:
        """bool[R, S], rows that hold a running task."""
        return self.end_s > self.now_s


def rows_for(capacity: float, least_steps: float) -> int:
    """Return R: how many of the smallest tasks the largest pool can hold.

    **Raises** `InputError` unless 0 < least_steps <= capacity.
    """
    if not 0 < least_steps <= capacity:
        raise InputError(
            f"least_steps must be above 0 and at most the capacity {capacity}, got {least_steps}", param="least_steps"
        )
    return int(capacity // least_steps)


def empty(capacity: Array, rows: int) -> Pools:
    """Return idle sites with these capacities, [S], at time 0; `rows` is from `rows_for`."""
    shape, dtype = (rows, *capacity.shape), jnp.result_type(float)
    nothing = jnp.zeros(shape, dtype)
    return Pools(
        now_s=jnp.zeros((), dtype),
        capacity=capacity,
        free=capacity,
        steps=jnp.zeros(shape, capacity.dtype),
        begin_s=nothing,
        end_s=nothing,
        quality=nothing,
    )


def cleared(pools: Pools) -> Pools:
    """Return the same sites idle at time 0. Only the ends are written."""
    never = jnp.zeros_like(pools.end_s)
    return dataclasses.replace(pools, now_s=jnp.zeros_like(pools.now_s), free=pools.capacity, end_s=never)


def advance(pools: Pools, now_s: Array) -> tuple[Pools, Entries]:
    """Go on to `now_s`: every task that ends by then is over. Say how many and what quality they had."""
    over = pools.running & (pools.end_s <= now_s)
    entries = {"finished": count(over), "finished_quality": total(jnp.where(over, pools.quality, 0.0))}
    held = jnp.where(pools.end_s > now_s, pools.steps, jnp.zeros((), pools.steps.dtype))
    free = pools.capacity - held.sum(axis=0, dtype=held.dtype)  # added anew each time, so errors do not pile up
    return dataclasses.replace(pools, now_s=now_s, free=free), entries


def undone(pools: Pools) -> Array:
    """float[S], the work that a crash would lose: the sum over running tasks of the part that is still to be done."""
    return _undone(pools.running, pools.begin_s, pools.end_s, pools.now_s)


def admit(pools: Pools, site: Array, *, steps: Array, quality: Array, end_s: Array) -> tuple[Pools, Entries]:
    """Start a task on `site` (int[]) at once, or crash the site; `REJECT` refuses the task.

    A task that would end at once ends at the next moment; one that is smaller than `rows_for` was told, and finds no
    row, does not fit. The entries, all of them always:

    | entry              | meaning                                                                   |
    |--------------------|---------------------------------------------------------------------------|
    | `assigned`         | 1 if the task was given to a site                                         |
    | `refused`          | 1 if it was not                                                           |
    | `crashes`          | 1 if the site crashed                                                     |
    | `crashed`          | tasks lost in the crash: the new one and those that ran                   |
    | `undone`           | parts of the running tasks that were still to be done, summed             |
    | `quality`          | credited to the new task when it starts, whatever becomes of it           |
    | `killed_quality`   | credited before to the tasks that the crash killed                        |
    | `forgone_quality`  | what the new task would have had, had it not crashed the site             |
    """
    now_s, rows = pools.now_s, pools.end_s.shape[0]
    taken = site != REJECT
    at = jnp.where(taken, site, 0)
    begins, ends = pools.begin_s[:, at], pools.end_s[:, at]
    running = ends > now_s
    free = pools.free[at]
    numbers = jnp.arange(rows, dtype=jnp.int32)
    row = jnp.where(running, rows, numbers).min()  # the first empty one; `rows` if there is none
    fits = taken & (steps <= free) & (row < rows)
    crash = taken & ~fits
    entries = {
        "assigned": number(taken),
        "refused": number(~taken),
        "crashes": number(crash),
        "crashed": jnp.where(crash, 1.0 + count(running), 0.0),
        "undone": jnp.where(crash, _undone(running, begins, ends, now_s), 0.0),
        "quality": jnp.where(fits, quality, 0.0),
        "killed_quality": jnp.where(crash, jnp.where(running, pools.quality[:, at], 0.0).sum(), 0.0),
        "forgone_quality": jnp.where(crash, quality, 0.0),
    }
    new = jnp.where(fits, row, rows)  # past the end: nothing is written
    left = jnp.where(fits, free - steps, jnp.where(crash, pools.capacity[at], free))
    ends = jnp.where(numbers == new, later(now_s, end_s), jnp.where(crash, jnp.minimum(ends, now_s), ends))
    after = dataclasses.replace(
        pools,
        free=pools.free.at[at].set(left),
        steps=pools.steps.at[new, at].set(steps, mode="drop"),
        begin_s=pools.begin_s.at[:, at].set(jnp.where(numbers == new, now_s, begins)),  # read above: spares XLA a copy
        end_s=pools.end_s.at[:, at].set(ends),
        quality=pools.quality.at[new, at].set(quality, mode="drop"),
    )
    return after, entries


def _undone(running: Array, begin_s: Array, end_s: Array, now_s: Array) -> Array:
    left = (end_s - now_s) / jnp.where(running, end_s - begin_s, 1.0)
    return jnp.where(running, left, 0.0).sum(axis=0)
