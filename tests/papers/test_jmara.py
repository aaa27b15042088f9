"""Model assignment by prompt category: golden values, the closed form, limits of the weights, annealing against enumeration."""

import dataclasses

import numpy as np
import pytest

from edgegen.core.errors import InputError
from edgegen.papers import jmara

SITE = jmara.default_site()


@pytest.mark.parametrize(
    ("assignment", "steps", "utility"),
    [
        ((1, 1, 2, 2), (None, 12, 8), 0.459351),
        ((0, 1, 2, 2), (12, 12, 10), 0.458601),
        ((1, 1, 1, 2), (None, 12, 10), 0.455927),
        ((0, 1, 1, 2), (14, 12, 10), 0.453984),
        ((2, 2, 2, 2), (None, None, 8), 0.434915),
        ((0, 0, 0, 0), (16, None, None), 0.386589),
    ],
)
def test_golden_values(assignment, steps, utility):
    found = jmara.best_steps(SITE, jmara.counts_of(SITE, np.array(assignment)))
    assert found.utility == pytest.approx(utility, abs=1e-6)
    assert all(wanted in (None, got) for wanted, got in zip(steps, found.steps.tolist(), strict=True))


def test_the_joint_optimum_is_the_golden_one_and_no_single_prompt_wants_to_move():
    best = jmara.joint_optimum(SITE)
    assert best.utility == pytest.approx(0.459351, abs=1e-6)
    assert best.counts.argmax(axis=1).tolist() == [1, 1, 2, 2]


def test_the_boundary_of_the_threshold_counts_as_reached():
    assert jmara.threshold_assignment(SITE, target=0.70, confidence=0.5).tolist() == [0, 1, 1, 2]


def test_a_higher_target_never_takes_a_cheaper_model_that_qualifies():
    last = np.zeros(4)
    for target in np.linspace(0.4, 0.8, 9):
        likely = jmara.reach_probability(SITE, target)
        chosen = jmara.threshold_assignment(SITE, target=target)
        qualified = (likely >= 0.5).any(axis=1)
        assert (chosen[qualified] >= last[qualified]).all()
        last = np.where(qualified, chosen, last)


def test_probabilities_agree_with_drawing():
    draws = np.random.default_rng(0).normal(SITE.score_mean, SITE.score_sd, (100_000, 4, 3))
    np.testing.assert_allclose(jmara.reach_probability(SITE, 0.7), (draws >= 0.7).mean(axis=0), atol=0.01)


def test_the_closed_form_of_the_shares_is_the_least_delay():
    from scipy.optimize import minimize

    load, steps = np.array([6.0, 10, 4]), np.array([12.0, 12, 8])
    found = minimize(lambda x: jmara.delay_with(SITE, load, steps, np.exp(x) / np.exp(x).sum()), np.zeros(3), tol=1e-14)
    closed = float(jmara.delay_s(SITE, load, steps))
    assert found.fun == pytest.approx(closed, rel=1e-8)
    assert jmara.delay_with(SITE, load, steps, jmara.best_shares(SITE, load, steps)) == pytest.approx(closed, rel=1e-12)


def test_one_model_is_the_formula_by_hand():
    site = dataclasses.replace(
        SITE,
        score_mean=SITE.score_mean[:, :1],
        score_sd=SITE.score_sd[:, :1],
        curve_scale=SITE.curve_scale[:1],
        curve_power=SITE.curve_power[:1],
        step_flop=SITE.step_flop[:1],
    )
    quality = (site.prompts * site.score_mean[:, 0]).sum() * (1 - 0.6 * 10**-1.2) / 20
    delay = 20 * 10 * 0.2 / 30 / 60  # each of 20 prompts waits for all 20: 20 prompts x 10 steps x 0.2 / 30 s
    found = jmara.utility(site, site.prompts[:, None], np.array([10]))
    assert found == pytest.approx(0.7 * quality - 0.3 * delay)


def test_with_all_weight_on_one_side_the_extremes_win():
    all_quality = jmara.joint_optimum(dataclasses.replace(SITE, quality_weight=1.0))
    assert all_quality.counts[:, 2].tolist() == SITE.prompts.tolist()
    assert all_quality.steps[2] == 40
    all_delay = jmara.joint_optimum(dataclasses.replace(SITE, quality_weight=0.0))
    assert all_delay.counts[:, 0].tolist() == SITE.prompts.tolist()
    assert all_delay.steps[0] == 4


