"""Accountants that share no code agree, and what a budget allows is exactly what it allows."""

import itertools
import math

import pytest

pytest.importorskip("opacus")
pytest.importorskip("dp_accounting")

from edgegen.core.errors import InputError
from edgegen.tune.privacy.accounting import (
    MOST_STEPS,
    Release,
    affordable_rounds,
    affordable_steps,
    after,
    by_dp_accounting,
    by_flower,
    by_opacus,
    epsilon,
    epsilon_of_rounds,
    least_noise,
)
from edgegen.tune.privacy.promise import CLIENT, EXAMPLE, Privacy

pytestmark = pytest.mark.torch

DELTA = 1e-5
GRID = list(itertools.product((0.8, 2.0, 6.0), (1.0, 0.3, 0.02), (1, 50, 1000)))


@pytest.mark.parametrize(("noise", "rate", "steps"), GRID)
def test_two_accountants_agree_within_one_percent_and_the_second_never_says_less_where_budgets_are_large(
    noise, rate, steps
):
    releases = [Release(noise, rate, steps)]
    ours, theirs = by_opacus(releases, DELTA), by_dp_accounting(releases, DELTA)
    if ours <= 12:
        assert theirs == pytest.approx(ours, rel=0.01)
    assert theirs >= ours * (1 - 1e-6)


@pytest.mark.parametrize(("noise", "steps"), list(itertools.product((0.5, 1.0, 4.0), (1, 3, 10))))
def test_flower_agrees_where_every_client_takes_part(noise, steps):
    pytest.importorskip("flwr")
    releases = [Release(noise, 1.0, steps)]
    assert by_flower(releases, DELTA) == pytest.approx(by_opacus(releases, DELTA), rel=0.01)


def test_flower_is_not_asked_what_it_does_not_count():
    pytest.importorskip("flwr")
    with pytest.raises(InputError, match="sample_rate must be 1"):
        by_flower([Release(1.0, 0.5, 1)], DELTA)


def test_a_tighter_accountant_says_less_but_not_much_less():
    """Privacy loss distributions know the mechanism exactly; the divergence only bounds it."""
    from dp_accounting import dp_event
    from dp_accounting.pld import pld_privacy_accountant

    tight = pld_privacy_accountant.PLDAccountant()
    tight.compose(dp_event.PoissonSampledDpEvent(0.05, dp_event.GaussianDpEvent(1.07)), 600)
    bound = by_opacus([Release(1.07, 0.05, 600)], DELTA)
    assert 0.85 * bound < tight.get_epsilon(DELTA) < bound


def test_one_gaussian_release_has_the_known_epsilon():
    """At order a the divergence is a / 2 z^2; the least over a of the bound, found by hand on a fine grid."""
    noise = 2.0
    orders = [1 + k / 1000 for k in range(1, 60_000)]
    by_hand = min(a / (2 * noise**2) + math.log1p(-1 / a) - (math.log(DELTA) + math.log(a)) / (a - 1) for a in orders)
    assert epsilon([Release(noise, 1.0, 1)], DELTA) == pytest.approx(by_hand, rel=1e-3)


def test_epsilon_rises_with_steps_and_rate_and_falls_with_noise():
    def of(noise=1.0, rate=0.1, steps=100):
        return epsilon([Release(noise, rate, steps)], DELTA)

    assert of(steps=50) < of() < of(steps=200)
    assert of(rate=0.05) < of() < of(rate=0.2)
    assert of(noise=2.0) < of() < of(noise=0.7)
    assert epsilon([], DELTA) == epsilon([Release(1.0, 0.1, 0)], DELTA) == 0.0


def test_rounds_add_up_to_the_same_as_one_long_training():
    spent = ()
    for _ in range(3):
        spent = after(spent, Release(1.1, 0.2, 20))
    assert spent == (Release(1.1, 0.2, 60),)
    split = [Release(1.1, 0.2, 20), Release(1.1, 0.2, 40)]
    assert epsilon(split, DELTA) == pytest.approx(epsilon(spent, DELTA), rel=1e-9)
    assert after(spent, Release(1.2, 0.2, 1))[-1] == Release(1.2, 0.2, 1)


@pytest.mark.parametrize(("budget", "rate", "steps"), [(8.0, 0.4, 50), (1.0, 0.05, 300), (8.0, 1.0, 3)])
def test_the_least_noise_keeps_the_budget_and_a_little_less_does_not(budget, rate, steps):
    noise = least_noise(budget, delta=DELTA, sample_rate=rate, steps=steps)
    assert 0.99 * budget <= epsilon([Release(noise, rate, steps)], DELTA) <= budget
    assert epsilon([Release(0.99 * noise, rate, steps)], DELTA) > budget


def test_a_budget_that_no_noise_keeps_is_refused():
    with pytest.raises(InputError, match="no noise keeps"):
        least_noise(1e-9, delta=DELTA, sample_rate=1.0, steps=10)


def test_affordable_steps_keep_the_budget_and_one_more_does_not():
    privacy = Privacy(EXAMPLE, noise=1.2, max_epsilon=4.0)
    steps = affordable_steps(privacy, 0.1)
    assert epsilon([Release(1.2, 0.1, steps)], DELTA) <= 4.0 < epsilon([Release(1.2, 0.1, steps + 1)], DELTA)
    spent = [Release(1.2, 0.1, 30)]
    assert affordable_steps(privacy, 0.1, spent=spent) == steps - 30
    assert affordable_rounds(privacy, 0.1, 20) == steps // 20


def test_the_site_that_draws_its_examples_most_often_decides_what_rounds_spend():
    of_rounds = epsilon_of_rounds(Privacy(EXAMPLE, noise=1.1), (0.1, 0.4, 0.2), local_steps=5)
    assert of_rounds(3) == epsilon([Release(1.1, 0.4, 15)], DELTA)
    assert of_rounds(0) == 0.0 < of_rounds(1) < of_rounds(2)
    with pytest.raises(InputError, match="at least one site"):
        epsilon_of_rounds(Privacy(EXAMPLE), (), local_steps=5)


def test_a_round_of_clients_is_one_release_and_a_spent_budget_allows_none():
    privacy = Privacy(CLIENT, noise=1.0, max_epsilon=8.0)
    assert affordable_rounds(privacy, 1.0, 1) == 2  # one round spends 4.73, two 7.08, three 9.1
    assert affordable_steps(privacy, 1.0, spent=[Release(1.0, 1.0, 2)]) == 0
    assert affordable_steps(Privacy(CLIENT), 1.0) == MOST_STEPS  # no budget


@pytest.mark.parametrize("wrong", [{"noise": 0.0}, {"sample_rate": 1.5}, {"sample_rate": 0.0}, {"steps": -1}])
def test_a_release_that_cannot_be_is_refused_by_name(wrong):
    with pytest.raises(InputError) as refused:
        Release(**({"noise": 1.0, "sample_rate": 0.5, "steps": 1} | wrong))
    assert refused.value.param in wrong
