import numpy as np
import pytest
from scipy import stats

from edgegen.core.citation import OQC
from edgegen.core.result import Bar, interval, mean_interval, wilson


def test_whether_a_goal_is_met_is_computed():
    assert Bar.at_least("quality", 0.91, 0.90).ok
    assert not Bar.at_least("quality", 0.89, 0.90).ok
    assert Bar.at_most("overhead", 1.9, 2.0, unit="ms").ok
    assert not Bar.at_most("overhead", 2.1, 2.0, unit="ms").ok
    assert [Bar.within("reward", value, -130, -30).ok for value in (-131, -130, -30, -29)] == [False, True, True, False]
    assert Bar.report("machine load", 0.5).ok is None
    assert Bar.at_most("overhead", 1.9, 2.0, unit="ms", n=7).to_dict() == {
        "bar": "overhead", "value": 1.9, "unit": "ms", "goal": "<= 2", "ok": True, "n": 7, "low": None, "high": None,
        "published": None,
    }  # fmt: skip


def test_wilson_interval_matches_the_published_form():
    low, high = wilson(81, 263)  # Newcombe 1998, table I: 0.2553 to 0.3662
    assert (low, high) == (pytest.approx(0.2553, abs=1e-4), pytest.approx(0.3662, abs=1e-4))
    assert wilson(0, 10)[0] == 0.0
    assert wilson(10, 10)[1] == 1.0
    with pytest.raises(ValueError, match="3 of 2"):
        wilson(3, 2)


def test_a_method_can_be_cited_by_machine():
    assert "arXiv:2312.06203" in OQC.bibtex()
    assert OQC.bibtex().startswith("@misc{wang2023oqc,")


@pytest.mark.parametrize("n", [2, 3, 5, 7, 12, 30, 400])
def test_a_mean_has_the_interval_of_student(n):
    samples = np.random.default_rng(n).normal(3.0, 2.0, n)
    mean, low, high = mean_interval(samples)
    wanted = stats.t.interval(0.95, n - 1, loc=samples.mean(), scale=samples.std(ddof=1) / np.sqrt(n))
    assert mean == samples.mean()
    np.testing.assert_allclose([low, high], wanted, rtol=2e-3)


def test_a_mean_is_held_against_nothing_a_least_value_or_a_band():
    samples = np.array([1.0, 2.0, 3.0])
    assert Bar.of_mean("x", samples).ok is None
    assert [Bar.of_mean("x", samples, least).ok for least in (1.9, 2.1)] == [True, False]
    assert [Bar.of_mean("x", samples, 0.0, most).ok for most in (1.9, 2.1)] == [False, True]
    assert [Bar.of_mean("x", samples, None, most).goal for most in (1.9, 2.1)] == ["<= 1.9", "<= 2.1"]


def test_what_is_published_is_beside_the_figure_and_no_goal():
    beside = Bar.of_mean("x", np.array([1.0, 3.0]), published=7.0)
    assert (beside.published, beside.ok) == (7.0, None)


def test_an_interval_leaves_out_what_is_not_known():
    assert interval([float("nan"), 1.0, 3.0]) == interval([1.0, 3.0])
    assert interval([float("nan")]) == {"mean": None, "low": None, "high": None, "n": 0}
    assert interval([4.0]) == {"mean": 4.0, "low": None, "high": None, "n": 1}
