"""Worlds step by step: the same as the loop, restarted where an episode ends."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edgegen.papers import aaas
from edgegen.sim import environment, epochs


class Steps(epochs.AbstractWorld):
    """A counter of epochs from `first`; the horizon is at `horizon`, and it breaks down at `most`."""

    first: jax.Array
    horizon: int = eqx.field(static=True, default=4)
    most: int = eqx.field(static=True, default=100)
    length: int = eqx.field(static=True, default=6)

    def chance(self, key):
        return jax.random.uniform(key)

    def start(self):
        return self.first

    def advance(self, state, chance):
        return state + 1, chance, state < self.horizon, {"passed": jnp.float64(1)}

    def view(self, state, event):
        return state

    def step(self, state, event, action):
        return state + jnp.where(action == 2, 100, 0), {"taken": action.astype(float)}

    def terminated(self, state):
        return state >= self.most


CODEC = environment.Codec(
    observe=lambda view: view[None].astype(float),
    allowed=lambda view: jnp.ones(3, dtype=bool),
    decode=lambda view, action: action,
    actions=3,
    weights={"taken": 2.0, "passed": -1.0},
)


def walk(actions, **world):
    """Take actions; return the steps."""
    environ = environment.Environment(Steps(jnp.int32(0), **world), CODEC)
    moment, seen = environ.reset(jax.random.key(0))
    assert seen.features == 1
    steps = []
    for number, action in enumerate(actions):
        moment, step = environ.step(moment, jnp.int32(action), jax.random.key(number))
        steps.append(step)
    return steps


def test_a_horizon_truncates_and_the_next_episode_begins():
    steps = walk([1] * 6)
    assert [bool(step.truncated) for step in steps] == [False, False, False, True, False, False]
    assert not any(step.terminated for step in steps)
    assert [float(step.observation.features[0]) for step in steps] == [2, 3, 4, 1, 2, 3]
    assert [float(step.final.features[0]) for step in steps] == [
        2,
        3,
        4,
        5,
        2,
        3,
    ]  # what is looked up for bootstrapping


def test_a_breakdown_terminates_and_earns_nothing_afterwards():
    steps = walk([1, 2, 1])
    assert [bool(step.terminated) for step in steps] == [False, True, False]
    assert not any(step.truncated for step in steps)
    assert [float(step.reward) for step in steps] == [2 - 1, 4, 2 - 1]
    assert float(steps[1].observation.features[0]) == 1


def test_a_breakdown_in_the_last_epoch_is_no_truncation():
    last = walk([1, 1, 1, 2])[-1]
    assert bool(last.terminated)
    assert not last.truncated


@pytest.fixture(scope="module")
def pool():
    return aaas.draw(jax.random.key(3), rate_hz=1e-4)


def test_step_by_step_earns_what_the_loop_earns(pool):
    """The environment's own chance, fed to the loop, gives the same rewards for the same actions."""
    environ = environment.Environment(pool, aaas.CODEC)
    keys = jax.random.split(jax.random.key(1), pool.length)
    moment, _ = environ.reset(keys[0])
    chances, rewards, actions = [pool.chance(keys[0])], [], []
    step = eqx.filter_jit(environ.step)
    for key in keys[1:]:
        action = jnp.int32(len(actions) % 3)  # crowded: crashes belong to it
        moment, came = step(moment, action, key)
        chances.append(pool.chance(jax.random.split(key)[0]))
        rewards.append(float(came.reward))
        actions.append(action)
        if came.ended:
            break
    padding = pool.length - len(chances)
    chance = jax.tree.map(lambda *rows: jnp.stack([*rows, *[rows[-1]] * padding]), *chances)
    taken = jnp.stack([*actions, *[actions[-1]] * (pool.length - len(actions))])
    run = epochs.simulate(pool, lambda view, key: taken[view.number], epochs.Episode(chance, jax.random.key(0)))
    assert int(run.live.sum()) == len(rewards) > 50
    assert min(rewards) < 0 < max(rewards)
    np.testing.assert_allclose(epochs.reward(run.ledger, aaas.WEIGHTS)[: len(rewards)], rewards, rtol=1e-12)


def test_an_actor_becomes_a_policy_of_the_world(pool):
    def last_allowed(seen, key):
        return seen.allowed.shape[0] - 1 - seen.allowed[::-1].argmax().astype(jnp.int32)

    run = epochs.simulate(pool, aaas.MASKED.policy(last_allowed), epochs.draw(pool, jax.random.key(2)))
    assert float(run.ledger["crashes"].sum()) == 0
    assert int(run.actions[0]) == aaas.PROVIDERS - 1
