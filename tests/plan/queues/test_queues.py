"""Plans for queues against enumeration, against what they claim, and against the other policies."""

import itertools

import equinox as eqx
import numpy as np
import pytest

from edgegen.core.rules import violated_rows
from edgegen.physics.objective import task_costs
from edgegen.physics.options import tabulate
from edgegen.physics.predict import limit_violations, predict
from edgegen.plan.live import CertifiedPlanner
from edgegen.plan.networks import fleet
from edgegen.plan.queues.bound import evaluate, first_prices, raise_bound
from edgegen.plan.queues.planner import Limits, plan_queues
from edgegen.plan.queues.problem import UNSERVED, Problem, queues
from edgegen.plan.queues.search import blank_placing, improve, insert_all, start_at, total_cost

GENEROUS = Limits(effort=100_000, rounds=60)


def problem_of(seed: int, **size) -> Problem:
    state = fleet(seed, **size)
    return queues(state, tabulate(state)).problem


def solved(problem: Problem, effort: int = 100_000):
    placing = blank_placing(*problem.options.shape)
    insert_all(problem, placing)
    improve(problem, placing, effort)
    return placing


def turn_cost(problem: Problem, p: int, order, picks) -> float:
    """Cost of serving tasks on one place in a given order with given options, written from the model alone."""
    free_s, link_s, total = problem.wait_s[p], problem.link_s[p], 0.0
    for t, o in zip(order, picks, strict=True):
        sent_s = max(max(free_s, problem.up_s[t, p]) + problem.busy_s[t, p, o], link_s)
        end_s = sent_s + problem.down_s[t, p]
        free_s, link_s = free_s + problem.busy_s[t, p, o], sent_s + problem.air_s[t, p]
        if end_s > problem.left_s[t]:
            return np.inf
        total += problem.cost[t, p, o] + problem.base[t, p] + problem.price[t] * end_s
    return total


def enumerated(problem: Problem, *, any_order: bool) -> float:
    """The optimum by trying every assignment and option, in the order of the plan or in any order."""
    tasks, places = problem.options.shape
    best = np.inf
    for where in itertools.product(range(-1, places), repeat=tasks):
        total = sum(problem.refusal[t] for t in range(tasks) if where[t] == UNSERVED)
        for p in range(places):
            members = [t for t in range(tasks) if where[t] == p]
            orders = itertools.permutations(members) if any_order else [tuple(members)]
            total += min(
                (
                    turn_cost(problem, p, order, picks)
                    for order in orders
                    for picks in itertools.product(*(range(problem.options[t, p]) for t in order))
                ),
                default=np.inf,
            )
            if total >= best:
                break
        best = min(best, total)
    return best


@pytest.mark.parametrize("seed", range(10))
def test_small_plans_are_near_the_enumerated_optimum_and_the_bound_is_below_it(seed):
    problem = problem_of(seed, tasks=4, nodes=3, models=2, devices=2)
    placing = solved(problem)
    cost, optimum = total_cost(problem, placing), enumerated(problem, any_order=False)
    assert optimum - 1e-9 <= cost <= optimum * 1.01
    edges, price, cells = first_prices(problem, placing)
    bound, _ = raise_bound(problem, edges, price, cells, cost, 60, 0.0)
    assert bound <= enumerated(problem, any_order=True) + 1e-9


def test_most_small_plans_are_optimal():
    exact = 0
    for seed in range(20, 40):
        problem = problem_of(seed, tasks=3, nodes=3, models=2, devices=2)
        exact += total_cost(problem, solved(problem)) <= enumerated(problem, any_order=False) + 1e-9
    assert exact >= 18


@pytest.mark.parametrize("seed", range(8))
def test_any_prices_give_a_lower_bound(seed):
    problem = problem_of(seed, tasks=4, nodes=3, models=2, devices=2)
    optimum, rng = enumerated(problem, any_order=True), np.random.default_rng(seed)
    for _ in range(20):
        cells = rng.integers(0, 5, problem.wait_s.size)
        edges = problem.wait_s[:, None] + np.cumsum(rng.exponential(0.3, (problem.wait_s.size, 6)), axis=1)
        edges[:, 0] = problem.wait_s
        price = rng.exponential(0.5, (problem.wait_s.size, 5)) * (rng.random((problem.wait_s.size, 5)) < 0.7)
        assert evaluate(problem, edges, price, cells, np.zeros_like(price)) <= optimum + 1e-9


