"""Memories: what is stored, how it is drawn, and n-step returns against a plain loop."""

import dataclasses
import random

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edgegen.core.errors import InputError
from edgegen.learn import buffers
from edgegen.learn.batch import Batch
from edgegen.learn.rollout import Rollout
from edgegen.sim.environment import Observation, Step

add = eqx.filter_jit(lambda memory, kept, new: memory.add(kept, new))
_draw = eqx.filter_jit(lambda memory, kept, count, key: memory.draw(kept, count=count, key=key))
revalue = eqx.filter_jit(lambda memory, kept, rows, errors: memory.revalue(kept, rows, errors))


def draw(memory, kept, count, seed):
    return _draw(memory, kept, count, jax.random.key(seed))


def seen(numbers):
    numbers = jnp.asarray(numbers, dtype=float)
    return Observation(features=numbers[..., None], allowed=(numbers % 2 == 0)[..., None])


def rollout_of(reward, terminated, truncated):
    """T steps in E environments; observations are numbers that tell the step and the environment apart."""
    length, width = reward.shape
    at = np.arange(length)[:, None] + 1000.0 * np.arange(width)
    step = Step(
        observation=seen(at + 1),
        final=seen(at + 0.5),
        reward=jnp.asarray(reward),
        terminated=jnp.asarray(terminated),
        truncated=jnp.asarray(truncated),
        ledger={},
    )
    return Rollout(observation=seen(at), action=jnp.asarray(at, dtype=jnp.int32), kept=None, step=step)


def by_hand(rollout, start, environment, n, gamma):
    """One n-step transition, as one would write it down: the return, the observation that it leads to, the discount."""
    total, discount, steps = 0.0, 1.0, jax.tree.map(np.asarray, rollout.step)
    for k in range(n):
        step = jax.tree.map(lambda leaf, k=k: leaf[start + k, environment], steps)
        total, discount = total + discount * float(step.reward), discount * gamma
        if step.terminated:
            return total, float(step.final.features[0]), 0.0
        if step.truncated:
            break
    return total, float(step.final.features[0]), discount


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_returns_are_those_of_a_plain_loop_wherever_episodes_end(n):
    chance = random.Random(n)
    shape = (14, 3)
    reward = np.array([[chance.uniform(-2, 2) for _ in range(shape[1])] for _ in range(shape[0])])
    ends = np.array([[chance.choice("......tc") for _ in range(shape[1])] for _ in range(shape[0])])
    ends[:4, 0], ends[-3:, 1] = list("tc.t"), list("ctc")  # one after another, and at both edges
    rollout = rollout_of(reward, ends == "t", ends == "c")
    found = jax.tree.map(np.asarray, jax.jit(lambda rollout: buffers.transitions(rollout, n=n, gamma=0.9))(rollout))
    assert found.reward.shape == (shape[0] - n + 1, shape[1])
    for start in range(shape[0] - n + 1):
        for environment in range(shape[1]):
            total, following, discount = by_hand(rollout, start, environment, n, 0.9)
            at = start, environment
            assert float(found.reward[at]) == pytest.approx(total, rel=1e-12)
            assert float(found.next_observation[at][0]) == following
            assert float(found.discount[at]) == pytest.approx(discount, rel=1e-12)
            assert bool(found.next_allowed[at][0]) == (following % 2 == 0)
            assert float(found.observation[at][0]) == float(found.action[at]) == start + 1000 * environment


def numbered(first, count):
    """Transitions whose reward is their number."""
    numbers = jnp.arange(first, first + count, dtype=float)
    return Batch(
        observation=numbers[:, None],
        allowed=jnp.ones((count, 2), dtype=bool),
        action=jnp.zeros(count, dtype=jnp.int32),
        reward=numbers,
        next_observation=numbers[:, None],
        next_allowed=jnp.ones((count, 2), dtype=bool),
        discount=jnp.ones(count),
    )


MEMORIES = [buffers.Uniform(10), buffers.Prioritised(10)]


