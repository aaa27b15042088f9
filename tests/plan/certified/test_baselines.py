"""The simple rules: each keeps every limit or says that it cannot, decides what its name says, and never beats the planner."""

import itertools

import numpy as np
import pytest

from edgegen.core.errors import UnknownNameError
from edgegen.plan.certified.baselines import BASELINES, cost_of_refusing, fixed_assignment
from edgegen.plan.certified.checker import check
from edgegen.plan.certified.draw import FAMILIES, draw, golden
from edgegen.plan.certified.given_shares import GivenShares
from edgegen.plan.certified.methods import METHODS, method, summary
from edgegen.plan.certified.planner import GOAL, Status, exact, plan


def run(name: str, instance, seed: int = 0):
    return METHODS[name](instance, np.random.default_rng(seed))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", range(3))
def test_every_method_keeps_the_limits_and_costs_at_least_the_optimum(name, family, seed):
    instance = draw(20 + seed, users=3 + seed, servers=1 + seed, family=family)
    best, found = exact(instance), run(name, instance, seed)
    if np.isfinite(found.objective):
        assert check(instance, found).broken == ()
        assert found.objective >= best.objective * (1 - 1e-9)
        assert plan(instance).objective <= found.objective * (1 + GOAL)
    else:
        assert found.status is Status.UNKNOWN
        assert (found.node == -1).all()
        assert name in BASELINES


@pytest.mark.parametrize("name", METHODS)
def test_every_method_answers_without_servers_without_users_and_with_refusals(name):
    alone, nobody = draw(1, users=3, servers=0), draw(1, users=0, servers=2)
    assert run(name, nobody).objective == 0.0
    found = run(name, alone)
    assert not np.isfinite(found.objective) or check(alone, found).holds
    hopeless = draw(1, users=4, servers=2).replace(deadline_s=[0.05, 8, 8, 8], refusal_cost=np.full(4, 2.25))
    found = run(name, hopeless)
    assert not np.isfinite(found.objective) or check(hopeless, found).holds


@pytest.mark.parametrize("name", METHODS)
def test_the_same_seed_gives_the_same_plan(name):
    instance = draw(5, users=5, servers=2)
    first, again = run(name, instance, 3), run(name, instance, 3)
    np.testing.assert_array_equal(first.node, again.node)
    np.testing.assert_array_equal(first.clock_hz, again.clock_hz)


def test_equal_shares_divide_equally_and_find_the_best_assignment_of_small_instances():
    for seed in range(4):
        instance = draw(seed, users=5, servers=2)
        found = run("equal-shares", instance)
        for m in (1, 2):
            mine = found.node == m
            np.testing.assert_allclose(found.clock_hz[mine], instance.server_hz[m - 1] / max(mine.sum(), 1))
            np.testing.assert_allclose(found.uplink_hz[mine], instance.uplink_hz[m - 1] / max(mine.sum(), 1))
        given = GivenShares(instance, np.ones((5, 2, 3)))
        every = [given.assignment(np.array(nodes)) for nodes in itertools.product(range(3), repeat=5)]
        best = min(one.cost for one in every if one is not None)
        assert best <= found.objective <= best * 1.005


def test_assignment_only_keeps_its_random_shares_in_proportion():
    instance = draw(3, users=8, servers=2)
    found, again = run("assignment-only", instance, 7), np.random.default_rng(7).exponential(size=(8, 2, 3)) + 1e-12
    for m in (1, 2):
        mine = np.flatnonzero(found.node == m)
        expected = again[mine, m - 1] / again[mine, m - 1].sum(axis=0)
        np.testing.assert_allclose(found.clock_hz[mine] / instance.server_hz[m - 1], expected[:, 0])
        np.testing.assert_allclose(found.downlink_hz[mine] / instance.downlink_hz[m - 1], expected[:, 2])


def test_resources_only_has_the_best_resources_of_its_random_assignment():
    instance = draw(3, users=6, servers=2)
    node = np.random.default_rng(4).integers(0, 3, 6)
    found = run("resources-only", instance, 4)
    assert found.node.tolist() == node.tolist()
    assert found.objective == fixed_assignment(instance, node).objective
    assert found.objective <= run("random", instance, 4).objective


def test_fixed_steps_take_one_step_count():
    instance = draw(2, users=4, servers=2, steps=np.array([5, 18, 21, 50])).replace(
        deadline_s=np.full(4, 60.0), energy_j=np.full(4, 500.0)
    )
    for name, steps in (("fixed-steps-min", 5), ("fixed-steps-20", 21), ("fixed-steps-max", 50)):
        assert set(run(name, instance).steps.tolist()) == {steps}
    floor = np.array(instance.allowed)
    floor[:, :, 2:] = False
    assert set(run("fixed-steps-20", instance.replace(allowed=floor)).steps.tolist()) == {18}


def test_fixed_steps_leave_every_model_its_own_step_count():
    one = draw(2, users=3, servers=1, steps=np.array([5, 10]))

    def both(values, factor=1.0):
        return np.concatenate([values, values * factor], axis=2)

    two = one.replace(
        steps=[5, 10, 5, 10],
        model=[0, 0, 1, 1],
        error=both(one.error, 1.1),
        cycles=both(one.cycles, 0.1),
        allowed=np.concatenate([one.allowed] * 2, axis=2),
    )
    found = run("fixed-steps-max", two)
    assert set(found.steps.tolist()) == {10}
    assert set(found.model.tolist()) == {1}


def test_who_cannot_keep_the_limits_counts_what_refusing_costs():
    assert cost_of_refusing(golden()) == pytest.approx(3 * 1.5 * 1.5)
    assert cost_of_refusing(golden().replace(refusal_cost=[1.0, 2.0, np.inf])) == pytest.approx(3 + 2.25)


def test_methods_are_known_by_name_and_described():
    with pytest.raises(UnknownNameError, match="did you mean 'nearest'"):
        method("neares")
    assert method("plan", goal=1.0, branches=0)(golden(), np.random.default_rng(0)).branches == 0
    for name in METHODS:
        assert len(summary(name)) > 20
