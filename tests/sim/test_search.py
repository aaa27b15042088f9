"""Joint actions found by search."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edgegen.core.errors import InputError
from edgegen.sim import search


def rugged(seed, options=3, deciders=5):
    """A cost with many local optima, and all its values."""
    table = jnp.asarray(np.random.default_rng(seed).normal(size=(options,) * deciders))
    return lambda action: table[tuple(action)], table


def one_changed(action):
    changed = [action.at[i].set(k) for i, k in itertools.product(range(action.shape[0]), range(3))]
    return jnp.stack(changed)


def test_all_joint_actions_are_listed_once_in_the_order_of_their_digits():
    every = search.every(3, 4)
    np.testing.assert_array_equal(every @ 3 ** np.arange(4)[::-1], np.arange(81))


def test_more_joint_actions_than_can_be_listed_are_refused():
    with pytest.raises(InputError, match="20 times 3 options are 3486784401 joint actions"):
        search.every(3, 20)


@pytest.mark.parametrize("seed", range(5))
def test_the_cheapest_of_all_is_the_least_value(seed):
    cost, table = rugged(seed)
    action, least = search.cheapest(cost, jnp.asarray(search.every(3, 5)))
    assert float(least) == float(table.min()) == float(cost(action))


@pytest.mark.parametrize("seed", range(5))
def test_a_descent_ends_where_no_neighbour_is_better(seed):
    cost, _ = rugged(seed)
    start = jnp.zeros(5, dtype=jnp.int32)
    end = search.descend(cost, start, one_changed)
    assert float(cost(end)) <= float(cost(start))
    assert float(cost(end)) <= float(jax.vmap(cost)(one_changed(end)).min())


def test_a_descent_ends_where_all_cost_the_same():
    start = jnp.array([1, 2, 0, 0, 0])
    end = search.descend(lambda action: jnp.float64(1), start, one_changed)
    np.testing.assert_array_equal(end, start)