def test_more_compute_and_more_choice_of_steps_never_hurt():
    counts = jmara.counts_of(SITE, np.array([0, 1, 1, 2]))
    before = jmara.best_steps(SITE, counts).utility
    assert jmara.best_steps(dataclasses.replace(SITE, compute_flops=60e12), counts).utility >= before
    assert jmara.best_steps(dataclasses.replace(SITE, steps=SITE.steps[::2]), counts).utility <= before


def test_no_benchmark_beats_the_joint_optimum():
    best = jmara.joint_optimum(SITE).utility
    for name, answer in jmara.baselines(SITE, np.random.default_rng(1)).items():
        assert answer.utility <= best + 1e-12, name
        assert answer.counts.sum(axis=1).tolist() == SITE.prompts.tolist()
        assert answer.shares.sum() <= 1 + 1e-12


def test_annealing_is_never_above_enumeration_and_nearly_always_reaches_it():
    counts = jmara.counts_of(SITE, np.array([1, 1, 2, 2]))
    best = jmara.best_steps(SITE, counts).utility
    found = np.array([jmara.anneal(SITE, counts, np.random.default_rng(seed)).utility for seed in range(40)])
    assert (found <= best + 1e-12).all()
    assert (found >= 0.995 * best).mean() >= 0.95


def test_a_price_on_work_moves_prompts_to_cheaper_models_until_they_fit():
    free = jmara.random_assignment(SITE)
    steps = np.array([12, 12, 10])
    work_s = (SITE.prompts[:, None] * free).sum(axis=0) @ (steps * SITE.step_flop) / SITE.compute_flops
    fitted = jmara.affordable_assignment(SITE, steps, longest_s=work_s / 2)
    assert (fitted[:, 2] < free[:, 2]).all()
    spent = (SITE.prompts[:, None] * fitted).sum(axis=0) @ (steps * SITE.step_flop) / SITE.compute_flops
    assert spent == pytest.approx(work_s / 2, rel=1e-6)
    assert (jmara.affordable_assignment(SITE, steps, longest_s=1e6) == free).all()
    with pytest.raises(InputError, match="even on the cheapest models"):
        jmara.affordable_assignment(SITE, steps, longest_s=1e-3)


def test_scores_are_learnt_from_a_log():
    rng = np.random.default_rng(2)
    logged = [[rng.normal(SITE.score_mean[c, j], SITE.score_sd[c, j], 5000) for j in range(3)] for c in range(4)]
    mean, sd = jmara.estimated_scores(logged, np.full((4, 3), 0.5), np.full((4, 3), 0.1))
    np.testing.assert_allclose(mean, SITE.score_mean, atol=0.01)
    np.testing.assert_allclose(sd, SITE.score_sd, atol=0.01)
    nothing = [[np.array([]) for _ in range(3)] for _ in range(4)]
    mean, sd = jmara.estimated_scores(nothing, np.full((4, 3), 0.5), np.full((4, 3), 0.1))
    assert (mean == 0.5).all()
    np.testing.assert_allclose(sd, 0.1)


def test_labels_without_errors_change_nothing_and_useless_labels_leave_the_average():
    np.testing.assert_allclose(jmara.posterior_scores(SITE, np.eye(4)), SITE.score_mean)
    average = SITE.prompts @ SITE.score_mean / SITE.prompts.sum()
    np.testing.assert_allclose(jmara.posterior_scores(SITE, np.full((4, 4), 0.25)), np.tile(average, (4, 1)))


def test_the_claims_hold():
    bars = jmara.claims(lambda line: None)
    assert [bar.bar for bar in bars if bar.ok is False] == []


def test_bad_numbers_are_refused_by_name():
    for change, message in (
        ({"quality_weight": 1.2}, "quality_weight must be in"),
        ({"compute_flops": 0.0}, "compute_flops must be positive"),
        ({"prompts": np.array([0, 0, 0, 0])}, "at least one prompt"),
        ({"steps": np.array([], dtype=int)}, "steps must be positive"),
    ):
        with pytest.raises(InputError, match=message):
            dataclasses.replace(SITE, **change)
