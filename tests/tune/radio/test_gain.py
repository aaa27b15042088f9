"""The model of what a run brings: it saturates, never falls when more is given, and is found again from measured runs."""

import itertools

import numpy as np
import pytest

from edgegen.core.errors import InputError
from edgegen.tune.radio.gain import START, Gain, Measured, fit

TRUE = Gain(top=0.42, coverage=0.6, pace=90.0, drift=0.6, half_rank=1.7, noise=60.0)
GRID = list(itertools.product((0.3, 0.6, 1.0), (1, 4, 16), (4, 8, 32), (5, 20, 80), (1, 4, 16)))


def runs(noise=0.0, seed=0, grid=GRID):
    rng = np.random.default_rng(seed)
    out = []
    for value, rank, bits, steps, rounds in grid:
        gain = TRUE(value, rank=rank, bits=bits, steps=steps, rounds=rounds)
        out.append(Measured(value, rank, bits, steps, rounds, gain + noise * rng.normal()))
    return out


def test_more_of_anything_never_brings_less_and_never_more_than_the_top():
    base = {"rank": 4, "bits": 8, "steps": 20, "rounds": 4}
    for name, more in itertools.product(base, (1.5, 3, 100)):
        before, after = TRUE(0.5, **base), TRUE(0.5, **{**base, name: base[name] * more})
        assert before < after <= TRUE.top
    assert TRUE(0.5, **base) < TRUE(1.0, **base)


def test_steps_in_one_round_bring_less_than_as_many_rounds():
    assert TRUE(1.0, rank=4, bits=32, steps=40, rounds=1) < TRUE(1.0, rank=4, bits=32, steps=1, rounds=40)


def test_the_least_value_reaches_the_target_exactly():
    how = {"rank": 4, "bits": 16, "steps": 60, "rounds": 6}
    for target in (0.05, 0.1, 0.2):
        value = TRUE.least_value(target, **how)
        assert TRUE(value, **how) == pytest.approx(target)
    assert TRUE.least_value(0.41, **how) > 1
    assert TRUE.least_value(0.0, **how) == 0
    one_does = Gain(**{**vars(TRUE), "coverage": 0.0})
    assert one_does.least_value(0.1, **how) == 0
    assert one_does.least_value(0.41, **how) == float("inf")


def test_exact_runs_give_the_true_numbers_back():
    found = fit(runs())
    assert found.rmse < 1e-6
    assert found.kept == ()
    for name, value in vars(TRUE).items():
        assert getattr(found.gain, name) == pytest.approx(value, rel=1e-2)


def test_noisy_runs_give_gains_that_are_as_good_as_their_noise():
    found = fit(runs(noise=0.02))
    off = [
        found.gain(v, rank=r, bits=b, steps=e, rounds=n) - TRUE(v, rank=r, bits=b, steps=e, rounds=n)
        for v, r, b, e, n in GRID
    ]
    assert found.rmse == pytest.approx(0.02, rel=0.2)
    assert np.sqrt(np.mean(np.square(off))) < 0.01


def test_what_did_not_vary_is_kept_and_said():
    found = fit(runs(grid=[(1.0, 4, 32, steps, rounds) for steps in (5, 20, 80) for rounds in (1, 2, 8)]))
    assert found.kept == ("coverage", "half_rank", "noise")
    assert found.gain.coverage == START.coverage
    assert found.rmse < 1e-4


def test_too_few_or_impossible_runs_are_refused():
    with pytest.raises(InputError, match="2 runs cannot tell 4 numbers"):
        fit([Measured(1.0, 4, 8, 20, 2, 0.2), Measured(0.5, 4, 8, 40, 2, 0.1)])
    with pytest.raises(InputError, match="0 < value <= 1"):
        fit([Measured(1.5, 4, 8, 20, 2, 0.2)] * 9)
