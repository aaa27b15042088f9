"""Proximal policy optimisation: the clipped loss by hand, minibatches, seeds and settings side by side."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from conformance.compiling import quickly
from edgegen.core.errors import InputError
from edgegen.learn import architectures, on_policy, ppo, rollout
from edgegen.learn.on_policy import Decisions, Descent, Horizon
from edgegen.sim import probes
from edgegen.sim.environment import Observation

PROBES = probes.probes()


class Plain(architectures.AbstractNetwork):
    """The same logits and the same value whatever is seen."""

    logits: jnp.ndarray
    held: jnp.ndarray

    def __call__(self, features):
        return self.logits, self.held


def decided(actions, advantages, ratios, logits):
    """Decisions of so much likelier actions now than when they were taken."""
    count = len(actions)
    log = jax.nn.log_softmax(jnp.asarray(logits))[jnp.asarray(actions)]
    seen = Observation(jnp.zeros((count, 1)), jnp.ones((count, len(logits)), bool))
    return Decisions(
        seen, jnp.asarray(actions), log - jnp.log(jnp.asarray(ratios)), jnp.asarray(advantages), jnp.zeros(count)
    )


def test_the_slope_of_the_clipped_loss_is_that_by_hand():
    logits, held = [0.4, -0.3, 0.1], 0.7
    actions, advantages = [0, 1, 2, 0, 1, 2], [1.0, 2.0, -1.0, -0.5, 3.0, -2.0]
    ratios = [1.1, 1.5, 0.5, 1.6, 0.6, 0.95]
    counts = [True, False, False, True, True, True]  # above 1.2 and better, below 0.8 and worse: no more of it
    probability = np.exp(logits) / np.exp(logits).sum()
    by_hand = np.zeros(3)
    for action, advantage, ratio, counted in zip(actions, advantages, ratios, counts, strict=True):
        by_hand -= counted * advantage * ratio * (np.eye(3)[action] - probability) / 6
    learner = ppo.PPO(clip=0.2, entropy=0.0, critic=0.5)
    batch = decided(actions, advantages, ratios, logits)
    slope, metrics = jax.grad(learner.loss, has_aux=True)(Plain(jnp.asarray(logits), jnp.asarray(held)), batch)
    np.testing.assert_allclose(slope.logits, by_hand, atol=1e-12)
    assert float(slope.held) == pytest.approx(0.5 * held)
    assert float(metrics["clipped"]) == pytest.approx(4 / 6)
    assert float(metrics["critic_loss"]) == pytest.approx(0.5 * held**2)


def test_the_entropy_is_paid_for_by_its_weight():
    logits = [1.0, 0.0]
    batch = decided([0, 1], [0.0, 0.0], [1.0, 1.0], logits)
    loss, metrics = ppo.PPO(entropy=0.3, critic=0.0).loss(Plain(jnp.asarray(logits), jnp.asarray(0.0)), batch)
    probability = np.exp(logits) / np.exp(logits).sum()
    entropy = -(probability * np.log(probability)).sum()
    assert float(metrics["entropy"]) == pytest.approx(entropy)
    assert float(loss) == pytest.approx(-0.3 * entropy)


# ------------------------------------------------------------------------------------------------------------ training

LEARNER = ppo.PPO(
    architecture=architectures.Apart((8,)),
    horizon=Horizon(gamma=probes.GAMMA, lam=0.5),
    descent=Descent(rate=1e-2),
    environments=8,
    length=4,
    epochs=2,
    minibatches=4,
)
ENVIRONMENTS = rollout.repeat(PROBES["mask"].environment, 8)


@quickly
def train(learner, key):
    state = learner.init(ENVIRONMENTS, key=key)
    return jax.lax.scan(lambda state, _: learner.iterate(ENVIRONMENTS, state), state, length=5)


@quickly
def first_update(learner, key):
    """Decisions of one rollout, the minibatches made of them, and the metrics of the first one."""
    state = learner.init(ENVIRONMENTS, key=key)
    decisions = on_policy.collect(state.network, ENVIRONMENTS, state.place, length=4, horizon=learner.horizon, key=key)[
        1
    ]
    batches = learner.shuffled(decisions, key)
    return decisions, batches, learner.loss(state.network, jax.tree.map(lambda leaf: leaf[0], batches))[1]


@pytest.fixture(scope="module")
def trained():
    return train(LEARNER, jax.random.key(4))


@pytest.fixture(scope="module")
def begun():
    return first_update(LEARNER, jax.random.key(4))


def test_at_the_first_update_nothing_is_likelier_than_it_was(begun):
    assert float(begun[2]["clipped"]) == 0.0


def test_a_minibatch_is_all_steps_of_some_environments_and_each_decision_is_in_one(begun):
    decisions, batches, _ = begun
    assert batches.action.shape == (4, 8)
    assert batches.observation.features.shape == (4, 8, 3)
    one, other = (np.asarray(leaf) for leaf in (decisions.log_probability, batches.log_probability))
    np.testing.assert_array_equal(np.sort(other.reshape(-1)), np.sort(one.reshape(-1)))
    whole = [tuple(column) for column in one.T]
    for batch in other:
        assert tuple(batch[0::2]) in whole  # step by step, an environment after the other
        assert tuple(batch[1::2]) in whole


def test_actions_that_are_not_allowed_are_never_taken(begun):
    assert not bool((begun[0].action == 2).any())


def test_steps_are_counted(trained):
    state, metrics = trained
    assert bool(jnp.isfinite(metrics["reward"]).all())
    assert int(state.updates) == 5 * LEARNER.updates_per_iteration == 40
    assert int(state.iterations) == 5
    assert LEARNER.steps_per_iteration == 32


def test_seeds_and_settings_side_by_side_learn_what_each_learns_alone(trained):
    keys, other_rate = jnp.stack([jax.random.key(4), jax.random.key(5)]), Descent(rate=2e-2)
    learners = dataclasses.replace(LEARNER, descent=Descent(rate=jnp.array([1e-2, 2e-2])))
    axes = dataclasses.replace(jax.tree.map(lambda _: None, LEARNER), descent=Descent(0, None, None, None))
    both, _ = jax.vmap(train, in_axes=(axes, 0))(learners, keys)
    other, _ = train(dataclasses.replace(LEARNER, descent=other_rate), keys[1])
    for row, alone in enumerate((trained[0], other)):
        for one, beside in zip(jax.tree.leaves(alone.mean), jax.tree.leaves(both.mean), strict=True):
            np.testing.assert_allclose(beside[row], one, atol=1e-10)


def test_minibatches_must_divide_the_environments():
    with pytest.raises(InputError, match="minibatches must divide the 64 environments, got 5"):
        ppo.PPO(minibatches=5)
