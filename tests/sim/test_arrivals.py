import jax
import numpy as np
import pytest

from edgegen.core.errors import InputError
from edgegen.sim import arrivals

RATE_HZ, HORIZON_S = 2e-3, 1e5  # 200 arrivals on average
LENGTH = arrivals.length_for(RATE_HZ, HORIZON_S)
draw = jax.jit(jax.vmap(lambda key: arrivals.poisson(key, rate_hz=RATE_HZ, horizon_s=HORIZON_S, length=LENGTH)))


@pytest.fixture(scope="module")
def drawn():
    return draw(jax.random.split(jax.random.key(0), 500))


def test_the_count_has_the_mean_and_the_variance_of_poisson(drawn):
    counts = np.asarray(drawn.live).sum(axis=1)
    assert abs(counts.mean() - 200) < 4 * np.sqrt(200 / 500)
    assert 0.75 < counts.var(ddof=1) / 200 < 1.25  # four standard deviations of a variance of 500 samples
    assert counts.max() < LENGTH


def test_times_are_sorted_uniform_and_padded_at_the_end(drawn):
    live, at_s = np.asarray(drawn.live), np.asarray(drawn.at_s)
    assert (np.diff(at_s, axis=1) >= 0).all()
    assert (np.diff(live.astype(int), axis=1) <= 0).all()
    assert (at_s[~live] == HORIZON_S).all()
    shares = np.sort(at_s[live]) / HORIZON_S
    distance = np.abs(shares - np.arange(len(shares)) / len(shares)).max()
    assert distance < 1.95 / np.sqrt(len(shares))  # Kolmogorov and Smirnov, at one in a thousand


def test_a_seed_means_the_same_episode_in_both_precisions():
    wide = draw(jax.random.split(jax.random.key(5), 8))
    with jax.enable_x64(False):
        narrow = draw(jax.random.split(jax.random.key(5), 8))
    assert narrow.at_s.dtype == np.float32
    assert wide.at_s.dtype == np.float64
    np.testing.assert_array_equal(wide.live, narrow.live)
    np.testing.assert_allclose(wide.at_s, narrow.at_s, rtol=1e-6)


@pytest.mark.parametrize(("rate", "horizon"), [(-1.0, 10.0), (float("nan"), 10.0), (1.0, float("inf"))])
def test_a_rate_that_is_no_rate_is_refused(rate, horizon):
    with pytest.raises(InputError, match="rate_hz and horizon_s must be finite"):
        arrivals.length_for(rate, horizon)
