"""Soft actor-critic: its target, its losses and its update against NumPy by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from conformance.compiling import quickly
from edgegen.learn.batch import Batch
from edgegen.learn.sac import SAC

D, K, ROWS = 4, 3, 6
SMALL = SAC(hidden=(8, 6), alpha=0.3)


def softmax(x):
    x = np.exp(x - x.max(axis=-1, keepdims=True))
    return x / x.sum(axis=-1, keepdims=True)


def out(net, seen):
    return np.asarray(jax.vmap(net)(seen))  # networks by hand are in test_d2sac.py


@pytest.fixture(scope="module")
def batch():
    keys = jax.random.split(jax.random.key(2), 4)
    allowed = jnp.ones((ROWS, K), bool).at[0, 1].set(False)
    return Batch(
        observation=jax.random.uniform(keys[0], (ROWS, D)),
        allowed=allowed,
        action=jax.random.randint(keys[1], (ROWS,), 0, K, dtype=jnp.int32),
        reward=jax.random.normal(keys[2], (ROWS,)),
        next_observation=jax.random.uniform(keys[3], (ROWS, D)),
        next_allowed=jnp.ones((ROWS, K), bool),
        discount=jnp.array([0.9, 0.0, 0.9, 0.8, 0.0, 0.9]),
    )


@pytest.fixture(scope="module")
def params():
    draw = quickly(lambda seed: SMALL.init_params(D, K, key=jax.random.key(seed)))
    return dataclasses.replace(draw(0), target_critics=draw(1).critics)


@pytest.fixture(scope="module")
def updated(params, batch):
    return quickly(lambda params: SMALL.update(params, batch, jnp.ones(ROWS), key=jax.random.key(0)))(params)


def test_the_target_is_the_smaller_value_and_the_entropy_of_what_follows(params, batch):
    pi = softmax(out(params.actor, batch.next_observation))
    held = np.minimum(*(out(net, batch.next_observation) for net in params.target_critics))
    value = np.sum(pi * (held - 0.3 * np.log(pi)), axis=1)
    np.testing.assert_allclose(SMALL.target(params, batch), batch.reward + batch.discount * value, atol=1e-12)


def test_the_actor_is_judged_by_the_new_critics(params, batch, updated):
    after, _, metrics = updated
    logits = np.where(batch.allowed, out(params.actor, batch.observation), -1e9)
    pi = softmax(logits)
    entropy = -np.sum(pi * np.log(np.maximum(pi, 1e-300)), axis=1)
    held = np.minimum(*(out(net, batch.observation) for net in after.critics))
    want = -np.mean(np.sum(pi * held, axis=1) + 0.3 * entropy)
    assert float(metrics["actor_loss"]) == pytest.approx(want, abs=1e-12)
    assert float(metrics["entropy"]) == pytest.approx(entropy.mean(), abs=1e-12)


def test_one_update_moves_every_part_and_targets_by_tau(params, updated):
    after, missed, _ = updated
    assert missed.shape == (ROWS,)
    assert float(missed.min()) >= 0.0
    for old, new in zip(*(jax.tree.leaves(tree.actor) for tree in (params, after)), strict=True):
        assert float(jnp.abs(new - old).max()) == pytest.approx(1e-4, rel=0.01)  # the first step of Adam is its rate
    trees = (tree for tree in (params.target_critics, after.target_critics, after.critics))
    for old, new, online in zip(*(jax.tree.leaves(tree) for tree in trees), strict=True):
        np.testing.assert_allclose(new - old, 0.005 * (online - old), atol=1e-14)


def test_masked_actions_are_never_taken(params):
    rows = 300
    allowed = jnp.broadcast_to(jnp.array([True, False, True]), (rows, K))
    seen = jax.random.uniform(jax.random.key(7), (rows, D))
    assert set(SMALL.act(params, seen, allowed, key=jax.random.key(8)).tolist()) == {0, 2}
    deployed = SMALL.deployed(params)
    assert 1 not in SMALL.greedy(deployed, seen, allowed)
    assert len(jax.tree.leaves(deployed)) == len(jax.tree.leaves(params.actor))