@pytest.mark.parametrize("seed", range(12))
def test_a_decision_costs_what_its_certificate_says_and_keeps_every_limit(seed):
    state = fleet(seed, tasks=20, nodes=5, devices=4)
    decision = plan_queues(state, tabulate(state), GENEROUS)
    ledger = predict(state, decision)
    assert not violated_rows(state, decision).any()
    assert not any((rows & decision.placed).any() for rows in limit_violations(state, ledger).values())
    certificate = decision.certificate
    assert certificate is not None
    assert float(task_costs(state, ledger, decision.placed).sum()) == pytest.approx(certificate.objective, rel=1e-9)
    assert certificate.bound <= certificate.objective
    assert not certificate.cut


def test_crowded_plans_have_small_gaps():
    gaps = []
    for seed in range(20):
        state = fleet(seed, tasks=48, nodes=8, devices=6)
        gaps.append(plan_queues(state, tabulate(state), GENEROUS).certificate.gap)
    assert np.mean(gaps) < 0.04  # the bound knows nothing of results that wait for a downlink
    assert np.max(gaps) < 0.15


@pytest.mark.parametrize("seed", range(6))
def test_more_effort_and_more_rounds_never_hurt(seed):
    state = fleet(seed, tasks=24, nodes=5, devices=4)
    table = tabulate(state)
    found = [plan_queues(state, table, Limits(effort, 40)).certificate for effort in (1, 200, 1000, 100_000)]
    costs = [one.objective for one in found]
    assert costs == sorted(costs, reverse=True)
    few, many = (plan_queues(state, table, Limits(100_000, rounds)).certificate for rounds in (4, 60))
    assert few.bound <= many.bound + 1e-9


@pytest.mark.parametrize("seed", range(6))
def test_a_warm_start_from_a_plan_keeps_it_at_a_fraction_of_the_effort(seed):
    problem = problem_of(seed, tasks=32, nodes=6, devices=4)
    cold = solved(problem)
    warm = blank_placing(*problem.options.shape)
    start_at(problem, warm, cold.place)
    insert_all(problem, warm)
    assert total_cost(problem, warm) == pytest.approx(total_cost(problem, cold), rel=1e-12)
    improve(problem, warm, 100_000)
    assert total_cost(problem, warm) <= total_cost(problem, cold) + 1e-9
    assert warm.spent[0] < cold.spent[0]


@pytest.mark.parametrize("seed", range(4))
def test_a_last_plan_that_does_not_fit_any_more_is_mended(seed):
    problem = problem_of(seed, tasks=24, nodes=4, devices=3)
    everybody_here = blank_placing(*problem.options.shape)
    start_at(problem, everybody_here, np.full(problem.price.size, problem.wait_s.size - 1))
    assert np.isfinite(total_cost(problem, everybody_here))
    insert_all(problem, everybody_here)
    improve(problem, everybody_here, 100_000)
    assert total_cost(problem, everybody_here) <= 1.05 * total_cost(problem, solved(problem))


@pytest.mark.parametrize("seed", range(4))
def test_a_plan_that_is_cut_keeps_every_limit_and_can_be_made_again(seed):
    state = fleet(seed, tasks=48, nodes=8, devices=6)
    policy = CertifiedPlanner(budget_ms=1e-6)
    decision = policy.decide(state)
    certificate = decision.certificate
    assert certificate.cut
    assert certificate.bound > -np.inf
    ledger = predict(state, decision)
    assert not any((rows & decision.placed).any() for rows in limit_violations(state, ledger).values())
    again = policy.again(certificate).decide(state)
    np.testing.assert_equal(vars(again), vars(decision))


def test_a_state_planned_before_gives_the_same_plan_for_fewer_values():
    state = fleet(3, tasks=32, nodes=6, devices=4)
    policy = CertifiedPlanner(budget_ms=1e6)
    first = policy.decide(state)
    warm = eqx.tree_at(lambda s: s.tasks.planned, state, np.where(first.node >= 0, first.node, -1).astype(np.int32))
    second = policy.decide(warm)
    assert second.certificate.objective <= first.certificate.objective + 1e-9
    assert second.certificate.effort < first.certificate.effort


def test_limits_are_checked():
    with pytest.raises(ValueError, match="budget_ms must be greater than 0, got -1"):
        CertifiedPlanner(budget_ms=-1)
