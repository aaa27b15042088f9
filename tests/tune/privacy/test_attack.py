"""The attack finds nothing where nothing is, everything where all is plain, and says how sure it is."""

import math

import numpy as np
import pytest

from edgegen.core.errors import InputError
from edgegen.tune.privacy.attack import by_fall, calibrated_attack, curve, loss_attack, measure, over_runs


def losses(count: int, seed: int, shift: float = 0.0) -> np.ndarray:
    """Losses at three timesteps, of examples that are hard or easy for everybody."""
    rng = np.random.default_rng(seed)
    hard = rng.normal(0, 0.5, (count, 1))
    return np.exp(hard + rng.normal(shift, 0.05, (count, 3))) * [1.0, 0.5, 0.1]


def test_exchangeable_examples_cannot_be_told_apart():
    inside = 0
    for seed in range(20):
        found = loss_attack(losses(60, 2 * seed), losses(80, 2 * seed + 1))
        assert 0.3 < found.auc < 0.7
        inside += found.low <= 0.5 <= found.high
    assert inside >= 17  # a 95 % interval, 20 times


def test_separated_examples_are_told_apart_with_certainty():
    found = loss_attack(np.full((10, 3), 0.1), np.full((10, 3), 0.9))
    assert (found.auc, found.low, found.high, found.advantage, found.certain) == (1.0, 1.0, 1.0, 1.0, 1.0)
    assert (found.members, found.others) == (10, 10)


def test_a_model_that_does_worse_on_its_members_is_below_a_half():
    assert loss_attack(np.full((5, 1), 0.9), np.full((5, 1), 0.1)).auc == 0.0


def test_knowing_the_base_makes_the_attack_stronger():
    """Every member's loss fell by a tenth: little against how different examples are, much against their own past."""
    member_base, other_base = losses(80, 0), losses(80, 1)
    rng = np.random.default_rng(2)
    members = member_base * np.exp(rng.normal(-0.1, 0.05, member_base.shape))
    others = other_base * np.exp(rng.normal(0.0, 0.05, other_base.shape))
    alone = loss_attack(members, others)
    both = calibrated_attack(members, others, member_base=member_base, other_base=other_base)
    assert both.auc > 0.9 > alone.auc
    assert both.low > alone.high


def test_hard_examples_that_profit_more_from_tuning_are_not_taken_for_members():
    """Members that are harder by chance, and a tuning that helps the hard more, seen or not: nothing is given away."""
    member_base, other_base = 1.3 * losses(200, 0), losses(200, 1)
    noise = np.random.default_rng(2).normal(0, 0.05, (2, 200, 3))
    members, others = member_base**0.7 * np.exp(noise[0]), other_base**0.7 * np.exp(noise[1])
    found = calibrated_attack(members, others, member_base=member_base, other_base=other_base)
    assert found.low < 0.5 < found.high
    plain_fall = measure(np.log(member_base / members).mean(1), np.log(other_base / others).mean(1))
    assert plain_fall.auc > 0.6  # which a plain difference would have called leakage


def test_the_auc_is_the_share_of_pairs_in_the_right_order():
    members, others = np.array([3.0, 1.0, 2.0]), np.array([2.0, 0.0])
    # by hand, (3,2) (3,0) (1,0) (2,0) are right, (2,2) is a tie, (1,2) is wrong
    assert measure(members, others).auc == pytest.approx(4.5 / 6)


def test_advantage_and_certain_hits_are_those_of_the_best_thresholds():
    members, others = np.array([9.0, 8.0, 3.0, 1.0]), np.array([5.0, 4.0, 2.0, 0.0])
    found = measure(members, others)
    assert found.advantage == pytest.approx(0.5)  # above 5: two of four, and nobody else
    assert found.certain == pytest.approx(0.5)
    hits, alarms = curve(members, others)
    assert (hits[0], alarms[0], hits[-1], alarms[-1]) == (0.0, 0.0, 1.0, 1.0)
    assert (np.diff(hits) >= 0).all()
    assert (np.diff(alarms) >= 0).all()


def test_the_interval_has_about_the_width_that_theory_gives():
    """At chance the variance of an AUC is (m + n + 1) / 12 m n (Mann and Whitney)."""
    rng = np.random.default_rng(0)
    found = measure(rng.standard_normal(50), rng.standard_normal(70))
    expected = 2 * 1.96 * math.sqrt((50 + 70 + 1) / (12 * 50 * 70))
    assert found.high - found.low == pytest.approx(expected, rel=0.2)


def test_more_runs_make_the_interval_narrower_and_compare_within_a_run_only():
    rng = np.random.default_rng(0)
    # Each run has an offset of its own that would hide everything if runs were thrown together.
    runs = [(offset + rng.normal(1, 1, 40), offset + rng.normal(0, 1, 40)) for offset in (0.0, 50.0, -50.0, 900.0)]
    one, all_of_them = over_runs(runs[:1]), over_runs(runs)
    assert all_of_them.high - all_of_them.low < 0.65 * (one.high - one.low)
    assert all_of_them.auc == pytest.approx(0.76, abs=0.06)  # of two normals one deviation apart
    assert all_of_them.members == 160


def test_scores_that_cannot_be_compared_are_refused():
    with pytest.raises(InputError, match="two or more"):
        measure(np.array([1.0]), np.array([0.0, 1.0]))
    with pytest.raises(InputError, match="finite"):
        measure(np.array([1.0, math.nan]), np.array([0.0, 1.0]))
    with pytest.raises(InputError, match="one shape"):
        by_fall(np.ones((3, 2)), np.ones((3, 1)))
