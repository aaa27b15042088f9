"""A user's response to prices is the optimum that a general solver finds, and its elasticities are derivatives."""

import math

import numpy as np
import pytest
from scipy.optimize import brentq, minimize

from edgegen.plan.certified.response import band, respond
from edgegen.plan.certified.tables import least_band

FREE = (np.inf, np.inf, np.inf)


def user(seed: int, *, left_s: float = math.inf) -> np.ndarray:
    rng = np.random.default_rng(seed)
    snr = 10 ** rng.uniform(8, 10.5, 2)
    return np.array([0.03, rng.uniform(0, 0.01), 2.0e6, 2.8e6, *snr, 0.0, left_s])


def seconds(row, shares, cycles):
    f, u, d = shares
    send_s = row[2] / (u * np.log1p(row[4] / u))
    return send_s, send_s + cycles / f + row[3] / (d * np.log1p(row[5] / d))


@pytest.mark.parametrize("exponent", range(-12, 13, 3))
def test_a_band_solves_its_stationarity_condition(exponent):
    snr, size, price = 1e9, 2e6, 1e-9
    weight = 10.0**exponent
    share, time_s, _, _ = band(weight, size, snr, price, 0.0, np.inf)

    def excess(log_z):
        z = math.exp(log_z)
        log = math.log1p(z)
        rest = log - z / (1 + z) if z > 1e-4 else z * z * (0.5 - 2 / 3 * z)
        return 2 * math.log(log) - 2 * log_z - math.log(rest) - math.log(weight * size / (price * snr**2))

    z = math.exp(brentq(excess, -30, 30, xtol=1e-13))
    assert share == pytest.approx(snr / z, rel=1e-7)
    assert time_s == pytest.approx(size / (share * math.log1p(snr / share)), rel=1e-12)


def test_a_proportional_rate_follows_the_square_root_law():
    share, time_s, saved, elasticity = band(0.3, 2e6, math.inf, 1e-9, 0.0, math.inf)
    assert share == pytest.approx(math.sqrt(0.3 * 2e6 / 1e-9), rel=1e-12)
    assert time_s == pytest.approx(2e6 / share, rel=1e-12)
    assert (saved, elasticity) == (1.0, 0.5)
    assert band(0.3, 2e6, math.inf, 1e-9, 0.0, 1e6)[:2] == pytest.approx((1e6, 2.0))


def test_the_least_band_is_just_in_time_and_inf_where_no_band_would_be():
    rng = np.random.default_rng(0)
    size, snr, send_s = (10 ** rng.uniform(low, high, 2000) for low, high in ((3, 8), (0, 12), (-3, 3)))
    most = 10 ** rng.uniform(4, 8, 2000)
    least = least_band(size, snr, send_s, most)
    fits = size / (most * np.log1p(snr / most)) <= send_s
    np.testing.assert_array_equal(np.isfinite(least), fits)
    size, snr, send_s, least = (column[fits] for column in (size, snr, send_s, least))
    took_s = size / (least * np.log1p(snr / least))
    assert (took_s <= send_s).all()
    np.testing.assert_allclose(took_s, send_s, rtol=1e-11)
    assert least_band(2e6, math.inf, 4.0, 1e6) == 5e5
    assert least_band(0.0, 1e9, 0.0, 1e6) == least_band(2e6, 1e9, math.inf, 1e6) == 0.0


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("squeeze", [None, 0.9, 0.6])
def test_the_response_is_the_optimum_of_its_problem(seed, squeeze):
    price, cycles = np.array([2e-10, 3e-9, 2e-9]), 2e9
    free = respond(user(seed), cycles, 0.1, price, FREE, 0.0)
    row = user(seed, left_s=math.inf if squeeze is None else free[2] * squeeze)
    cost, a, total_s, shares, *_ = respond(row, cycles, 0.1, price, FREE, 0.0)
    assert (a > row[0]) == (squeeze is not None)

    def paid(y):
        send_s, all_s = seconds(row, np.exp(y), cycles)
        return 0.1 + row[0] * all_s + row[1] * send_s + price @ np.exp(y)

    limit = (
        [] if squeeze is None else [{"type": "ineq", "fun": lambda y: 1 - seconds(row, np.exp(y), cycles)[1] / row[7]}]
    )
    start = np.log(shares) + np.random.default_rng(seed).normal(0, 0.2, 3)
    best = minimize(paid, start, constraints=limit, method="SLSQP", options={"ftol": 1e-15, "maxiter": 300})
    assert total_s <= row[7] * (1 + 1e-10)
    assert cost == pytest.approx(best.fun, rel=1e-7)
    assert cost == pytest.approx(paid(np.log(shares)), rel=1e-9)  # no gap between the multiplier's value and the plan's


@pytest.mark.parametrize("squeeze", [None, 0.7])
def test_elasticities_are_derivatives(squeeze):
    price, cycles, step = np.array([2e-10, 3e-9, 2e-9]), 2e9, 1e-5
    free = respond(user(3), cycles, 0.1, price, FREE, 0.0)
    row = user(3, left_s=math.inf if squeeze is None else free[2] * squeeze)
    _, _, _, _, by_time, by_price, ways = respond(row, cycles, 0.1, price, FREE, 0.0)
    expected = np.outer(by_time, ways) - np.diag(by_price)
    for j in range(3):
        ahead, behind = price.copy(), price.copy()
        ahead[j] *= math.exp(step)
        behind[j] *= math.exp(-step)
        high, low = (np.log(respond(row, cycles, 0.1, p, FREE, 0.0)[3]) for p in (ahead, behind))
        np.testing.assert_allclose((high - low) / (2 * step), expected[:, j], atol=1e-6)


def test_any_multiplier_gives_a_lower_bound():
    price, cycles = np.array([2e-10, 3e-9, 2e-9]), 2e9
    row = user(1, left_s=1.5)
    cost = respond(row, cycles, 0.1, price, FREE, 0.0)[0]
    for factor in (0.5, 1.0, 3.0, 50.0):
        relaxed = row.copy()
        relaxed[0] *= factor  # a guess of the time's price, the deadline paid back
        guess = respond(np.array([*relaxed[:7], math.inf]), cycles, 0.1, price, FREE, 0.0)[0]
        assert guess - (relaxed[0] - row[0]) * row[7] <= cost + 1e-12 or factor < 1
