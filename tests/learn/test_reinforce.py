"""REINFORCE: its slope by hand, and a bandit with noise, with and without a learned baseline."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from conformance.compiling import quickly
from edgegen.learn import architectures, ppo, reinforce, rollout
from edgegen.learn.descent import Averaging
from edgegen.learn.on_policy import Decisions, Descent, Horizon
from edgegen.sim import environment, epochs
from edgegen.sim.environment import Observation


class Plain(architectures.AbstractNetwork):
    """The same logits and the same value whatever is seen."""

    logits: jnp.ndarray
    held: jnp.ndarray

    def __call__(self, features):
        return self.logits, self.held


def test_the_slope_is_that_by_hand():
    logits, actions, advantages, worth = [0.4, -0.3, 0.1], [0, 1, 2, 0], [1.0, 2.0, -1.0, 0.5], [1.0, 2.0, 0.0, 4.0]
    probability = np.exp(logits) / np.exp(logits).sum()
    by_hand = sum(
        -advantage * (np.eye(3)[action] - probability) / 4
        for action, advantage in zip(actions, advantages, strict=True)
    )
    seen = Observation(jnp.zeros((4, 1)), jnp.ones((4, 3), bool))
    decisions = Decisions(seen, jnp.asarray(actions), jnp.zeros(4), jnp.asarray(advantages), jnp.asarray(worth))
    learner = reinforce.Reinforce(entropy=0.0, critic=2.0)
    slope = jax.grad(lambda network: learner.loss(network, decisions)[0])(Plain(jnp.asarray(logits), jnp.asarray(1.0)))
    np.testing.assert_allclose(slope.logits, by_hand, atol=1e-12)
    assert float(slope.held) == pytest.approx(2.0 * (1.0 - np.mean(worth)))


# -------------------------------------------------------------------------------------------------------------- bandit


class Bandit(epochs.AbstractWorld):
    """Three arms with noise. It never ends, and nothing can be seen."""

    means: jnp.ndarray  # float[3]
    length: int = 8

    def chance(self, key):
        return jax.random.normal(key, ())

    def start(self):
        return jnp.zeros(())

    def advance(self, state, chance):
        del state
        return chance, chance, jnp.array(True), {}

    def view(self, state, event):
        del state, event
        return jnp.ones(1)

    def step(self, state, event, action):
        return state, {"earned": self.means[action] + event}


def _ones(view):
    return view


def _all(view):
    del view
    return jnp.ones(3, bool)


CODEC = environment.Codec(_ones, _all, environment.as_it_is, actions=3, weights={"earned": 1.0})
USUAL = {
    "horizon": Horizon(gamma=0.5, lam=1.0),
    "descent": Descent(rate=3e-2),
    "averaging": Averaging(0.0),
    "environments": 16,
    "length": 16,
}
LEARNERS = {
    "ppo": ppo.PPO(architecture=architectures.Apart((4,)), **USUAL),
    "reinforce": reinforce.Reinforce(architecture=architectures.Alone((4,)), **USUAL),
    "reinforce-with-baseline": reinforce.Reinforce(architecture=architectures.Apart((4,)), **USUAL),
}


@pytest.mark.parametrize("name", LEARNERS)
def test_the_best_arm_of_a_bandit_is_found_wherever_it_is(name):
    learner = LEARNERS[name]

    @quickly
    @jax.vmap
    def train(means, key):
        environments = rollout.repeat(environment.Environment(Bandit(means), CODEC), 16)
        state = learner.init(environments, key=key)
        state = jax.lax.fori_loop(0, 60, lambda _, state: learner.iterate(environments, state)[0], state)
        return jax.nn.softmax(state.network(jnp.ones(1))[0]), state.network(jnp.ones(1))[1]

    means = jnp.array([[0.0, 0.5, 1.0], [0.0, 1.0, 0.5], [1.0, 0.0, 0.5]])
    likely, held = train(means, jax.random.split(jax.random.key(0), 3))
    assert likely.argmax(axis=1).tolist() == [2, 1, 0]
    assert float(likely.max(axis=1).min()) > 0.7
    if name == "reinforce":
        assert not held.any()
    else:  # what is scaled by 0.1, earned in every step and discounted by half
        np.testing.assert_allclose(held, 0.1 * (likely * means).sum(axis=1) / (1.0 - 0.5), atol=0.05)
