"""What on-policy learners train."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from conformance.compiling import quickly
from edgegen.learn import agent, architectures, on_policy
from edgegen.sim.environment import Codec, as_it_is

FEATURES, ACTIONS = 11, 4  # 4 actions with 2 features each, and 3 that are of no action
PLANS = {
    "apart": architectures.Apart((8, 6)),
    "together": architectures.Together((8, 6)),
    "alone": architectures.Alone((8,)),
    "alike": architectures.Alike((6, 5), critic=(8,)),
}


@pytest.fixture(scope="module")
def networks():
    def build(key):
        return {name: plan.build(FEATURES, ACTIONS, key=key) for name, plan in PLANS.items()}

    return quickly(build)(jax.random.key(0))


@pytest.mark.parametrize("plan", PLANS)
def test_networks_say_how_likely_actions_are_and_what_an_observation_is_worth(networks, plan):
    logits, held = networks[plan](jnp.linspace(0.0, 1.0, FEATURES))
    assert logits.shape == (ACTIONS,)
    assert held.shape == ()
    assert bool(jnp.isfinite(logits).all())


@pytest.mark.parametrize("plan", ["apart", "alone", "alike"])
def test_at_first_every_action_is_about_as_likely(networks, plan):
    probability = jax.nn.softmax(networks[plan](jnp.linspace(0.0, 1.0, FEATURES))[0])
    np.testing.assert_allclose(probability, 1.0 / ACTIONS, atol=0.02)


def test_an_actor_alone_holds_everything_to_be_worth_nothing(networks):
    slope = jax.grad(lambda network: network(jnp.ones(FEATURES))[1])(networks["alone"])
    assert float(networks["alone"](jnp.ones(FEATURES))[1]) == 0.0
    assert not any(leaf.any() for leaf in jax.tree.leaves(slope))


def test_actions_that_are_alike_are_scored_alike_until_something_is_learnt_about_one(networks):
    features = jnp.asarray(np.random.default_rng(0).random(FEATURES))
    order = np.array([2, 0, 3, 1])
    swapped = jnp.concatenate([features[:8].reshape(4, 2)[order].reshape(-1), features[8:]])
    network = networks["alike"]
    np.testing.assert_allclose(network(swapped)[0], network(features)[0][order], atol=1e-12)
    learnt = dataclasses.replace(network, apart=network.apart.at[1].set(1.0))
    changed = np.asarray(learnt(features)[0] != network(features)[0])
    assert changed.tolist() == [False, True, False, False]


@pytest.mark.parametrize("plan", PLANS)
def test_agents_of_every_architecture_come_back_from_their_files(networks, plan, tmp_path):
    codec = Codec(as_it_is, as_it_is, as_it_is, actions=ACTIONS, weights={})
    kept = agent.Agent(on_policy.Greedy(networks[plan]), codec)
    card = agent.Card("a", "ppo", FEATURES, ACTIONS, {}, {}, {})
    agent.save(tmp_path / "it.agent", kept, card)
    back, _ = agent.load(tmp_path / "it.agent", {"a": lambda card: codec})
    features = jnp.linspace(0.0, 1.0, FEATURES)
    np.testing.assert_array_equal(back.actor.network(features)[0], networks[plan](features)[0])
