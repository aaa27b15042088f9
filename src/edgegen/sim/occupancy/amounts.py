"""Sums for ledgers, and the shortest time, as the rules of occupancy need them."""

import jax
import jax.numpy as jnp

from edgegen.core.arrays import Array


def number(flag: Array) -> Array:
    """1.0 where a flag is set, else 0.0."""
    return flag.astype(jnp.result_type(float))


def count(flags: Array) -> Array:
    """How many flags are set, as a float."""
    return total(number(flags))


def total(table: Array) -> Array:
    """The sum of all entries. Terms of a product are added many at once, those of a sum one by one."""
    ones = jnp.ones(table.size, table.dtype)
    return jnp.vdot(table.reshape(-1), ones, precision=jax.lax.Precision.HIGHEST)


def later(now_s: Array, end_s: Array) -> Array:
    """An end that is later than now: a task that takes no time is over at the next moment, not before it was there."""
    least_s = jnp.maximum(jnp.nextafter(now_s, jnp.inf), jnp.finfo(now_s.dtype).tiny)  # what is smaller counts as 0
    return jnp.maximum(end_s, least_s)
