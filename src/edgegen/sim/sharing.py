"""Servers that divide themselves among their tasks, and what they do not get done: processor sharing with a backlog.

All tasks of an epoch come at once. A server first works off what it already has, then runs the new tasks side by side, each
with its share; how the shares come about (equal, chosen) is the caller's. What is not done when the epoch ends is the backlog
of the next. Work has any unit, such as cycles. E servers, N tasks; a task whose site is negative is on none of them.
"""

import dataclasses

import jax.numpy as jnp

from edgegen.core.arrays import Array, one_hot, take_rows
from edgegen.core.tree import value
from edgegen.sim.epochs import Entries


@value
class Servers:
    """Servers and what they still have to do."""

    speed: Array  # float[E], work per second
    backlog: Array  # float[E], work

    @property
    def wait_s(self) -> Array:
        """float[E], how long the backlog takes."""
        return self.backlog / self.speed


def idle(speed: Array) -> Servers:
    """Return servers of these speeds, float[E], with nothing to do."""
    return Servers(speed=speed, backlog=jnp.zeros_like(speed))


def crowd(site: Array, servers: int) -> Array:
    """float[E], how many tasks are on each server."""
    return one_hot(jnp, site, servers).sum(axis=0, dtype=jnp.int32).astype(jnp.result_type(float))


def equal_share(site: Array, servers: int) -> Array:
    """float[N], each task's share where every server treats its tasks alike; 1 for a task that is on none."""
    return 1.0 / take_rows(jnp, crowd(site, servers), site, 1.0)


def finish_s(servers: Servers, site: Array, *, work: Array, share: Array) -> Array:
    """float[N], when each task is done: after the backlog, at its share of the speed. 0 for a task that is on no server."""
    speed = take_rows(jnp, servers.speed, site, 1.0)
    own = work / (speed * jnp.where(site >= 0, share, 1.0))
    return jnp.where(site >= 0, take_rows(jnp, servers.wait_s, site, 0.0) + own, 0.0)


def work_off(servers: Servers, site: Array, *, work: Array, seconds: float) -> tuple[Servers, Entries]:
    """Take in the tasks and let so many seconds pass. The entries are `taken` and `done`, in units of work."""
    taken = jnp.where(one_hot(jnp, site, servers.speed.shape[0]), work[:, None], 0.0).sum(axis=0)
    waiting = servers.backlog + taken
    left = jnp.maximum(waiting - servers.speed * seconds, 0.0)
    return dataclasses.replace(servers, backlog=left), {"taken": taken.sum(), "done": (waiting - left).sum()}
