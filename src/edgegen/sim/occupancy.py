"""How a site is occupied: a pool of denoising steps that may run at once, and a crash when a task does not fit.

A task holds its steps from the moment it is admitted until it ends; there is no queue. A task that does not fit crashes
the site: it and everything that runs there are lost, and the pool is free again at once. The rule is exact in time: what
runs is a table with one row per running task, not a grid of time slots. S sites, R rows per site.
"""

import dataclasses

import jax.numpy as jnp

from edgegen.core.arrays import Array
from edgegen.core.decision import REJECT
from edgegen.core.errors import InputError
from edgegen.core.tree import value
from edgegen.sim.epochs import Entries


@value
class Pools:
    """Sites and what runs on them. A row with 0 steps is empty."""

    capacity: Array  # float[S], steps that may run at once
    steps: Array  # float[S, R], steps held by a running task
    begin_s: Array  # float[S, R]
    end_s: Array  # float[S, R]
    quality: Array  # float[S, R], credited when the task was admitted

    @property
    def running(self) -> Array:
        """bool[S, R], rows that hold a running task."""
        return self.steps > 0


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
    """Return idle sites with these capacities, float[S]; `rows` is from `rows_for`."""
    nothing = jnp.zeros((*capacity.shape, rows), dtype=capacity.dtype)
    return Pools(capacity=capacity, steps=nothing, begin_s=nothing, end_s=nothing, quality=nothing)


def free(pools: Pools) -> Array:
    """float[S], steps that nobody holds."""
    return pools.capacity - pools.steps.sum(axis=-1)


def release(pools: Pools, now_s: Array) -> tuple[Pools, Entries]:
    """Take away every task that has ended by `now_s`, and say how many and what quality they had."""
    over = pools.running & (pools.end_s <= now_s)
    entries = {"finished": count(over), "finished_quality": jnp.where(over, pools.quality, 0.0).sum(axis=0).sum()}
    return dataclasses.replace(pools, steps=jnp.where(over, 0.0, pools.steps)), entries


def undone(pools: Pools, now_s: Array) -> Array:
    """float[S], the work that a crash would lose: the sum over running tasks of the part that is still to be done."""
    left = (pools.end_s - now_s) / jnp.where(pools.running, pools.end_s - pools.begin_s, 1.0)
    return jnp.where(pools.running, left, 0.0).sum(axis=-1)


def admit(
    pools: Pools, site: Array, *, steps: Array, quality: Array, now_s: Array, end_s: Array
) -> tuple[Pools, Entries]:
    """Start a task on `site` (int[]) at once, or crash the site; `REJECT` refuses the task.

    Ended tasks must have been released. The entries, all of them always:

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
    taken = site != REJECT
    at = jnp.where(taken, site, 0)
    fits = taken & (steps <= free(pools)[at])
    crash = taken & ~fits
    running = pools.running[at]
    entries = {
        "assigned": _number(taken),
        "refused": _number(~taken),
        "crashes": _number(crash),
        "crashed": jnp.where(crash, 1.0 + count(running), 0.0),
        "undone": jnp.where(crash, undone(pools, now_s)[at], 0.0),
        "quality": jnp.where(fits, quality, 0.0),
        "killed_quality": jnp.where(crash, jnp.where(running, pools.quality[at], 0.0).sum(), 0.0),
        "forgone_quality": jnp.where(crash, quality, 0.0),
    }
    row = running.argmin()  # the first empty one; there is one whenever a task fits
    held = jnp.where(crash, 0.0, pools.steps[at])
    after = dataclasses.replace(
        pools,
        steps=pools.steps.at[at].set(held.at[row].set(jnp.where(fits, steps, held[row]))),
        begin_s=pools.begin_s.at[at, row].set(jnp.where(fits, now_s, pools.begin_s[at, row])),
        end_s=pools.end_s.at[at, row].set(jnp.where(fits, end_s, pools.end_s[at, row])),
        quality=pools.quality.at[at, row].set(jnp.where(fits, quality, pools.quality[at, row])),
    )
    return after, entries


def _number(flag: Array) -> Array:
    return flag.astype(jnp.result_type(float))


def count(flags: Array) -> Array:
    """How many flags are set, as a float; whole numbers may be added in any order, hence many at once."""
    return _number(flags.sum(dtype=jnp.int32))
