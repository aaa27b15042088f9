"""Joint actions found by search, inside a policy: among all where they are few, else from better to better.

What the search compares is the cost of one epoch. It does not look ahead, so over an episode its best is no bound.
"""

import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from edgegen.core.arrays import Array
from edgegen.core.errors import InputError

MOST = 4096
Cost = Callable[[Array], Array]  # a joint action, [N] -> float[]


def every(options: int, deciders: int) -> np.ndarray:
    """int[options^N, N], all joint actions; number k has the digits of k, the first decider's first.

    **Raises** `InputError` when they are too many to list.
    """
    count = options**deciders
    if count > MOST:
        raise InputError(f"{deciders} times {options} options are {count} joint actions; at most {MOST} can be listed")
    return np.array(list(itertools.product(range(options), repeat=deciders)), dtype=np.int32)


def cheapest(cost: Cost, actions: Array) -> tuple[Array, Array]:
    """Return the best of some joint actions, [M, N], and its cost; of equals the first."""
    costs = jax.vmap(cost)(actions)
    return actions[costs.argmin()], costs.min()


def descend(cost: Cost, start: Array, neighbours: Callable[[Array], Array]) -> Array:
    """Go on to the best neighbour, [M, N], while it costs less. It ends: the cost falls, and joint actions are finite."""

    def improve(found: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        action, least, _ = found
        near, costs = cheapest(cost, neighbours(action))
        better = costs < least
        return jnp.where(better, near, action), jnp.where(better, costs, least), better

    begin = (start, cost(start), jnp.ones((), dtype=bool))
    return jax.lax.while_loop(lambda found: found[2], improve, begin)[0]
