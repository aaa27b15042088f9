"""What actor-critics share: choices under a mask, losses, Adam as torch has it, targets that follow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from conformance.compiling import quickly
from edgegen.learn import actor_critic as ac
from edgegen.learn.batch import Batch
from edgegen.learn.descent import adam, descend, follow, moments
from edgegen.learn.networks import perceptron

LOGITS = jnp.array([[0.5, -1.0, 2.0], [3.0, 1.0, -40.0]])
ALLOWED = jnp.array([[True, False, True], [True, True, True]])


def test_a_choice_sums_to_one_and_leaves_out_what_is_not_allowed():
    chosen = ac.choice(LOGITS, ALLOWED)
    np.testing.assert_allclose(chosen.probability.sum(axis=-1), 1.0, atol=1e-15)
    assert chosen.probability[0, 1] == 0.0
    np.testing.assert_allclose(chosen.probability[0, 2] / chosen.probability[0, 0], np.exp(1.5))


def test_the_entropy_counts_allowed_actions_only_and_its_gradient_is_finite():
    even = ac.choice(jnp.zeros((2, 3)), ALLOWED)
    np.testing.assert_allclose(even.entropy, np.log([2.0, 3.0]))
    entropy_slope = quickly(jax.grad(lambda logits, allowed: ac.choice(logits, allowed).entropy.sum()))
    only = jnp.array([[False, True, False]])
    assert float(ac.choice(LOGITS[:1], only).entropy[0]) == 0.0
    for allowed in (ALLOWED, jnp.broadcast_to(only, (2, 3))):
        slope = entropy_slope(LOGITS, allowed)
        assert bool(jnp.isfinite(slope).all())
        assert not slope[~allowed].any()


def test_actions_are_drawn_as_often_as_they_are_probable_and_the_best_is_the_most_probable():
    drawn = ac.draw(*(jnp.broadcast_to(row, (4000, 3)) for row in (LOGITS[0], ALLOWED[0])), jax.random.key(0))
    share = np.bincount(drawn, minlength=3) / 4000.0
    np.testing.assert_allclose(share, ac.choice(LOGITS[0], ALLOWED[0]).probability, atol=0.03)
    assert share[1] == 0.0
    assert ac.best(LOGITS, ALLOWED).tolist() == [2, 0]
    assert ac.best(LOGITS, ~ALLOWED)[0] == 1


@pytest.fixture(scope="module")
def critics():
    draw = quickly(lambda seed: perceptron((2, 4, 3), key=jax.random.key(seed)))
    return draw(5), draw(6)


def batch(rows):
    keys = jax.random.split(jax.random.key(6), 3)
    allowed = jnp.ones((rows, 3), bool)
    seen = jax.random.normal(keys[0], (rows, 2))
    return Batch(
        observation=seen,
        allowed=allowed,
        action=jax.random.randint(keys[1], (rows,), 0, 3),
        reward=jax.random.normal(keys[2], (rows,)),
        next_observation=seen + 1.0,
        next_allowed=allowed,
        discount=jnp.full(rows, 0.9),
    )


def test_the_critics_answer_for_the_action_taken_only_and_weights_multiply_their_squares(critics):
    some, target = batch(6), jnp.arange(6.0)
    weights = jnp.array([1.0, 0.0, 2.0, 1.0, 1.0, 0.5])
    loss, missed = quickly(ac.critic_loss)(critics, some, target, weights)
    said = np.asarray(ac.values(critics, some.observation))
    by_hand = np.stack([said[:, row, action] for row, action in enumerate(some.action)], axis=1) - np.arange(6.0)
    np.testing.assert_allclose(missed, by_hand, atol=1e-14)
    assert float(loss) == pytest.approx(float(np.sum(np.asarray(weights) * by_hand**2) / 6.0))
    assert bool((ac.least(critics, some.observation) == said.min(axis=0)).all())


def test_the_actor_gains_by_value_and_by_alpha_times_entropy():
    held = jnp.array([[1.0, 9.0, 3.0], [0.0, 0.0, 0.0]])
    chosen = ac.choice(jnp.zeros((2, 3)), ALLOWED)
    loss = ac.actor_loss(chosen, held, alpha=0.5)
    assert float(loss) == pytest.approx(-(2.0 + 0.5 * np.log(2.0) + 0.5 * np.log(3.0)) / 2.0)


def test_adam_takes_the_steps_of_its_equations_with_the_penalty_in_the_gradient():
    one_step = quickly(lambda param, slope, kept: descend(adam(0.1), param, slope, kept, rate=0.01))
    rng = np.random.default_rng(0)
    param, slopes = rng.normal(size=4), rng.normal(size=(3, 4))
    given, kept = jnp.asarray(param), moments(jnp.asarray(param))
    first, second = np.zeros(4), np.zeros(4)
    for step, slope in enumerate(slopes, start=1):
        given, kept = one_step(given, jnp.asarray(slope), kept)
        slope = slope + 0.1 * param
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        scale = np.sqrt(second / (1.0 - 0.999**step)) + 1e-8
        param = param - 0.01 * first / (1.0 - 0.9**step) / scale
    np.testing.assert_allclose(given, param, atol=1e-12)


def test_a_penalty_alone_moves_by_the_whole_rate_since_it_is_not_decoupled():
    param = jnp.array([2.0, -0.5])
    moved, _ = descend(adam(1e-4), param, jnp.zeros(2), moments(param), rate=0.01)
    np.testing.assert_allclose(param - moved, [0.01, -0.01], rtol=1e-3)


def test_targets_go_a_part_of_the_way():
    target = follow({"a": jnp.array(1.0)}, {"a": jnp.array(3.0)}, rate=0.005)
    assert float(target["a"]) == pytest.approx(1.01)
