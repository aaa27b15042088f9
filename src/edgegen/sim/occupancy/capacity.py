"""A capacity of so many denoising steps per hour, a queue of so many hours, and what is beyond it is dropped.

Work is a fluid, in steps: the rule is for sites with very many tasks, such as data centres, where only amounts count. A site takes
in what it can finish within its patience, first come first served; the rest is dropped at once. In a world of hours without
a queue the patience is one hour, with a queue of three hours it is four. S sites.
"""

import dataclasses

import jax.numpy as jnp

from edgegen.core.arrays import Array
from edgegen.core.tree import value
from edgegen.sim.epochs import Entries


@value
class Capacities:
    """Sites and the work that waits there."""

    now_s: Array  # float[], the clock
    rate: Array  # float[S], steps per second
    patience_s: Array  # float[S], within which what is taken in must be finished
    power_w: Array  # float[S], at work
    waiting: Array  # float[S], steps taken in and not done

    @property
    def room(self) -> Array:
        """float[S], steps that a site would take in now."""
        return jnp.maximum(self.rate * self.patience_s - self.waiting, 0.0)


def empty(rate: Array, *, patience_s: Array | float, power_w: Array | float = 0.0) -> Capacities:
    """Return idle sites of these rates, float[S], at time 0."""
    wide = {
        name: jnp.broadcast_to(jnp.asarray(given, rate.dtype), rate.shape)
        for name, given in (("patience_s", patience_s), ("power_w", power_w))
    }
    return Capacities(now_s=jnp.zeros((), rate.dtype), rate=rate, waiting=jnp.zeros_like(rate), **wide)


def cleared(capacities: Capacities) -> Capacities:
    """Return the same sites idle at time 0."""
    return dataclasses.replace(
        capacities, now_s=jnp.zeros_like(capacities.now_s), waiting=jnp.zeros_like(capacities.waiting)
    )


def advance(capacities: Capacities, now_s: Array) -> tuple[Capacities, Entries]:
    """Go on to `now_s`. The entries are summed over sites:

    | entry       | meaning                             |
    |-------------|-------------------------------------|
    | `done`      | steps                               |
    | `busy_s`    | seconds in which a site was at work |
    | `energy_j`  | the same times its power            |
    """
    busy_s = jnp.minimum(capacities.waiting / capacities.rate, now_s - capacities.now_s)
    left = jnp.maximum(capacities.waiting - capacities.rate * (now_s - capacities.now_s), 0.0)
    entries = {
        "done": (capacities.waiting - left).sum(),
        "busy_s": busy_s.sum(),
        "energy_j": (capacities.power_w * busy_s).sum(),
    }
    return dataclasses.replace(capacities, now_s=now_s, waiting=left), entries


def admit(capacities: Capacities, steps: Array) -> tuple[Capacities, Entries, Array]:
    """Give work to the sites, float[S]; what is worth most goes first, in a call of its own.

    Also returns the part of it that each site took in, float[S]. The entries are summed over sites:

    | entry      | meaning                |
    |------------|------------------------|
    | `given`    | steps                  |
    | `taken`    | steps that were taken  |
    | `dropped`  | steps that were not    |
    """
    taken = jnp.minimum(steps, capacities.room)
    entries = {"given": steps.sum(), "taken": taken.sum(), "dropped": (steps - taken).sum()}
    part = jnp.where(steps > 0, taken / jnp.where(steps > 0, steps, 1.0), 1.0)
    return dataclasses.replace(capacities, waiting=capacities.waiting + taken), entries, part
