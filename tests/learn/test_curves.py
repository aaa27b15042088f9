"""Belief about a curve: it holds the truth at every moment, and comes to it."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from edgegen.learn import curves

STEPS = np.arange(100.0, 251, 10)
KNEES = np.linspace(0, 250, 21)
SHAPES = curves.Shapes(curves.two_knees(KNEES, KNEES, STEPS), height=0.5, spread=12**-0.5, blur=0.01)
believe = eqx.filter_jit(SHAPES.believe)


def scores(curve, where):
    """Counts and sums of the scores that were seen at these indices of steps."""
    count = np.bincount(where, minlength=len(STEPS)).astype(float)
    return jnp.asarray(count), jnp.asarray(count * curve)


def drawn(seed):
    rng = np.random.default_rng(seed)
    first, second = rng.uniform(0, 90), rng.uniform(150, 240)  # on no grid
    curve = rng.uniform(0.05, 0.95) * curves.two_knees(np.array([first]), np.array([second]), STEPS)[0]
    return curve, rng.permutation(len(STEPS))


def test_shapes_start_at_the_first_knee_and_end_at_the_second():
    shapes = curves.two_knees(np.array([0.0, 100.0]), np.array([100.0, 200.0]), np.array([50.0, 100.0, 150.0, 200.0]))
    assert shapes.tolist() == [[0.5, 1, 1, 1], [0.25, 0.5, 0.75, 1], [0, 0, 0.5, 1]]  # 100 is not before 100


def test_before_any_score_every_curve_is_the_mean_shape_at_half_its_height():
    belief = believe(jnp.zeros(len(STEPS)), jnp.zeros(len(STEPS)))
    np.testing.assert_allclose(belief.mean, 0.5 * SHAPES.shapes.mean(axis=0))
    assert (belief.spread > 0.1).all()


@pytest.mark.parametrize("seed", range(20))
def test_belief_holds_the_truth_from_the_first_score_to_the_last(seed):
    curve, order = drawn(seed)
    for many in range(1, len(STEPS) + 1):
        belief = believe(*scores(curve, order[:many]))
        assert (np.abs(belief.mean - curve) <= 3 * belief.spread + 3 * SHAPES.blur).all(), many


def test_four_scores_show_the_rest_of_a_curve():
    off = []
    for seed in range(40):
        curve, _ = drawn(seed)
        off.append(np.abs(believe(*scores(curve, [0, 5, 10, 15])).mean - curve).max())
    assert np.mean(off) < 0.02
    assert np.max(off) < 0.06


def test_a_score_that_was_seen_is_believed_however_often():
    curve, order = drawn(3)
    once, often = believe(*scores(curve, order[:5])), believe(*scores(curve, np.repeat(order[:5], 50)))
    np.testing.assert_allclose(once.mean[order[:5]], curve[order[:5]])
    np.testing.assert_array_equal(once.spread[order[:5]], 0)
    np.testing.assert_allclose(often.mean, once.mean)


def test_the_exact_curve_is_found_where_its_shape_is_on_the_list():
    shape = SHAPES.shapes[57]
    belief = believe(*scores(0.7 * shape, range(0, len(STEPS), 2)))
    np.testing.assert_allclose(belief.mean, 0.7 * shape, atol=2e-3)


def test_it_works_in_32_bits():
    curve, order = drawn(5)
    count, total = scores(curve, order[:6])
    narrow = SHAPES.believe(count.astype(jnp.float32), total.astype(jnp.float32))
    np.testing.assert_allclose(narrow.mean, believe(count, total).mean, atol=1e-3)