@pytest.mark.parametrize("memory", MEMORIES, ids=lambda memory: type(memory).__name__)
def test_the_oldest_are_overwritten_and_only_what_is_there_is_drawn(memory):
    kept = memory.empty(numbered(0, 4))  # 10 rows become 12
    for first, oldest in ((0, 0), (4, 0), (8, 0), (12, 4), (16, 8)):
        kept = add(memory, kept, numbered(first, 4))
        sample = draw(memory, kept, 400, first)
        assert set(np.asarray(sample.batch.reward)) == set(range(oldest, first + 4))
        np.testing.assert_array_equal(sample.batch.observation[:, 0], sample.batch.reward)
        assert (sample.weights == 1).all()


def test_a_memory_without_room_is_refused():
    with pytest.raises(InputError, match="capacity must be at least 1 transition, got 0"):
        buffers.Uniform(0)


def ranked(count, capacity, errors, memory):
    kept = memory.empty(numbered(0, count))
    kept = add(memory, kept, numbered(0, count))
    return revalue(memory, kept, jnp.arange(count, dtype=jnp.int32), jnp.asarray(errors))


@pytest.mark.parametrize("count", [7, 5000])  # one level of sums, four
def test_rows_are_drawn_in_proportion_to_their_priorities(count):
    memory = buffers.Prioritised(2 * count, alpha=0.5, beta=1.0)
    errors = np.random.default_rng(count).exponential(size=count) ** 2
    kept = ranked(count, 2 * count, errors, memory)
    share = errors**0.5 / (errors**0.5).sum()
    draws = 40 * count
    sample = draw(memory, kept, draws, 0)
    found = np.bincount(sample.rows, minlength=count)
    assert found.shape == (count,)  # nothing from the rows that are empty
    # Points are spread evenly over equal parts of the line: a row is met its share of times, give or take two.
    assert np.abs(found - draws * share).max() <= 2


def test_weights_make_up_for_priorities():
    """With beta 1 a weighted mean over draws estimates the plain mean; with beta 0 there are no weights."""
    count = 50
    errors = np.linspace(0.1, 3.0, count)
    memory = buffers.Prioritised(count, alpha=1.0, beta=1.0)
    kept = ranked(count, count, errors, memory)
    sample = draw(memory, kept, 20_000, 1)
    assert float(sample.weights.max()) == 1.0
    np.testing.assert_allclose(sample.weights, errors[0] / errors[sample.rows], rtol=1e-4)
    estimate = float((sample.weights * sample.batch.reward).sum() / sample.weights.sum())
    assert estimate == pytest.approx(np.arange(count).mean(), rel=0.01)
    assert float(sample.batch.reward.mean()) > 1.2 * estimate
    flat = dataclasses.replace(memory, beta=0.0)
    assert (draw(flat, kept, 100, 2).weights == 1).all()


def test_new_transitions_are_given_the_greatest_priority():
    memory = buffers.Prioritised(20, alpha=1.0)
    kept = ranked(10, 20, [5.0] + [0.01] * 9, memory)
    kept = add(memory, kept, numbered(10, 10))
    sample = draw(memory, kept, 1000, 0)
    assert float((sample.batch.reward >= 10).mean()) == pytest.approx(50 / 55.09, abs=0.01)


def test_sums_stay_those_of_their_children_after_many_updates_in_single_precision():
    memory = buffers.Prioritised(3000)
    kept = memory.empty(
        jax.tree.map(lambda leaf: leaf.astype(jnp.float32) if leaf.dtype == float else leaf, numbered(0, 3000))
    )
    kept = add(memory, kept, numbered(0, 3000))

    def once(kept, key):
        sample = memory.draw(kept, 64, key=key)
        errors = 10.0 ** jax.random.uniform(key, (64,), jnp.float32, -4, 4)
        return memory.revalue(kept, sample.rows, errors), sample.rows.max()

    kept, most = jax.lax.scan(once, kept, jax.random.split(jax.random.key(0), 500))
    assert int(most.max()) < 3000
    leaves, top = np.asarray(kept.sums[0], float), np.asarray(kept.sums[-1], float)
    assert len(top) <= buffers.TOP
    np.testing.assert_allclose(top.sum(), leaves.sum(), rtol=1e-5)
    np.testing.assert_allclose(kept.sums[1][:750], leaves.reshape(-1, buffers.CHILDREN).sum(axis=1), rtol=1e-5)
