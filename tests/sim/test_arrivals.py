import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edgegen.core.errors import InputError
from edgegen.sim import arrivals

RATE_HZ, HORIZON_S = 2e-3, 1e5  # 200 arrivals on average
LENGTH = arrivals.length_for(RATE_HZ, HORIZON_S)
draw = jax.jit(jax.vmap(jax.vmap(arrivals.gap)))


@pytest.fixture(scope="module")
def at_s():
    gaps = draw(jax.random.split(jax.random.key(0), (500, LENGTH)))
    return np.asarray(jnp.cumsum(gaps, axis=1)) / RATE_HZ


def test_the_count_has_the_mean_and_the_variance_of_poisson(at_s):
    counts = (at_s <= HORIZON_S).sum(axis=1)
    assert abs(counts.mean() - 200) < 4 * np.sqrt(200 / 500)
    assert 0.75 < counts.var(ddof=1) / 200 < 1.25  # four standard deviations of a variance of 500 samples
    assert counts.max() < LENGTH


def test_the_times_within_the_horizon_are_uniform(at_s):
    shares = np.sort(at_s[at_s <= HORIZON_S]) / HORIZON_S
    distance = np.abs(shares - np.arange(len(shares)) / len(shares)).max()
    assert distance < 1.95 / np.sqrt(len(shares))  # Kolmogorov and Smirnov, at one in a thousand


def test_a_seed_means_the_same_chance_in_both_precisions():
    wide = arrivals.gap(jax.random.key(5))
    with jax.enable_x64(False):
        narrow = arrivals.gap(jax.random.key(5))
    assert (narrow.dtype, wide.dtype) == (np.float32, np.float64)
    assert float(narrow) == float(wide)


@pytest.mark.parametrize(("rate", "horizon"), [(-1.0, 10.0), (float("nan"), 10.0), (1.0, float("inf"))])
def test_a_rate_that_is_no_rate_is_refused(rate, horizon):
    with pytest.raises(InputError, match="rate_hz and horizon_s must be finite"):
        arrivals.length_for(rate, horizon)
