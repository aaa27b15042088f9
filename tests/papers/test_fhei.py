"""Feature-hierarchical edge inference: golden values, the closed form against numeric search, bounds and properties."""

import dataclasses

import numpy as np
import pytest

from edgegen.core.errors import InputError
from edgegen.papers import fhei
from edgegen.plan import in_time


def at_random(site):
    rng = np.random.default_rng(0)
    return fhei.greedy(site, score=lambda gain, added: rng.random())


METHODS = {
    "near optimal": fhei.near_optimal,
    "greedy": fhei.greedy,
    "exact": fhei.exact,
    "equal shares": fhei.equal_shares,
    "same level": fhei.same_level,
    "random": at_random,
}


def sites(count, users=4, seed=3):
    rng = np.random.default_rng(seed)
    return [fhei.random_site(rng, users) for _ in range(count)]


def test_golden_burdens():
    site = fhei.golden()
    wanted = {(1, 1, 1): 0.851575, (4, 3, 2): 1.975788, (3, 3, 1): 1.372018, (2, 2, 1): 0.991465, (2, 1, 1): 0.897341}
    for levels, value in (wanted | {(1, 2, 1): 0.939341, (3, 3, 0): 0.96618}).items():
        assert fhei.burden(site, np.array(levels)) == pytest.approx(value, abs=1e-5)


def test_golden_optimum_and_bound():
    site = fhei.golden()
    best = fhei.exact(site)
    assert best.levels.tolist() == [2, 2, 1]
    assert best.quality == pytest.approx(0.98)
    ours = fhei.near_optimal(site)
    assert ours.quality == pytest.approx(0.98)
    assert ours.bound == pytest.approx(0.983873, abs=1e-3)
    assert ours.bound >= best.quality
    equal = fhei.equal_shares(site)
    assert (equal.levels.tolist(), equal.quality) == ([2, 1, 0], pytest.approx(0.63))
    every = np.indices((5, 5, 5)).reshape(3, -1).T
    assert int((fhei.burden(site, every) <= 1).sum()) - 1 == 32  # without the empty one


@pytest.mark.parametrize("method", METHODS)
def test_every_answer_is_in_time_and_within_the_shares(method):
    for site in sites(8):
        answer = METHODS[method](site)
        assert (answer.shares.sum(axis=0) <= 1 + 1e-7).all()
        assert (fhei.latency_s(site, answer.levels, answer.shares) <= site.deadline_s * (1 + 1e-7)).all()


@pytest.mark.parametrize("method", [name for name in METHODS if name != "exact"])
def test_nothing_is_better_than_the_optimum(method):
    for site in sites(8):
        assert METHODS[method](site).quality <= fhei.exact(site).quality + 1e-9


def test_the_bound_holds_for_any_prices():
    rng = np.random.default_rng(5)
    for site in sites(5):
        best = fhei.exact(site).quality
        assert all(fhei.bound(site, rng.exponential(1.0, 3)) >= best - 1e-9 for _ in range(50))


def test_the_closed_form_is_what_a_convex_solver_finds():
    from scipy.optimize import minimize

    site, levels = fhei.golden(), np.array([2, 1, 1])
    work, slack_s = site.demands()
    work, slack_s = work[np.arange(3), levels], slack_s[np.arange(3), levels]

    def seconds(x):
        parts = np.exp(x[:-1]).reshape(3, 3)
        return slack_s[:, None] * parts / parts.sum(axis=1, keepdims=True)

    found = minimize(
        lambda x: x[-1],
        np.zeros(10),
        constraints={"type": "ineq", "fun": lambda x: x[-1] - (work / seconds(x)).sum(axis=0)},
        method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-12},
    )
    assert found.fun == pytest.approx(float(fhei.burden(site, levels)), abs=1e-5)


def test_more_of_anything_never_hurts():
    for site in sites(5):
        before = fhei.exact(site).quality
        for more in (
            {"deadline_s": site.deadline_s * 1.2},
            {"server_flops": site.server_flops * 1.5},
            {"uplink_bps": site.uplink_bps * 1.5},
            {"downlink_bps": site.downlink_bps * 1.5},
            {"mobile_flops": site.mobile_flops * 1.5},
        ):
            assert fhei.exact(dataclasses.replace(site, **more)).quality >= before


def test_one_user_gets_everything_it_can_use():
    site = fhei.random_site(np.random.default_rng(8), users=1)
    work, slack_s = site.demands()
    by_hand = max(level for level in range(5) if level == 0 or work[0, level].sum() <= slack_s[0, level])
    assert fhei.near_optimal(site).levels.tolist() == [by_hand]


def test_equal_users_get_nearly_equal_levels():
    site = dataclasses.replace(
        fhei.golden(),
        uplink_bps=np.full(3, 30e6),
        downlink_bps=np.full(3, 50e6),
        mobile_flops=np.full(3, 100e9),
    )
    levels = fhei.near_optimal(site).levels
    assert np.ptp(levels) <= 1
    work, slack_s = site.demands()
    assert np.ptp(in_time.least_shares(work[:, 1], slack_s[:, 1]), axis=0).max() < 1e-9


def test_the_claims_of_the_source_hold():
    bars = fhei.claims(lambda line: None, instances=20)
    assert [bar.bar for bar in bars if bar.ok is False] == []


def test_bad_numbers_are_refused_by_name():
    with pytest.raises(InputError, match="uplink_bps must be positive and finite"):
        dataclasses.replace(fhei.golden(), uplink_bps=np.array([1.0, np.nan, 2.0]))
    with pytest.raises(InputError, match="deadline_s must be positive and finite, got 0"):
        dataclasses.replace(fhei.golden(), deadline_s=0)
    with pytest.raises(InputError, match="vectors to look at"):
        fhei.exact(fhei.random_site(np.random.default_rng(0), users=12))
