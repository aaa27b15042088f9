import numpy as np
import pytest

from edgegen.physics.channel import NOISE_W_PER_HZ, full_band, path_gain, rate_bps


def test_a_share_of_the_band_follows_shannon():
    bandwidth_hz, power_w, gain = 20e6, 0.2, path_gain(np.array(150.0))
    full_bps, snr = full_band(bandwidth_hz, power_w, gain)
    for share in (1.0, 0.3, 0.01):
        band_hz = share * bandwidth_hz
        direct = band_hz * np.log2(1 + power_w * gain / (NOISE_W_PER_HZ * band_hz))
        assert rate_bps(full_bps, snr, np.array(share)) == pytest.approx(direct)


def test_without_noise_the_rate_is_proportional_to_the_share():
    np.testing.assert_allclose(rate_bps(np.array(8.0), np.array(np.inf), np.array([1.0, 0.5])), [8.0, 4.0])


def test_rates_are_concave_in_the_share():
    share = np.linspace(0.01, 1, 200)
    rate = rate_bps(np.array(1.0), np.array(30.0), share)
    assert (np.diff(rate) > 0).all()
    assert (np.diff(rate, 2) < 0).all()


def test_path_loss_is_128_1_decibels_at_a_kilometre():
    assert 10 * np.log10(path_gain(np.array(1000.0))) == pytest.approx(-128.1)
