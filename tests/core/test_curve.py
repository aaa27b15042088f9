"""Curves: every form is monotone, fits recover what made the points, bad points are refused in words."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgegen.core.curve import FITTED_FORMS, PARAMETERS, Curve, fit_all, fit_best, monotone
from edgegen.core.errors import ProfileError

STEPS = np.array([1, 2, 3, 4, 6, 8, 12, 16, 24, 32], dtype=float)

ONE_OF_EACH = [
    Curve("two_knee", (2.0, 0.1, 9.0, 0.8)),
    Curve("two_knee", (2.0, 0.8, 9.0, 0.1)),
    Curve("saturating_exponential", (0.9, 0.7, 4.0)),
    Curve("power_law", (0.95, 0.6, 1.7)),
    Curve.affine(0.01, 0.004),
    Curve.affine(0.5, -0.01),
    Curve.table([1, 2, 4, 8], [0.1, 0.4, 0.7, 0.75]),
    Curve.table([4], [0.7]),
]

numbers = st.floats(-5, 5)
shapes = st.floats(0.1, 8)


def _knees(draw_low, width, y0, y1):
    return Curve("two_knee", (draw_low, y0, draw_low + width, y1))


curves = st.one_of(
    st.builds(_knees, st.floats(0, 10), st.floats(0.1, 20), numbers, numbers),
    st.builds(lambda a, b, c: Curve("saturating_exponential", (a, b, c)), numbers, numbers, shapes),
    st.builds(lambda a, b, c: Curve("power_law", (a, b, c)), numbers, numbers, shapes),
    st.builds(Curve.affine, numbers, numbers),
    st.builds(
        lambda xs, ys: Curve.table(np.cumsum(xs[: len(ys)]), np.sort(ys)[: len(xs)]),
        st.lists(st.floats(0.1, 5), min_size=8, max_size=8),
        st.lists(st.floats(0, 1), min_size=1, max_size=8),
    ),
)


@given(curves)
def test_every_curve_is_monotone_in_the_direction_it_promises(curve):
    values = curve(np.geomspace(0.5, 200, 300))
    change = np.diff(values) if curve.is_rising else -np.diff(values)
    assert np.all(change >= -1e-9 * (1 + np.abs(values[1:])))


@given(curves)
def test_plain_data_brings_the_same_curve_back(curve):
    assert Curve.from_dict(curve.to_dict()) == curve


@pytest.mark.parametrize("curve", ONE_OF_EACH, ids=lambda curve: curve.form)
def test_values_have_the_shape_of_x_and_nan_stays_nan(curve):
    values = curve([[1.0, math.nan], [3.0, 4.0]])
    assert values.shape == (2, 2)
    assert values.dtype == np.float64
    assert np.isnan(values[0, 1])
    assert np.all(np.isfinite(values[1]))
    assert curve(3).shape == ()


@pytest.mark.parametrize("curve", ONE_OF_EACH, ids=lambda curve: curve.form)
def test_negative_steps_are_refused(curve):
    with pytest.raises(ProfileError, match=r"x >= 0, got -1"):
        curve([2, -1])


def test_values_can_be_redone_by_hand():
    assert Curve("two_knee", (2, 0.1, 4, 0.5))([0, 2, 3, 4, 99]).tolist() == [0.1, 0.1, 0.3, 0.5, 0.5]
    assert Curve("saturating_exponential", (1, 1, 2))(2) == pytest.approx(1 - 1 / math.e)
    assert Curve("power_law", (1, 0.5, 2))(2) == pytest.approx(0.875)
    assert Curve.affine(1, 2)(3) == 7
    assert Curve.table([1, 3], [0.2, 0.6])([0, 1, 2, 3, 9]).tolist() == [0.2, 0.2, 0.4, 0.6, 0.6]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_a_table_passes_through_its_points(values):
    ys = monotone(values)
    xs = 2.0 ** np.arange(len(ys))
    assert Curve.table(xs, ys)(xs).tolist() == ys.tolist()


@settings(deadline=None, max_examples=40)
@given(st.floats(0.3, 1.0), st.floats(0.05, 1.0), st.floats(0.3, 4.0))
def test_fits_recover_a_power_law(a, b, c):
    fit = Curve.fit("power_law", STEPS, Curve("power_law", (a, b, c))(STEPS))
    assert fit.curve.params == pytest.approx((a, b, c), rel=2e-3)
    assert fit.max_error < 1e-4


@settings(deadline=None, max_examples=40)
@given(st.floats(0.3, 1.0), st.floats(0.05, 1.0), st.floats(0.8, 20.0))
def test_fits_recover_a_saturating_exponential(a, b, c):
    fit = Curve.fit("saturating_exponential", STEPS, Curve("saturating_exponential", (a, b, c))(STEPS))
    assert fit.curve.params == pytest.approx((a, b, c), rel=2e-3)
    assert fit.max_error < 1e-4


@settings(deadline=None, max_examples=25)
@given(st.floats(1.1, 4.0), st.floats(0, 0.4), st.floats(9.0, 23.0), st.floats(0.5, 1.0))
def test_fits_recover_two_knees(x0, y0, x1, y1):
    fit = Curve.fit("two_knee", STEPS, Curve("two_knee", (x0, y0, x1, y1))(STEPS))
    assert fit.max_error < 2e-3
    # a lower knee between 1 and 2 steps is not visible in the points: only its line is
    assert fit.curve(STEPS) == pytest.approx(Curve("two_knee", (x0, y0, x1, y1))(STEPS), abs=2e-3)


@given(numbers, numbers)
def test_fits_recover_a_straight_line(a, b):
    fit = Curve.fit("affine", STEPS, Curve.affine(a, b)(STEPS))
    assert fit.curve.params == pytest.approx((a, b), abs=1e-9)


@pytest.mark.parametrize("made_by", [c for c in ONE_OF_EACH if c.form in FITTED_FORMS], ids=lambda c: c.form)
def test_the_best_fit_is_the_form_that_made_the_points(made_by):
    fit = fit_best(STEPS, made_by(STEPS))
    assert fit.curve.form == made_by.form
    assert fit.r2 == pytest.approx(1)


def test_residuals_are_those_of_the_fit():
    y = np.array([0.1, 0.5, 0.2, 0.9])
    fit = Curve.fit("affine", [1, 2, 3, 4], y)
    off = fit.curve([1, 2, 3, 4]) - y
    assert fit.rmse == pytest.approx(math.sqrt(np.mean(off**2)))
    assert fit.max_error == pytest.approx(np.abs(off).max())
    assert fit.r2 == pytest.approx(1 - np.sum(off**2) / np.sum((y - y.mean()) ** 2))
    assert fit.n == 4


def test_a_relative_fit_serves_small_values_as_well_as_large_ones():
    batch, seconds = [1, 2, 4, 8, 16], [0.10, 0.15, 0.22, 0.41, 0.77]
    plain = Curve.fit("affine", batch, seconds).curve
    relative = Curve.fit("affine", batch, seconds, relative=True).curve
    assert abs(relative(1) - 0.10) < abs(plain(1) - 0.10)
    # the gradient of the sum of ((a + b x) / y - 1)^2 vanishes
    off = (relative(batch) / seconds - 1) / seconds
    assert np.sum(off) == pytest.approx(0, abs=1e-9)
    assert np.sum(off * batch) == pytest.approx(0, abs=1e-9)
    with pytest.raises(ProfileError, match="relative fit needs y > 0, got 0"):
        Curve.fit("affine", [1, 2], [0, 1], relative=True)


def test_fits_are_ordered_by_residual_and_skip_forms_with_too_few_points():
    fits = fit_all([1, 2, 4], [0.1, 0.5, 0.9])
    assert [fit.rmse for fit in fits] == sorted(fit.rmse for fit in fits)
    assert "two_knee" not in {fit.curve.form for fit in fits}
    with pytest.raises(ProfileError, match="too few"):
        fit_all([1, 2], [0.1, 0.2], forms=["two_knee"])


def test_a_constant_fits_exactly():
    for fit in fit_all(STEPS, np.full(len(STEPS), 0.7)):
        assert fit.max_error < 1e-12, fit.curve.form


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=20), st.booleans())
def test_the_monotone_projection_is_monotone_idempotent_and_keeps_the_mean(values, rising):
    flat = monotone(values, rising=rising)
    change = np.diff(flat) if rising else -np.diff(flat)
    assert np.all(change >= -1e-12)
    assert monotone(flat, rising=rising) == pytest.approx(flat)
    assert flat.mean() == pytest.approx(np.mean(values), abs=1e-9)


def test_the_monotone_projection_pools_by_weight():
    assert monotone([0.2, 0.6, 0.3, 0.9], weights=[1, 1, 2, 1]).tolist() == pytest.approx([0.2, 0.4, 0.4, 0.9])


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([], [], "must not be empty"),
        ([1, 2], [0.1], "same length"),
        ([1, math.nan], [0.1, 0.2], "x must be finite"),
        ([1, 2], [0.1, math.nan], "y must be finite"),
        ([1, 2], [0.1, math.inf], "y must be finite"),
        ([-1, 2], [0.1, 0.2], r"x must be >= 0"),
        ([2, 2], [0.1, 0.2], "must not repeat"),
    ],
)
@pytest.mark.parametrize("build", [Curve.table, lambda x, y: Curve.fit("affine", x, y), fit_all])
def test_bad_points_are_refused_in_words(build, x, y, message):
    with pytest.raises(ProfileError, match=message):
        build(x, y)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Curve("afine", (1.0, 2.0)), "did you mean 'affine'"),
        (lambda: Curve("affine", (1.0,)), r"2 parameters \(a, b\), got 1"),
        (lambda: Curve("affine", (1.0, math.nan)), "parameter b of a affine curve must be finite"),
        (lambda: Curve("two_knee", (4.0, 0.1, 4.0, 0.2)), "x0 < x1"),
        (lambda: Curve("power_law", (1.0, 1.0, -1.0)), "c of a power_law curve must be > 0"),
        (lambda: Curve("affine", (1.0, 2.0), x=(1.0,), y=(1.0,)), "only a table has points"),
        (lambda: Curve("table", (1.0,), x=(1.0,), y=(1.0,)), "no parameters, got 1"),
        (lambda: Curve.table([3, 1], [0.1, 0.2]), "must rise strictly"),
        (lambda: Curve.table([1, 2, 3], [0.1, 0.5, 0.2]), "must never turn"),
        (lambda: Curve.fit("table", STEPS, STEPS), "cannot fit a form named 'table'"),
        (lambda: Curve.fit("power_law", [0, 1, 2], [0, 1, 2]), "x > 0"),
        (lambda: Curve.fit("two_knee", [1, 2], [0, 1]), "too few"),
        (lambda: Curve("power_law", (1.0, 1.0, 1.0))(0), "x > 0, got 0"),
        (lambda: monotone([]), "at least one number"),
        (lambda: monotone([1, math.nan]), "finite"),
        (lambda: monotone([1, 2], weights=[1, 0]), "weights must be positive"),
        (lambda: Curve.from_dict({"form": "affine", "params": {"a": 1}}), "parameters a, b; got a"),
        (lambda: Curve.from_dict({"form": "affine", "parms": {}}), "no field 'parms'"),
        (lambda: Curve.from_dict({"params": {}}), "name of its form"),
        (lambda: Curve.from_dict({"form": "nope", "params": {}}), "no curve form named 'nope'"),
        (lambda: Curve.from_dict({"form": "affine", "x": [1], "y": [1]}), "only a table has points"),
    ],
)
def test_a_wrong_curve_says_what_was_expected(build, message):
    with pytest.raises(ProfileError, match=message):
        build()


def test_the_forms_that_can_be_fitted_are_all_but_the_table():
    assert set(FITTED_FORMS) | {"table"} == set(PARAMETERS)
