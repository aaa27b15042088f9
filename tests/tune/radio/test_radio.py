"""Time and energy of a federated round: the closed form, the slowest site decides, everything adds up."""

import dataclasses
import math

import numpy as np
import pytest

from edgegen.core.errors import InputError
from edgegen.physics.channel import NOISE_W_PER_HZ
from edgegen.tune.radio import cost as radio
from edgegen.tune.radio.sizes import declared, exchange

FINE = 1e-9


def sites(count=4, seed=0, **columns):
    rng = np.random.default_rng(seed)
    drawn = {
        "samples": rng.integers(50, 500, count).astype(float),
        "flops": rng.uniform(2e12, 20e12, count),
        "kappa": rng.uniform(1e-39, 1e-38, count),
        "uplink_hz": rng.uniform(1e6, 20e6, count),
        "downlink_hz": np.full(count, 20e6),
        "transmit_w": rng.uniform(0.1, 0.5, count),
        "server_w": np.full(count, 10.0),
        "gain": 10 ** rng.uniform(-12, -9, count),
        "start_s": rng.uniform(0, 2, count),
    }
    return radio.Sites(**{**drawn, **columns})


TODO = radio.Work(down_bits=13e6, up_bits=13e6, operations=5e13)


def by_hand(of, k, duty, share):
    """The spec's formulas, one site at a time, with plain floats."""
    band = share * of.uplink_hz[k]
    up = band * math.log2(1 + of.transmit_w[k] * of.gain[k] / (NOISE_W_PER_HZ * band))
    wide = of.downlink_hz[k]
    down = wide * math.log2(1 + of.server_w[k] * of.gain[k] / (NOISE_W_PER_HZ * wide))
    trained = duty.operations / of.flops[k]
    finish = of.start_s[k] + duty.down_bits / down + trained + duty.up_bits / up
    return finish, of.transmit_w[k] * duty.up_bits / up + of.kappa[k] * of.flops[k] ** 3 * trained


def test_every_site_takes_the_seconds_and_joules_of_the_closed_form():
    of, shares = sites(6), np.array([0.1, 0.3, 0.05, 0.2, 0.25, 1.0])
    cost = radio.round_cost(of, TODO, shares)
    wanted = [by_hand(of, k, TODO, share) for k, share in enumerate(shares)]
    np.testing.assert_allclose(cost.finish_s, [finish for finish, _ in wanted], rtol=FINE)
    np.testing.assert_allclose(cost.energy_j, [energy for _, energy in wanted], rtol=FINE)
    assert cost.time_s == pytest.approx(max(finish for finish, _ in wanted), rel=FINE)


def test_the_work_of_a_round_is_that_of_its_sizes():
    of = declared("sd-1.5")
    for mode, passes in (("full", 3), ("ffa", 2)):
        duty = radio.work(of, exchange(of, mode, rank=4), bits=16, steps=60, batch=8)
        assert duty.operations == pytest.approx(passes * of.flop * 60 * 8)
        assert duty.up_bits == pytest.approx(exchange(of, mode, rank=4).up_bits(16))


@pytest.mark.parametrize("seed", range(5))
def test_half_the_band_of_the_slowest_lengthens_the_round_and_of_the_fastest_does_not(seed):
    of, shares = sites(5, seed), np.ones(5)
    before = radio.round_cost(of, TODO, shares)
    for site, longer in ((before.finish_s.argmax(), True), (before.finish_s.argmin(), False)):
        narrow = np.where(np.arange(5) == site, of.uplink_hz / 2, of.uplink_hz)
        after = radio.round_cost(dataclasses.replace(of, uplink_hz=narrow), TODO, shares)
        if longer:
            assert after.time_s > before.time_s
        else:
            assert after.finish_s[site] > before.finish_s[site]
            assert after.time_s == pytest.approx(max(before.time_s, after.finish_s[site]))
    quick = before.finish_s.argmin()
    assert before.finish_s[quick] + before.up_s[quick] * 3 < before.time_s  # so the second case does not lengthen it


