"""Soft actor-critics must find the best arm of a bandit by their updates alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edgegen.learn import actor_critic as ac
from edgegen.learn.batch import Batch
from edgegen.learn.d2sac import D2SAC
from edgegen.learn.sac import SAC

ROWS, UPDATES = 32, 400
MASKS = jnp.array([[True, True, True], [True, True, False]])
SETTINGS = {"actor_rate": 3e-3, "critic_rate": 1e-2, "tau": 0.05, "hidden": (16, 16)}


def bandit(key, allowed):
    """Three arms that are tried evenly, each better than the one before, then the end."""
    arms = jax.random.randint(key, (ROWS,), 0, 3, dtype=jnp.int32)
    seen, allowed = jnp.ones((ROWS, 2)), jnp.broadcast_to(allowed, (ROWS, 3))
    return Batch(
        observation=seen,
        allowed=allowed,
        action=arms,
        reward=0.5 * arms.astype(float),
        next_observation=seen,
        next_allowed=allowed,
        discount=jnp.zeros(ROWS),
    )


def learnt(algorithm, allowed):
    def once(params, key):
        drawing, updating = jax.random.split(key)
        return algorithm.update(params, bandit(drawing, allowed), jnp.ones(ROWS), key=updating)[0], None

    params = algorithm.init_params(2, 3, key=jax.random.key(0))
    return jax.lax.scan(once, params, jax.random.split(jax.random.key(1), UPDATES))[0]


@pytest.mark.parametrize("kind", [SAC, D2SAC], ids=lambda kind: kind.__name__)
def test_the_best_arm_that_is_allowed_is_found(kind):
    algorithm, seen = kind(**SETTINGS), jnp.ones((500, 2))
    many = jax.jit(jax.vmap(lambda allowed: learnt(algorithm, allowed)))(MASKS)
    for row, best in enumerate((2, 1)):
        params, allowed = jax.tree.map(lambda leaf, row=row: leaf[row], many), jnp.broadcast_to(MASKS[row], (500, 3))
        drawn = algorithm.act(params, seen, allowed, key=jax.random.key(2))
        assert np.mean(drawn == best) > 0.9
        assert int(algorithm.greedy(params, seen, allowed)[0]) == best
        held = ac.least(params.critics, seen[:1])[0]
        np.testing.assert_allclose(held[:2], [0.0, 0.5], atol=0.05)
