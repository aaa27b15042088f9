import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edgegen.sim import draws

MANY = 40_000


@pytest.fixture(scope="module")
def words():
    return draws.words(jax.random.key(0), MANY)


def test_uniform_numbers_are_uniform(words):
    numbers = np.sort(draws.uniform(words))
    assert 0 <= numbers[0] < numbers[-1] < 1
    assert np.abs(numbers - np.arange(MANY) / MANY).max() < 1.95 / np.sqrt(MANY)  # Kolmogorov and Smirnov, 1 in 1000


def test_exponential_numbers_have_mean_and_variance_1(words):
    numbers = np.asarray(draws.exponential(words))
    assert (numbers >= 0).all()
    assert abs(numbers.mean() - 1) < 4 / np.sqrt(MANY)
    assert abs(numbers.var() - 1) < 4 * np.sqrt(8 / MANY)


@pytest.mark.parametrize(("low", "high"), [(10, 25), (-1, 1), (0, 0)])
def test_whole_numbers_are_equally_likely(words, low, high):
    numbers, counts = np.unique(draws.whole(words, low, high), return_counts=True)
    kinds = high - low + 1
    assert numbers.tolist() == list(range(low, high + 1))
    assert np.abs(counts - MANY / kinds).max() < 4 * np.sqrt(MANY / kinds)


def test_the_extreme_words_stay_inside():
    ends = jnp.array([0, 2**32 - 1], jnp.uint32)
    assert draws.whole(ends, 10, 25).tolist() == [10, 25]
    assert draws.uniform(ends).tolist() == [0, 1 - 2**-23]
    assert np.isfinite(draws.exponential(ends)).all()


def test_a_seed_means_the_same_numbers_in_both_precisions(words):
    makers = (draws.uniform, draws.exponential)
    wide = [np.asarray(maker(words[:100])) for maker in makers]
    with jax.enable_x64(False):
        narrow = [np.asarray(maker(draws.words(jax.random.key(0), MANY)[:100])) for maker in makers]
    for one, other in zip(wide, narrow, strict=True):
        assert (one.dtype, other.dtype) == (np.float64, np.float32)
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("low", "high"), [(1, 0), (0, 1 << 16)])
def test_a_range_that_is_none_is_refused(words, low, high):
    with pytest.raises(ValueError, match="expected low <= high"):
        draws.whole(words, low, high)