def test_the_parts_of_a_site_add_up_and_so_do_rounds():
    cost = radio.round_cost(sites(), TODO, np.full(4, 0.25))
    np.testing.assert_allclose(cost.start_s + cost.down_s + cost.compute_s + cost.up_s, cost.finish_s)
    assert cost.total(7) == pytest.approx((7 * cost.time_s, 7 * cost.energy_j.sum()))


def test_sites_that_are_not_asked_cost_nothing_and_do_not_delay():
    of, shares = sites(5), np.full(5, 0.2)
    whole = radio.round_cost(of, TODO, shares)
    asked = np.arange(5) != whole.finish_s.argmax()
    part = radio.round_cost(of, TODO, np.where(asked, shares, 0.0), asked=asked)
    assert part.time_s < whole.time_s
    assert part.time_s == pytest.approx(np.sort(whole.finish_s)[-2])
    assert part.energy_j[~asked].sum() == 0
    np.testing.assert_allclose(part.energy_j[asked], whole.energy_j[asked])
    alone = radio.round_cost(of.only(asked), TODO, shares[asked])
    np.testing.assert_allclose(alone.finish_s, part.finish_s[asked])


def test_a_deadline_ends_the_round_counts_stragglers_and_their_energy_up_to_it():
    of, shares = sites(5), np.ones(5)
    whole = radio.round_cost(of, TODO, shares)
    deadline = float(np.sort(whole.finish_s)[2] * 1.001)
    cut = radio.round_cost(of, TODO, shares, deadline_s=deadline)
    assert cut.stragglers == 2
    assert cut.time_s == deadline
    assert cut.in_time.tolist() == (whole.finish_s <= deadline).tolist()
    np.testing.assert_allclose(cut.energy_j[cut.in_time], whole.energy_j[cut.in_time])
    assert (cut.energy_j[~cut.in_time] < whole.energy_j[~cut.in_time]).all()
    generous = radio.round_cost(of, TODO, shares, deadline_s=whole.time_s * 2)
    assert (generous.stragglers, generous.time_s) == (0, whole.time_s)


def test_a_deadline_before_anything_can_happen_costs_only_time():
    cost = radio.round_cost(sites(start_s=np.full(4, 2.0)), TODO, np.ones(4), deadline_s=1.0)
    assert (cost.stragglers, cost.time_s, cost.energy_j.sum()) == (4, 1.0, 0.0)


def test_a_share_carries_more_than_its_share_of_the_rate():
    of = sites()
    assert (radio.uplink_bps(of, np.full(4, 0.5)) > radio.uplink_bps(of, np.ones(4)) / 2).all()


def test_pictures_are_moved_once_and_trained_on_where_they_come_together():
    of, size = sites(), declared("sd-1.5")
    moved = radio.move_pictures(of, size, np.full(4, 0.25), operations=1e15, server_flops=1e14)
    np.testing.assert_allclose(moved.bits, of.samples * 0.5e6 * 8)
    assert moved.train_s == pytest.approx(10.0)
    slowest = (moved.bits / radio.uplink_bps(of, np.full(4, 0.25))).max()
    assert moved.time_s == pytest.approx(slowest + 10.0)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(InputError, match="gain must be > 0"):
        sites(gain=np.zeros(4))
    with pytest.raises(InputError, match="flops must have one value for each of 4 sites"):
        sites(flops=np.ones(3))
    with pytest.raises(InputError, match="samples must be finite"):
        sites(samples=np.array([1.0, np.nan, 1, 1]))
    with pytest.raises(InputError, match="needs a share"):
        radio.round_cost(sites(), TODO, np.zeros(4))
    with pytest.raises(InputError, match="bits > 0"):
        radio.work(declared("sd-1.5"), exchange(declared("sd-1.5"), "ffa"), bits=0, steps=1, batch=1)
