"""Soft actor-critics must find the best arm of a bandit by their updates alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from conformance.compiling import quickly
from edgegen.learn import actor_critic as ac
from edgegen.learn.batch import Batch
from edgegen.learn.d2sac import D2SAC
from edgegen.learn.diffusion_head import variance_preserving
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


def outcome(algorithm, allowed):
    """What is learnt: actions drawn, the greedy one, the smaller value of each arm."""

    def once(params, key):
        drawing, updating = jax.random.split(key)
        return algorithm.update(params, bandit(drawing, allowed), jnp.ones(ROWS), key=updating)[0], None

    params = algorithm.init_params(2, 3, key=jax.random.key(0))
    params, _ = jax.lax.scan(once, params, jax.random.split(jax.random.key(1), UPDATES))
    seen, masks = jnp.ones((500, 2)), jnp.broadcast_to(allowed, (500, 3))
    drawn = algorithm.act(params, seen, masks, key=jax.random.key(2))
    return drawn, algorithm.greedy(params, seen[:1], masks[:1])[0], ac.least(params.critics, seen[:1])[0]


@pytest.mark.parametrize(
    "algorithm", [SAC(**SETTINGS), D2SAC(**SETTINGS, schedule=variance_preserving(3))], ids=["SAC", "D2SAC"]
)
def test_the_best_arm_that_is_allowed_is_found(algorithm):
    drawn, greedy, held = quickly(jax.vmap(lambda allowed: outcome(algorithm, allowed)))(MASKS)
    for row, best in enumerate((2, 1)):
        assert np.mean(drawn[row] == best) > 0.9
        assert int(greedy[row]) == best
        np.testing.assert_allclose(held[row, :2], [0.0, 0.5], atol=0.05)
