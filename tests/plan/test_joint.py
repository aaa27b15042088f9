"""The joint planner against values that were computed with other solvers, and against what must hold."""

import itertools

import equinox as eqx
import numpy as np
import pytest

from edgegen.core.rules import violated_rows
from edgegen.core.state import ENERGY, QUALITY, TIME
from edgegen.physics.objective import task_costs
from edgegen.physics.options import options
from edgegen.physics.predict import predict
from edgegen.plan.joint import JointPlanner, _searched, plan
from edgegen.plan.menu import Menus
from edgegen.plan.networks import Cell, cell_state, cellular, fleet, golden_cell
from edgegen.plan.places import Places


@pytest.fixture
def golden():
    """Values from enumeration with an interior-point solver, confirmed by a MINLP solver."""
    return golden_cell()


NODE_VALUES = {
    1: {(0,): 0.142370, (1,): 0.160404, (2,): 0.131681, (0, 1): 0.456066, (0, 2): 0.412238, (1, 2): 0.437803,
        (0, 1, 2): 0.836645},
    2: {(0,): 0.162855, (1,): 0.183607, (2,): 0.144941, (0, 1): 0.523192, (0, 2): 0.464484, (1, 2): 0.493458,
        (0, 1, 2): 0.956076},
}  # fmt: skip


def test_local_costs_and_clocks_have_the_closed_form(golden):
    table = options(golden)
    np.testing.assert_allclose(table.cost[0, 0, 1], [0.49588, 0.31573, 0.30097, 0.32175, 0.39521], atol=1e-5)
    np.testing.assert_allclose(table.cost[:, 0, 1].min(axis=-1), [0.30097, 0.30353, 0.29623], atol=1e-5)
    clock_hz = table.clock[:, 0, 1, 0] * np.array([1.0e9, 1.2e9, 0.8e9])
    np.testing.assert_allclose(clock_hz, [0.7211e9, 0.8892e9, 0.6166e9], rtol=1e-4)
    assert table.total_s[0, 0, 1, 2] == pytest.approx(4.1602, abs=1e-4)
    assert table.device_energy_j[0, 0, 1, 2] == pytest.approx(6.2403, abs=1e-4)


@pytest.mark.parametrize(("node", "tasks"), [(n, tasks) for n, sets in NODE_VALUES.items() for tasks in sets])
def test_node_values_match_the_exact_ones(golden, node, tasks):
    table = options(golden)
    value = Places(golden, table, Menus(golden, table)).value((node, -1), frozenset(tasks))
    assert value.cost == pytest.approx(NODE_VALUES[node][tasks], abs=2e-6)


def test_the_golden_optimum_is_found(golden):
    found = plan(golden)
    assert found.objective == pytest.approx(0.590842, abs=1e-5)
    np.testing.assert_array_equal(found.decision.node, [1, 0, 2])
    np.testing.assert_array_equal(found.decision.steps, [20, 15, 20])
    assert found.finished


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("network", [cellular, fleet])
def test_the_planned_cost_is_the_predicted_cost(network, seed):
    state = network(seed)
    found = plan(state)
    ledger = predict(state, found.decision)
    assert found.objective == pytest.approx(task_costs(state, ledger, found.decision.placed).sum(), rel=1e-6)
    assert not (ledger.late | ledger.infeasible).any()
    assert not violated_rows(state, found.decision).any()


def by_enumeration(state) -> float:
    """The best objective over all assignments, by the same node values."""
    table = options(state)
    menus = Menus(state, table)
    places = Places(state, table, menus)
    tasks = [int(t) for t in np.flatnonzero(state.tasks.live)]
    best = np.inf
    for where in itertools.product(*[[None, *places.of(t)] for t in tasks]):
        cost = sum(menus.prices.refusal[t] for t, place in zip(tasks, where, strict=True) if place is None)
        for place in set(where) - {None}:
            cost += places.value(place, frozenset(t for t, at in zip(tasks, where, strict=True) if at == place)).cost
        best = min(best, cost)
    return best


