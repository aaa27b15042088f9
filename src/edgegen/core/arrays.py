"""One implementation for two array libraries: NumPy in the live path, JAX under jit and vmap.

Live snapshots are built in NumPy; the simulator traces the same functions with JAX. Functions that are written
with `namespace(...)` and without in-place updates serve both.
"""

import functools
import sys
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numpy as np

P = ParamSpec("P")
R = TypeVar("R")
Array = Any  # a numpy.ndarray or a jax.Array; shapes stand in the docstrings


def namespace(*values: Array) -> Any:
    """Return `jax.numpy` when any value is a JAX array, otherwise `numpy`."""
    jax = sys.modules.get("jax")
    if jax is None:
        return np
    for value in values:
        # The type comes first: asking jax takes microseconds, and the live path asks some thirty times per decision.
        if type(value) is not np.ndarray and isinstance(value, jax.Array):
            return jax.numpy
    return np


def next_power_of_two(count: int, *, least: int = 1) -> int:
    """Return the smallest power of two that is at least `count` and `least`."""
    size = max(int(count), int(least), 1)
    return 1 << (size - 1).bit_length()


def take_rows(xp: Any, table: Array, rows: Array, default: Any) -> Array:
    """Return `table[rows]`, with `default` where a row is negative or past the end."""
    inside = (rows >= 0) & (rows < table.shape[0])
    values = table[xp.where(inside, rows, 0)]
    return xp.where(inside.reshape(inside.shape + (1,) * (values.ndim - inside.ndim)), values, default)


def one_hot(xp: Any, rows: Array, count: int) -> Array:
    """Return booleans [T, count] that mark each row's column; sentinels mark none."""
    return rows[:, None] == xp.arange(count, dtype=rows.dtype)[None, :]


def padding_is_silent(function: Callable[P, R]) -> Callable[P, R]:
    """Let padding hold NaN and infinities without NumPy warnings; masks keep them out of every result."""

    @functools.wraps(function)
    def silent(*args: P.args, **kwargs: P.kwargs) -> R:
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            return function(*args, **kwargs)

    return silent
