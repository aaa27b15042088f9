"""Numbers out of random words, so that one call of the generator gives all that chance decides in an epoch.

A key that is split for every number costs more than the world it serves. A world draws its words once, `words(key, 3)`, and
makes of each what it needs. Numbers are made in 32 bits whatever the precision of the process, so a seed means the same chance
everywhere. Each word must be used once.
"""

import jax
import jax.numpy as jnp

from edgegen.core.arrays import Array


def words(key, count: int) -> Array:
    """Draw uint32[count], each word uniform."""
    return jax.random.bits(key, (count,), jnp.uint32)


def uniform(word: Array) -> Array:
    """A number in [0, 1): a multiple of 2^-23."""
    mantissa = (word >> jnp.uint32(9)) | jnp.uint32(0x3F800000)  # of a number in [1, 2)
    return _wide(jax.lax.bitcast_convert_type(mantissa, jnp.float32) - jnp.float32(1))


def exponential(word: Array) -> Array:
    """A number >= 0 with mean 1."""
    return _wide(-jnp.log1p(-uniform(word).astype(jnp.float32)))


def whole(word: Array, low: int, high: int) -> Array:
    """An int32 in [low, high]; a power of two many are equally likely, others up to 2^-16 of their share.

    At most 65 536 numbers.
    """
    count = high - low + 1
    if not 0 < count <= 1 << 16:
        raise ValueError(f"expected low <= high and at most 65536 numbers, got {low} to {high}")
    return ((word >> jnp.uint32(16)) * jnp.uint32(count) >> jnp.uint32(16)).astype(jnp.int32) + low


def _wide(number: Array) -> Array:
    return number.astype(jnp.result_type(float))
