"""Shares of a band: the least that does, all finish together, and nothing shortens the round any more."""

import numpy as np
import pytest
from scipy.optimize import minimize

from edgegen.core.errors import InputError
from edgegen.tune.radio import bands
from edgegen.tune.radio.cost import Work, before_sending, round_cost, uplink_bps
from tune.radio.test_radio import TODO, sites

EVERY = np.ones(5, dtype=bool)
BAND = np.full(5, 20e6)


def common(seed, **columns):
    return sites(5, seed, uplink_hz=BAND, **columns)


@pytest.mark.parametrize("seed", range(6))
def test_the_least_share_sends_exactly_in_time(seed):
    of = common(seed)
    by_s = float(before_sending(of, TODO).max() + 3.0)
    share = bands.least_share(of, TODO, by_s)
    some = np.isfinite(share)
    assert some.any()
    sent_s = TODO.up_bits / uplink_bps(of, np.where(some, share, 1.0))
    np.testing.assert_allclose((before_sending(of, TODO) + sent_s)[some], by_s, rtol=1e-9)
    assert (before_sending(of, TODO) + sent_s > by_s * (1 - 1e-9))[~some].all()  # the whole band does not do


def test_the_least_share_holds_from_hopeless_to_excellent_radio():
    of = common(0, gain=10 ** np.linspace(-17, -7, 5), flops=np.full(5, 1e15), start_s=np.zeros(5))
    for seconds in 10.0 ** np.arange(-1, 7):
        share = bands.least_share(of, Work(0.0, 13e6, 0.0), seconds)
        some = np.isfinite(share)
        assert ((share[some] > 0) & (share[some] <= 1)).all()
        sent = uplink_bps(of, np.where(some, share, 1.0))[some] * seconds
        np.testing.assert_allclose(sent, 13e6, rtol=1e-7)


@pytest.mark.parametrize("seed", range(6))
def test_all_finish_together_and_use_the_whole_band(seed):
    of = common(seed)
    share = bands.SharedBand().shares(of, TODO, EVERY)
    finish = round_cost(of, TODO, share).finish_s
    assert share.sum() == pytest.approx(1)
    np.testing.assert_allclose(finish, finish.max(), rtol=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_the_round_is_shorter_than_with_equal_shares_and_than_what_a_solver_finds(seed):
    of = common(seed)
    ours = round_cost(of, TODO, bands.SharedBand().shares(of, TODO, EVERY)).time_s
    assert ours < round_cost(of, TODO, bands.EqualShares().shares(of, TODO, EVERY)).time_s
    rng = np.random.default_rng(seed)
    drawn = [round_cost(of, TODO, rng.dirichlet(np.ones(5))).time_s for _ in range(300)]
    assert ours <= min(drawn)

    def length(logits):
        return round_cost(of, TODO, np.exp(logits) / np.exp(logits).sum()).time_s

    found = minimize(length, np.zeros(5), method="Nelder-Mead", options={"maxiter": 4000, "xatol": 1e-9, "fatol": 1e-9})
    assert ours <= found.fun * (1 + 1e-6)


def test_whoever_does_not_take_part_gets_nothing():
    asked = np.array([True, False, True, True, False])
    for how in (bands.SharedBand(), bands.EqualShares(), bands.OwnBands()):
        share = how.shares(common(1), TODO, asked)
        assert (share[~asked] == 0).all()
        assert (share[asked] > 0).all()
    assert bands.SharedBand().shares(common(1), TODO, np.zeros(5, bool)).sum() == 0


def test_a_single_participant_gets_the_whole_band():
    share = bands.SharedBand().shares(common(1), TODO, np.arange(5) == 3)
    np.testing.assert_allclose(share, [0, 0, 0, 1, 0])


def test_later_is_cheaper():
    of = common(2)
    times = before_sending(of, TODO).max() + np.array([0.5, 1, 2, 4, 8, 100])
    sums = [bands.SharedBand().needed(of, TODO, by_s)[1].sum() for by_s in times]
    assert (np.diff(sums[2:]) < 0).all()


def test_sites_on_different_bands_cannot_share_one():
    with pytest.raises(InputError, match="OwnBands"):
        bands.SharedBand().check(sites(4))
    bands.SharedBand().check(common(0))
