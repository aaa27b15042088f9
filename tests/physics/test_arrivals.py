"""Arrival processes come at their rates, in order, inside of their time; bursts are bursts, days have nights."""

import numpy as np
import pytest

from edgegen.core.errors import InputError
from edgegen.physics.arrivals import Bursty, Counted, Diurnal, Poisson, Recorded

SHAPE = Counted(np.array([1.0, 0.0, 4.0, 2.0] * 500), 1.0)
PROCESSES = (Poisson(3.0), Bursty(3.0), Diurnal(3.0, period_s=100.0), SHAPE.at_rate(3.0))


def dispersion(process, seconds: float, window_s: float) -> float:
    """Variance over mean of the counts in windows: 1 for a Poisson process."""
    times = process.times(seconds, np.random.default_rng(0))
    counts = np.histogram(times, np.arange(0.0, seconds + window_s, window_s))[0]
    return float(counts.var() / counts.mean())


@pytest.mark.parametrize("process", PROCESSES, ids=lambda process: type(process).__name__)
def test_arrivals_are_in_order_inside_and_at_their_rate(process):
    runs = [process.times(2000.0, np.random.default_rng(seed)) for seed in range(20)]
    assert all((np.diff(run) >= 0).all() and run[0] >= 0 and run[-1] < 2000.0 for run in runs)
    assert np.mean([len(run) for run in runs]) == pytest.approx(6000, rel=0.05)


@pytest.mark.parametrize("process", PROCESSES, ids=lambda process: type(process).__name__)
def test_scaling_keeps_the_kind_and_changes_the_rate(process):
    assert process.at_rate(7.5).mean_hz == pytest.approx(7.5)
    assert process.scaled(2.0).mean_hz == pytest.approx(2 * process.mean_hz)
    assert type(process.scaled(2.0)) is type(process)


@pytest.mark.parametrize("process", PROCESSES, ids=lambda process: type(process).__name__)
def test_a_seed_decides_everything(process):
    first, again, other = (process.times(50.0, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_bursts_vary_more_than_independent_arrivals():
    assert dispersion(Poisson(3.0), 20_000.0, 5.0) == pytest.approx(1.0, abs=0.1)
    assert dispersion(Bursty(3.0), 20_000.0, 5.0) > 3.0


def test_at_noon_more_come_than_at_night():
    times = Diurnal(50.0, swing=0.8, period_s=100.0).times(100.0, np.random.default_rng(0))
    night, noon = ((times < 10) | (times > 90)).sum(), ((times > 40) & (times < 60)).sum()
    assert noon / night == pytest.approx((1 + 0.8 * 0.935) / (1 - 0.8 * 0.935), rel=0.25)  # means of the cosine


def test_a_counted_trace_has_nobody_where_nobody_came():
    times = SHAPE.times(1000.0, np.random.default_rng(0))
    assert not (times.astype(int) % 4 == 1).any()
    assert SHAPE.times(10_000.0, np.random.default_rng(0)).max() < SHAPE.length_s


def test_a_shape_is_stretched_between_two_rates():
    stretched = SHAPE.between(4.0, 32.0)
    assert (stretched.rates_hz.min(), stretched.rates_hz.max()) == (4.0, 32.0)
    assert stretched.rates_hz[3] == pytest.approx(18.0)


def test_a_recorded_trace_is_repeated_and_compressed():
    trace = Recorded(np.array([0.0, 1.0, 1.5, 4.0]))
    assert trace.times(2.0, np.random.default_rng(0)).tolist() == [0.0, 1.0, 1.5]
    assert trace.scaled(2.0).times(9.0, np.random.default_rng(0)).tolist() == [0.0, 0.5, 0.75, 2.0]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Poisson(0.0),
        lambda: Poisson(float("nan")),
        lambda: Diurnal(1.0, swing=1.5),
        lambda: Counted(np.array([1.0, -1.0]), 1.0),
        lambda: Recorded(np.array([2.0, 1.0])),
        lambda: Counted(np.zeros(3), 1.0).at_rate(1.0),
        lambda: SHAPE.between(5.0, 5.0),
    ],
)
def test_what_is_no_process_is_refused(make):
    with pytest.raises(InputError):
        make()