@pytest.mark.parametrize("seed", range(12))
def test_local_search_is_close_to_the_best_assignment(seed):
    state = fleet(seed, tasks=5, nodes=3)
    assert plan(state).objective <= by_enumeration(state) * 1.02 + 1e-9


def with_weights(state, quality, time, energy):
    weights = state.tasks.weights.copy()
    weights[:, QUALITY], weights[:, TIME], weights[:, ENERGY] = quality, time, energy
    return eqx.tree_at(lambda s: s.tasks.weights, state, weights)


def test_without_a_worth_of_quality_everybody_takes_the_fewest_steps():
    decision = plan(with_weights(cellular(2, users=4), 0.0, 0.3, 0.2)).decision
    assert (decision.steps == 5).all()


def test_without_a_price_of_time_and_energy_everybody_takes_the_most_steps():
    state = with_weights(cellular(2, users=3), 1.0, 1e-9, 1e-9)
    tasks = eqx.tree_at(
        lambda t: (t.deadline_s, t.energy_budget_j), state.tasks, (np.full(3, np.inf), np.full(3, np.inf))
    )
    assert (plan(eqx.tree_at(lambda s: s.tasks, state, tasks)).decision.steps == 30).all()


def test_one_user_on_a_server_gets_all_of_it(golden):
    state = eqx.tree_at(lambda s: s.tasks.live, golden, np.array([True, False, False]))
    decision = plan(state).decision
    assert decision.node[0] == 1
    assert decision.compute_share[0] == decision.uplink_share[0] == decision.downlink_share[0] == pytest.approx(1.0)


def test_twins_share_evenly_and_equal_servers_split_them():
    twins = Cell(
        distance_km=np.full((2, 1), 0.1),
        server_hz=np.array([3e9]),
        device_hz=np.full(2, 0.5e9),
        upload_bits=np.full(2, 1e6),
        energy_j=np.full(2, 0.5),  # the battery forbids every local option
        deadline_s=np.full(2, 8.0),
        bandwidth_hz=20e6,
    )
    decision = plan(cell_state(twins)).decision
    np.testing.assert_array_equal(decision.node, [1, 1])
    np.testing.assert_allclose(decision.compute_share, 0.5, rtol=1e-6)
    np.testing.assert_allclose(decision.uplink_share, 0.5, rtol=1e-6)


def test_more_users_never_cost_less_and_more_servers_never_cost_more():
    costs = [plan(cellular(4, users=n)).objective for n in (2, 4, 6)]
    few = cellular(5, users=5, servers=3)
    closed = eqx.tree_at(lambda s: s.nodes.live, few, np.array([True, True, True, False]))
    assert costs == sorted(costs)
    assert plan(few).objective <= plan(closed).objective + 1e-9


def test_little_effort_still_gives_a_feasible_plan():
    state = fleet(8, tasks=24, nodes=3)
    decision = JointPlanner(effort=1).decide(state)
    ledger = predict(state, decision)
    assert not violated_rows(state, decision).any()
    assert not (ledger.late | ledger.infeasible).any()
    with pytest.raises(ValueError, match="effort must be from 1 to 5000"):
        JointPlanner(effort=0)
    with pytest.raises(ValueError, match="got 1000000"):
        JointPlanner(effort=1_000_000)


@pytest.mark.parametrize("seed", range(40))
def test_the_only_task_is_planned_as_the_search_would(seed):
    state = fleet(seed, tasks=1) if seed % 2 else cellular(seed, users=1, servers=3)
    short, searched = plan(state), _searched(state, options(state), 1000)
    assert short.objective == pytest.approx(searched.objective, rel=1e-6)
    for name in ("node", "model", "steps", "uplink_share", "downlink_share"):
        np.testing.assert_allclose(getattr(short.decision, name), getattr(searched.decision, name), rtol=1e-6)
