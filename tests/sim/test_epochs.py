"""The loop, on a world of one number that chance raises and actions multiply."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from edgegen.sim import epochs


class Numbers(epochs.AbstractWorld):
    """Four epochs at most; the system breaks down once the number is above `most`."""

    first: jax.Array
    most: float = eqx.field(static=True, default=jnp.inf)
    length: int = eqx.field(static=True, default=6)

    def chance(self, key):
        return jax.random.uniform(key)

    def start(self):
        return self.first, jnp.int32(0)

    def advance(self, state, chance):
        number, count = state
        return (number + chance, count + 1), chance, count < 4, {"raised": chance}

    def view(self, state, event):
        return state[0]

    def step(self, state, event, action):
        number, count = state
        return (number * action, count), {"value": number * action}

    def terminated(self, state):
        return state[0] > self.most


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
    for raised in episode.chance[:4].tolist():
        state = (state + raised) * 2
        values.append(state)
    np.testing.assert_allclose(run.ledger["value"], [*values, 0, 0])
    np.testing.assert_array_equal(run.live, [True] * 4 + [False] * 2)
    np.testing.assert_allclose(run.state[0], values[-1])


def test_the_episode_is_over_once_the_system_has_come_to_an_end():
    episode = epochs.draw(WORLD, jax.random.key(0))
    run = epochs.simulate(Numbers(jnp.float64(1.0), most=4.0), Times(jnp.float64(2.0)), episode)
    values = np.asarray(run.ledger["value"])
    assert values[0] < 4 < values[1]
    assert (values[2:] == 0).all()
    assert run.state[0] == values[1]


def test_what_is_past_the_horizon_changes_nothing():
    episode = epochs.draw(WORLD, jax.random.key(0))
    spoiled = epochs.Episode(chance=episode.chance.at[4:].set(jnp.nan), key=episode.key)
    clean, dirty = (epochs.simulate(WORLD, at_random, given) for given in (episode, spoiled))
    np.testing.assert_array_equal(dirty.state[0], clean.state[0])
    for name, entries in clean.ledger.items():
        np.testing.assert_array_equal(dirty.ledger[name], entries)


def test_a_policy_with_parameters_can_be_stacked_like_anything_else():
    episode = epochs.draw(WORLD, jax.random.key(0))
    runs = jax.vmap(lambda policy: epochs.simulate(WORLD, policy, episode).state[0])(Times(jnp.array([0.0, 1.0])))
    np.testing.assert_allclose(runs, [0.0, 1.0 + float(episode.chance[:4].sum())])


def test_the_instance_and_the_episode_come_from_different_keys():
    worlds = epochs.stack([WORLD, Numbers(jnp.float64(7.0))])
    keys = jnp.broadcast_to(jax.random.split(jax.random.key(1), 3), (2, 3))
    episodes = epochs.draw_many(worlds, keys)
    np.testing.assert_array_equal(episodes.chance[0], episodes.chance[1])
    assert len(np.unique(episodes.chance[0])) == 18
    sums = epochs.totals(worlds, at_random, episodes)
    assert sums["value"].shape == (2, 3)
    np.testing.assert_array_equal(sums["raised"][0], sums["raised"][1])
    np.testing.assert_array_equal(sums["epochs"], np.full((2, 3), 4.0))


def test_reward_is_weights_times_ledger():
    ledger = {"value": jnp.array([1.0, 2.0]), "raised": jnp.array([10.0, 20.0]), "other": jnp.array([5.0, 5.0])}
    np.testing.assert_allclose(epochs.reward(ledger, {"value": 3.0, "raised": -0.5}), [-2.0, -4.0])
