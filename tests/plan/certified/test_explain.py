"""Explanations: what a move changes is what planning it costs, and what binds is what would help when loosened."""

import numpy as np
import pytest

from edgegen.plan.certified.baselines import fixed_assignment
from edgegen.plan.certified.draw import draw, golden
from edgegen.plan.certified.explain import MORE, Explainer
from edgegen.plan.certified.planner import exact, plan


@pytest.mark.parametrize("instance", [golden(), draw(3, users=6, servers=2), draw(1, users=5, servers=3)])
def test_the_change_of_every_move_is_what_the_moved_plan_costs(instance):
    best = exact(instance)
    explainer = Explainer(instance, best)
    for user in range(instance.users):
        found = explainer.explain(user)
        assert {found.node, *(other.node for other in found.others)} == set(range(instance.servers + 1))
        changes = [other.change for other in found.others]
        assert changes == sorted(changes)
        for other in found.others:
            node = np.array(best.node)
            node[user] = other.node
            expected = fixed_assignment(instance, node).objective - best.objective
            assert other.change == pytest.approx(expected, abs=1e-7)
            assert other.change >= -1e-7  # it is the optimum
            assert bool(other.obstacle) == np.isinf(other.change)


def test_costs_at_prices_are_a_lower_bound_together():
    instance = draw(3, users=6, servers=2)
    found = plan(instance, branches=0)
    explainer = Explainer(instance, found)
    paid = float((found.price * np.stack([instance.server_hz, instance.uplink_hz, instance.downlink_hz], axis=1)).sum())
    assert explainer.at_prices.min(axis=1).sum() - paid == pytest.approx(found.bound, abs=1e-6)


@pytest.mark.parametrize("seed", [0, 4, 7])
def test_what_binds_would_help_when_loosened(seed):
    drawn = draw(seed, users=5, servers=1, family="tight_deadline")
    tight = drawn.replace(deadline_s=drawn.deadline_s * 0.6, time_scale_s=drawn.time_scale_s)
    best = exact(tight)
    explainer = Explainer(tight, best)
    bound = [n for n in range(5) if "deadline" in explainer.binds(n)]
    assert bound
    for n in bound:
        later = np.array(tight.deadline_s)
        later[n] *= 1.05
        assert exact(tight.replace(deadline_s=later, time_scale_s=tight.time_scale_s)).objective < best.objective - 1e-7


def test_the_device_clock_the_battery_and_the_ends_of_the_steps_are_named():
    alone = draw(1, users=1, servers=0)
    slow = alone.replace(device_hz=[0.3e9], deadline_s=[60.0])
    assert "device clock" in Explainer(slow, exact(slow)).explain(0).binds
    weak = alone.replace(energy_j=[2.5], energy_scale_j=alone.energy_scale_j, weights=[[1.0, 0.3, 0.0]])
    assert "battery" in Explainer(weak, exact(weak)).explain(0).binds
    hurried = alone.replace(weights=[[0.0, 0.3, 0.2]])
    assert "fewest steps" in Explainer(hurried, exact(hurried)).explain(0).binds
    patient = alone.replace(weights=[[1.0, 0.0, 0.0]], deadline_s=[1e4], energy_j=[1e6])
    assert "most steps" in Explainer(patient, exact(patient)).explain(0).binds
    single = draw(1, users=1, servers=0, steps=np.array([12]))
    assert "only step count" in Explainer(single, exact(single)).explain(0).binds


def test_obstacles_say_which_limit_and_by_how_much():
    instance = draw(1, users=4, servers=2)
    snr, allowed = np.array(instance.up_snr_hz), np.array(instance.allowed)
    snr[0, 0] = 0.0
    allowed[1, 0] = False
    changed = instance.replace(
        up_snr_hz=snr,
        allowed=allowed,
        deadline_s=[10.0, 10.0, 0.05, 10.0],
        energy_j=[20.0, 20.0, 20.0, 1e-6],
    )
    explainer = Explainer(changed, plan(changed))
    assert explainer.obstacle(0, 1) == "out of reach"
    assert explainer.obstacle(0, 2) == ""
    assert explainer.obstacle(1, 0) == "no model there that the user may have"
    assert explainer.obstacle(2, 0).endswith("s at full clock, of 0.05 s")
    assert "with the server for itself, of 0.05 s" in explainer.obstacle(2, 1)
    assert explainer.obstacle(3, 0).startswith("no clock keeps both")
    assert explainer.obstacle(3, 1).startswith("the upload alone takes")


def test_a_refused_user_is_told_what_serving_it_would_cost():
    instance = draw(1, users=4, servers=2).replace(refusal_cost=np.full(4, 0.2))
    best = exact(instance)
    explainer = Explainer(instance, best)
    refused, served = (np.flatnonzero((best.node == -1) == sign) for sign in (True, False))
    assert refused.size
    found = explainer.explain(int(refused[0]))
    assert found.binds[0].startswith("refused")
    assert min(other.change for other in found.others) >= -1e-7
    assert -1 in [other.node for other in explainer.explain(int(served[0])).others]


@pytest.mark.parametrize("k", range(3))
def test_what_more_capacity_is_worth_is_what_planning_with_it_saves(k):
    instance = draw(3, users=6, servers=2)
    best = exact(instance)
    worth = Explainer(instance, best).worth_of_more()
    name = ("server_hz", "uplink_hz", "downlink_hz")[k]
    for m in range(2):
        more = np.array(getattr(instance, name))
        more[m] *= 1 + MORE
        other = fixed_assignment(instance.replace(**{name: more}), best.node)
        assert 0 < worth[m, k] <= best.objective - other.objective + 1e-7  # new steps may save more
        assert worth[m, k] >= 0.3 * (best.objective - other.objective)
