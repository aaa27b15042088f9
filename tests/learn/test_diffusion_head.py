"""The head that denoises: its schedule, and what its output depends on."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from conformance.compiling import quickly
from edgegen.learn.diffusion_head import Schedule, diffusion_head, variance_preserving

D, K, ROWS = 4, 3, 5


@pytest.fixture(scope="module")
def head():
    return quickly(lambda key: diffusion_head(D, K, hidden=(8, 6), schedule=variance_preserving(), key=key))(
        jax.random.key(0)
    )


@pytest.fixture(scope="module")
def many():
    return quickly(lambda head, features, noise: head.many(features, noise))


@pytest.fixture(scope="module")
def features():
    return jax.random.uniform(jax.random.key(1), (ROWS, D))


@pytest.fixture(scope="module")
def noise(head):
    return head.noise(jax.random.key(2), ROWS)


def test_the_published_schedule():
    np.testing.assert_allclose(variance_preserving(5).betas, [0.196, 0.459, 0.636, 0.755, 0.835], atol=5e-4)


@pytest.mark.parametrize("steps", [1, 5, 50])
def test_reverse_steps_undo_noise_and_the_last_in_time_to_be_taken_adds_none(steps):
    schedule = variance_preserving(steps)
    left = np.cumprod(1.0 - np.asarray(schedule.betas))
    for step, (keep, shift, spread) in enumerate(schedule.reverse()):
        # With x = sqrt(left) x0 + sqrt(1 - left) noise, the mean of the step before is that of x0 and of so much noise.
        before = left[step - 1] if step else 1.0
        assert keep * np.sqrt(left[step]) == pytest.approx(np.sqrt(before))
        in_noise = keep * np.sqrt(1.0 - left[step]) - shift
        assert in_noise**2 + spread**2 == pytest.approx(1.0 - before)
        assert (spread == 0.0) == (step == 0)


def test_noise_is_normal_and_has_a_row_for_each_step(head):
    drawn = head.noise(jax.random.key(3), 4000)
    assert drawn.shape == (5, 4000, K)
    assert abs(float(drawn.mean())) < 0.02
    assert float(drawn.std()) == pytest.approx(1.0, abs=0.02)


def test_the_output_depends_on_the_features_on_where_it_starts_and_on_the_noise_of_every_step(
    head, many, features, noise
):
    out = many(head, features, noise)
    assert out.shape == (ROWS, K)
    assert bool((jnp.abs(many(head, features + 0.1, noise) - out) > 1e-6).all())
    for step in range(5):
        assert bool((jnp.abs(many(head, features, noise.at[step].add(0.1)) - out) > 1e-6).any(axis=-1).all()), step


def test_observations_do_not_mix(head, many, features, noise):
    out = many(head, features, noise)
    changed = many(head, features.at[2].add(1.0), noise)
    assert np.flatnonzero(jnp.any(out != changed, axis=-1)).tolist() == [2]
    np.testing.assert_allclose(out[1], many(head, features[1:2], noise[:, 1:2])[0], atol=1e-12)


def test_gradients_reach_every_part_of_the_network_through_all_steps(head, features, noise):
    slopes = quickly(jax.grad(lambda head: jnp.sum(jnp.square(head.many(features, noise)))))(head)
    for slope in jax.tree.leaves(slopes):
        assert float(jnp.abs(slope).max()) > 1e-6


def test_a_step_without_noise_changes_nothing(head, many, features):
    steps = dataclasses.replace(head, schedule=Schedule((1e-12,)))
    start = jax.random.normal(jax.random.key(4), (1, ROWS, K))
    np.testing.assert_allclose(many(steps, features, start), start[0], atol=1e-5)
