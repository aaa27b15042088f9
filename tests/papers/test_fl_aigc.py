"""Federated tuning over radio: the claims hold on fixed seeds, and not because of how networks are drawn or counted."""

import dataclasses

import numpy as np
import pytest

from edgegen.papers import fl_aigc
from edgegen.papers.fl_aigc import POLICIES, Settings, draw
from edgegen.tune.radio.sizes import MODES, Sizes, exchange


def test_the_claims_hold():
    bars = fl_aigc.claims(lambda line: None, instances=6)
    assert [f"{bar.bar}: {bar.value:g}, wanted {bar.goal}" for bar in bars if bar.ok is False] == []
    assert sum(bar.ok is True for bar in bars) == 12
    assert {bar.published for bar in bars} == {None}  # the source gives no number


def test_a_smaller_alpha_makes_sites_more_unequal_and_the_number_of_pictures_stays():
    sizes = {alpha: [draw(seed, Settings(alpha=alpha)).sites.samples for seed in range(20)] for alpha in (0.1, 1, 100)}
    largest = {alpha: np.mean([one.max() / one.sum() for one in drawn]) for alpha, drawn in sizes.items()}
    assert largest[0.1] > largest[1] > largest[100]
    assert largest[100] == pytest.approx(0.1, abs=0.03)
    totals = [one.sum() for drawn in sizes.values() for one in drawn]
    assert (np.abs(np.array(totals) - fl_aigc.PICTURES) <= 10).all()


def test_the_same_seed_draws_the_same_network():
    one, other, third = draw(5), draw(5), draw(6)
    for name, column in vars(one.sites).items():
        np.testing.assert_array_equal(column, getattr(other.sites, name))
    assert not np.array_equal(one.sites.gain, third.sites.gain)


@pytest.mark.parametrize("alpha", [100.0, 1.0, 0.1])
def test_the_planner_is_never_slower_than_the_best_fixed_choice(alpha):
    for seed in range(4):
        network = draw(seed, Settings(alpha=alpha))
        made = {name: policy(network) for name, policy in POLICIES.items()}
        assert made["planner"].time_s <= made["best-fixed"].time_s * (1 + 1e-9)
        assert made["best-fixed"].time_s <= made["all-sites"].time_s
        assert min(one.gain for one in made.values()) >= fl_aigc.TARGET - 1e-9


@pytest.mark.parametrize("model", ["sd-1.5", "sdxl"])
def test_of_both_declared_models_adapters_are_a_small_part(model):
    network = draw(0, Settings(model=model))
    assert fl_aigc.one_round(network, "ffa")[0] < fl_aigc.one_round(network, "full")[0] / 500


def test_rounds_of_modes_are_ordered_by_their_bytes_and_take_time_accordingly():
    network = draw(1)
    bytes_, seconds, _ = np.array([fl_aigc.one_round(network, mode) for mode in MODES]).T
    for mode, sent in zip(MODES, bytes_, strict=True):
        exchanged = exchange(network.sizes, mode, rank=4, sites=10)
        assert sent == pytest.approx((exchanged.up_bits(32) + exchanged.down_bits(32)) / 8)
    assert seconds[MODES.index("ffa")] < seconds[MODES.index("split")] < seconds[MODES.index("full")]


def test_that_adapters_save_bytes_depends_on_pictures_being_large_and_many():
    network = draw(2)
    made = POLICIES["all-sites"](network)
    assert fl_aigc.against_moving(network, made)[0] < 1
    tiny = dataclasses.replace(network.sizes, picture_bytes=4e3)
    assert isinstance(tiny, Sizes)
    assert fl_aigc.against_moving(dataclasses.replace(network, sizes=tiny), made)[0] > 1


def test_a_target_beyond_reach_gives_no_plan():
    assert POLICIES["planner"](dataclasses.replace(draw(0), target=0.6)) is None
    assert POLICIES["all-sites"](dataclasses.replace(draw(0), target=0.6)) is None
    assert POLICIES["best-fixed"](dataclasses.replace(draw(0), target=0.6)) is None
