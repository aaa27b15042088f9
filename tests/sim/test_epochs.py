"""The loop, on a world of one number that events raise and actions multiply."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from edgegen.sim import epochs


class Numbers(epochs.AbstractWorld):
    first: jax.Array

    def events(self, key):
        return jax.random.uniform(key, (6,)), jnp.arange(6) < 4

    def start(self):
        return self.first

    def advance(self, state, event):
        return state + event, {"raised": event}

    def view(self, state, event):
        return state

    def step(self, state, event, action):
        return state * action, {"value": state * action}


class Times(eqx.Module):
    factor: jax.Array

    def __call__(self, view, key):
        return self.factor


def at_random(view, key):
    return jax.random.uniform(key)


WORLD = Numbers(jnp.float64(1.0))


def test_the_loop_advances_shows_and_steps_in_this_order():
    episode = epochs.draw(WORLD, jax.random.key(0))
    run = epochs.simulate(WORLD, Times(jnp.float64(2.0)), episode)
    state, values = 1.0, []
    for event in episode.events[:4].tolist():
        state = (state + event) * 2
        values.append(state)
    np.testing.assert_allclose(run.ledger["value"], [*values, 0, 0])
    np.testing.assert_allclose(run.state, values[-1])


def test_padding_may_hold_anything_and_changes_nothing():
    episode = epochs.draw(WORLD, jax.random.key(0))
    spoiled = epochs.Episode(events=episode.events.at[4:].set(jnp.nan), live=episode.live, key=episode.key)
    clean, dirty = (epochs.simulate(WORLD, at_random, given) for given in (episode, spoiled))
    np.testing.assert_array_equal(dirty.state, clean.state)
    for name, entries in clean.ledger.items():
        np.testing.assert_array_equal(dirty.ledger[name], entries)


def test_a_policy_with_parameters_can_be_stacked_like_anything_else():
    episode = epochs.draw(WORLD, jax.random.key(0))
    runs = jax.vmap(lambda policy: epochs.simulate(WORLD, policy, episode).state)(Times(jnp.array([0.0, 1.0])))
    np.testing.assert_allclose(runs, [0.0, 1.0 + float(episode.events[:4].sum())])


def test_the_instance_and_the_episode_come_from_different_keys():
    worlds = epochs.stack([WORLD, Numbers(jnp.float64(7.0))])
    keys = jnp.broadcast_to(jax.random.split(jax.random.key(1), 3), (2, 3))
    episodes = epochs.draw_many(worlds, keys)
    np.testing.assert_array_equal(episodes.events[0], episodes.events[1])
    assert len(np.unique(episodes.events[0])) == 18
    sums = epochs.totals(worlds, at_random, episodes)
    assert sums["value"].shape == (2, 3)
    np.testing.assert_array_equal(sums["raised"][0], sums["raised"][1])


def test_reward_is_weights_times_ledger():
    ledger = {"value": jnp.array([1.0, 2.0]), "raised": jnp.array([10.0, 20.0]), "other": jnp.array([5.0, 5.0])}
    np.testing.assert_allclose(epochs.reward(ledger, {"value": 3.0, "raised": -0.5}), [-2.0, -4.0])
