"""When tasks arrive: a Poisson process on an interval, padded to a fixed length so that episodes can be stacked.

Draws are made in 32 bits whatever the precision of the process, so a seed means the same episode everywhere.
"""

import math

import jax
import jax.numpy as jnp

from edgegen.core.arrays import Array
from edgegen.core.errors import InputError
from edgegen.core.tree import value


@value
class Arrivals:
    """L rows in order of time; rows that are not `live` are padding at the end, with time `horizon_s`."""

    live: Array  # bool[L]
    at_s: Array  # float[L]


def length_for(rate_hz: float, horizon_s: float) -> int:
    """Return the rows that a Poisson count needs: its mean and eight standard deviations, and a few for small means.

    **Raises** `InputError` when the mean is not a finite number >= 0.
    """
    mean = rate_hz * horizon_s
    if not (math.isfinite(mean) and rate_hz >= 0 and horizon_s >= 0):
        raise InputError(
            f"rate_hz and horizon_s must be finite and >= 0, got {rate_hz} and {horizon_s}", param="rate_hz"
        )
    return math.ceil(mean + 8 * math.sqrt(mean)) + 16


def poisson(key, *, rate_hz: float | Array, horizon_s: float, length: int) -> Arrivals:
    """Draw the arrivals of a Poisson process: a Poisson count, and that many sorted uniform times on [0, horizon_s].

    A count above `length` is cut to it; with `length_for` this has a probability below 1e-12.
    """
    how_many, when = jax.random.split(key)
    mean = jnp.asarray(rate_hz * horizon_s, dtype=jnp.float32)
    count = jnp.minimum(jax.random.poisson(how_many, mean, dtype=jnp.int32), length)
    live = jnp.arange(length, dtype=jnp.int32) < count
    share = jax.random.uniform(when, (length,), dtype=jnp.float32)
    share = jnp.sort(jnp.where(live, share, 1.0)).astype(jnp.result_type(float))
    return Arrivals(live=live, at_s=share * horizon_s)
