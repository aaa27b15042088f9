"""The certified planner: bound <= exact <= plan <= baselines, feasible by the independent checker, monotone."""

import numpy as np
import pytest

from edgegen.core.errors import InputError
from edgegen.plan.certified.alternating import alternating
from edgegen.plan.certified.baselines import BASELINES, fixed_assignment
from edgegen.plan.certified.checker import check
from edgegen.plan.certified.draw import FAMILIES, draw, golden
from edgegen.plan.certified.exact import by_subsets
from edgegen.plan.certified.planner import Status, exact, plan
from edgegen.plan.certified.tables import local_options, tables


def optimum(instance) -> float:
    return exact(instance).objective


def test_the_golden_instance():
    best = exact(golden())
    assert best.status is Status.OPTIMAL
    assert best.objective == pytest.approx(0.590842, abs=1e-6)
    assert best.node.tolist() == [1, 0, 2]
    assert best.steps.tolist() == [20, 15, 20]
    assert plan(golden()).objective == pytest.approx(0.590842, abs=1e-6)
    found = by_subsets(tables(golden(), local_options(golden())))
    assert found is not None
    assert found.cost == pytest.approx(best.objective, abs=1e-8)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", range(8))
def test_bound_exact_plan_and_baselines_are_in_order(seed, family):
    instance = draw(seed, users=2 + seed % 5, servers=1 + seed % 3, family=family)
    best, found = exact(instance), plan(instance)
    first = plan(instance, branches=0)
    assert best.status is Status.OPTIMAL
    for one in (first, found):
        assert one.bound <= best.objective <= one.objective * (1 + 1e-9)
        assert check(instance, one).broken == ()
    assert check(instance, best).broken == ()
    assert found.objective <= best.objective * 1.001
    for name, rule in {**BASELINES, "alternating": alternating}.items():
        other = rule(instance, np.random.default_rng(seed))
        assert found.objective <= other.objective * (1 + 1e-9), name
        if np.isfinite(other.objective):
            assert check(instance, other).broken == (), name


@pytest.mark.parametrize("seed", range(4))
def test_a_second_model_is_taken_where_it_pays_and_never_costs(seed):
    """A faster model with a larger error beside the first one: the same steps, twice, told apart by the model."""
    one = draw(seed, users=5, servers=2, family="tight_deadline", steps=np.array([5, 10, 20]))

    def both(first, second):
        return np.concatenate([first, second], axis=2)

    two = one.replace(
        steps=[5, 10, 20, 5, 10, 20],
        model=[0, 0, 0, 1, 1, 1],
        error=both(one.error, one.error * 1.1),
        cycles=both(one.cycles, one.cycles * 0.5),
        allowed=both(one.allowed, one.allowed),
    )
    only, found, best = plan(one), plan(two), exact(two)
    assert check(two, found).broken == check(two, best).broken == ()
    assert best.objective <= optimum(one)
    assert found.objective <= best.objective * 1.001
    assert set(only.model.tolist()) == {0}
    assert 1 in best.model


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", range(3))
def test_two_exact_methods_agree(seed, family):
    instance = draw(50 + seed, users=6, servers=2, family=family)
    other = by_subsets(tables(instance, local_options(instance)))
    assert other is not None
    assert optimum(instance) == pytest.approx(other.cost, rel=1e-7)


@pytest.mark.parametrize("family", FAMILIES)
def test_larger_instances_are_certified(family):
    found = plan(draw(4, users=40, servers=5, family=family))
    assert check(draw(4, users=40, servers=5, family=family), found).broken == ()
    assert found.gap <= 0.01
    assert found.status is Status.FEASIBLE


@pytest.mark.parametrize("field", ["server_hz", "uplink_hz", "downlink_hz", "energy_j"])
@pytest.mark.parametrize("seed", range(3))
def test_the_optimum_does_not_rise_with_room(field, seed):
    instance = draw(seed, users=4, servers=2, family=FAMILIES[seed])
    more = {field: getattr(instance, field) * 1.3}
    if field == "energy_j":
        more["energy_scale_j"] = instance.energy_scale_j
    assert optimum(instance.replace(**more)) <= optimum(instance) * (1 + 1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_the_optimum_does_not_rise_with_time_steps_or_servers(seed):
    instance = draw(seed, users=4, servers=2, family="tight_deadline")
    best = optimum(instance)
    later = instance.replace(deadline_s=instance.deadline_s * 1.2, time_scale_s=instance.time_scale_s)
    assert optimum(later) <= best * (1 + 1e-8)
    fewer_steps = np.array(instance.allowed)
    fewer_steps[:, :, 1::2] = False
    assert optimum(instance.replace(allowed=fewer_steps)) >= best * (1 - 1e-8)
    one_server = np.array(instance.allowed)
    one_server[:, 2] = False
    assert optimum(instance.replace(allowed=one_server)) >= best * (1 - 1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_the_optimum_rises_with_users(seed):
    instance = draw(seed, users=5, servers=2)
    rows = {name: np.array(value) for name, value in vars(instance).items()}
    fewer = {n: v[:4] if v.shape[0] == 5 and n != "steps" else v for n, v in rows.items()}
    assert optimum(type(instance).build(**fewer)) <= optimum(instance)


def test_without_a_weight_of_quality_everybody_takes_the_fewest_steps():
    weights = np.tile([0.0, 0.3, 0.2], (4, 1))
    assert (exact(draw(1, users=4).replace(weights=weights)).steps == 5).all()


def test_without_weights_of_time_and_energy_and_without_limits_everybody_takes_the_most_steps():
    instance = draw(1, users=4)
    free = instance.replace(
        weights=np.tile([1.0, 0.0, 0.0], (4, 1)),
        deadline_s=np.full(4, 1e4),
        energy_j=np.full(4, 1e6),
    )
    found = exact(free)
    assert (found.steps == 50).all()
    assert check(free, found).broken == ()


def test_one_user_on_one_server_gets_all_of_it():
    instance = draw(2, users=1, servers=1)
    found = exact(instance)
    assert found.node.tolist() == [1]
    assert found.clock_hz[0] == instance.server_hz[0]
    assert found.uplink_hz[0] == instance.uplink_hz[0]


def test_no_servers_and_no_users():
    alone = draw(1, users=3, servers=0)
    found = plan(alone)
    np.testing.assert_allclose(found.objective, local_options(alone).cost.sum())
    assert found.status is Status.OPTIMAL
    nobody = plan(draw(1, users=0, servers=2))
    assert (nobody.objective, nobody.status) == (0.0, Status.OPTIMAL)


def test_a_set_of_one_step_count_is_kept():
    instance = draw(3, users=4, servers=2, steps=np.array([12]))
    found = exact(instance)
    assert (found.steps == 12).all()
    assert check(instance, found).broken == ()


def test_a_user_out_of_reach_stays_on_its_device():
    instance = draw(3, users=4, servers=2)
    snr = np.array(instance.up_snr_hz)
    snr[1] = 0.0
    found = exact(instance.replace(up_snr_hz=snr))
    assert found.node[1] == 0


def test_what_cannot_be_met_is_infeasible_and_refusing_makes_it_feasible():
    instance = draw(1, users=4, servers=2).replace(deadline_s=np.array([0.05, 8, 8, 8.0]))
    found = plan(instance)
    assert found.status is Status.INFEASIBLE
    assert found.gap == np.inf
    offered = exact(instance.replace(refusal_cost=np.full(4, 2.25)))
    assert offered.node[0] == -1
    assert offered.status is Status.OPTIMAL
    assert check(instance.replace(refusal_cost=np.full(4, 2.25)), offered).broken == ()


def test_a_quality_floor_removes_step_counts():
    instance = draw(1, users=4, servers=2)
    floor = np.array(instance.allowed & (instance.error <= 0.06))
    found = exact(instance.replace(allowed=floor))
    step = np.searchsorted(instance.steps, found.steps)
    assert (instance.error[np.arange(4), found.node, step] <= 0.06).all()


def test_prices_of_the_last_plan_are_a_start_and_wrong_ones_are_refused():
    instance = draw(7, users=20, servers=3)
    first = plan(instance)
    again = plan(instance, price=first.price)
    assert again.gap <= max(first.gap, 1e-3)
    with pytest.raises(InputError, match=r"price must be float\[3, 3\]"):
        plan(instance, price=np.ones(3))


def test_the_same_instance_gives_the_same_plan():
    first, again = (plan(draw(9, users=15, servers=3)) for _ in range(2))
    np.testing.assert_array_equal(first.clock_hz, again.clock_hz)
    assert first.objective == again.objective


def test_alternating_is_better_than_its_start_and_does_not_reach_the_planner():
    gains, misses = [], []
    for seed in range(5):
        instance = draw(seed, users=6, servers=2)
        start = fixed_assignment(instance, np.zeros(6, dtype=int)).objective
        reached = alternating(instance, np.random.default_rng(seed)).objective
        gains.append(start - reached)
        misses.append(reached / plan(instance).objective - 1)
    assert min(gains) >= -1e-9
    assert np.mean(misses) > 1e-3


def test_a_given_assignment_is_valued_exactly():
    instance = golden()
    found = fixed_assignment(instance, np.array([1, 2, 1]))
    assert found.objective == pytest.approx(0.595844, abs=1e-6)
    np.testing.assert_allclose(found.clock_hz[[0, 2]], [0.4903e9, 0.5097e9], rtol=1e-3)
    np.testing.assert_allclose(found.uplink_hz[[0, 2]], [2.291e6, 2.709e6], rtol=1e-3)
