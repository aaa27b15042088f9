"""States whose nodes divide their capacities, planned by the certified planner: golden value, claims, limits."""

import equinox as eqx
import numpy as np
import pytest

from edgegen.core.rules import violated_rows
from edgegen.physics.objective import task_costs
from edgegen.physics.options import tabulate
from edgegen.physics.predict import limit_violations, predict
from edgegen.plan.certified.divided import is_divided, plan_divided
from edgegen.plan.joint import plan as planned_jointly
from edgegen.plan.live import CertifiedPlanner
from edgegen.plan.networks import cellular, fleet, golden_cell


def audited(state):
    """Return the certificate of the plan, after checking that it keeps every limit and costs what it says."""
    decision = plan_divided(state, tabulate(state))
    assert not violated_rows(state, decision).any()
    ledger = predict(state, decision)
    broken = {name: rows & decision.placed for name, rows in limit_violations(state, ledger).items()}
    assert not any(rows.any() for rows in broken.values()), broken
    cost = float(task_costs(state, ledger, decision.placed).sum())
    assert cost == pytest.approx(decision.certificate.objective, rel=1e-7)
    assert decision.certificate.bound <= decision.certificate.objective
    return decision


def test_the_golden_instance():
    decision = audited(golden_cell())
    assert decision.certificate.objective == pytest.approx(0.590842, abs=1e-6)
    assert decision.certificate.gap < 1e-3
    assert decision.node.tolist() == [1, 0, 2]
    assert decision.steps.tolist() == [20, 15, 20]


@pytest.mark.parametrize("seed", range(8))
def test_never_worse_than_the_first_planner_and_certified(seed):
    state = cellular(seed, users=6 + 3 * seed, servers=2 + seed % 3)
    decision = audited(state)
    assert decision.certificate.objective <= planned_jointly(state, effort=20_000).objective * 1.001
    assert decision.certificate.gap < 0.01


@pytest.mark.parametrize("seed", range(4))
def test_rates_proportional_to_the_share(seed):
    state = cellular(seed, users=8, servers=2)
    linear = eqx.tree_at(
        lambda s: (s.links.uplink_snr, s.links.downlink_snr),
        state,
        (np.full_like(state.links.uplink_snr, np.inf), np.full_like(state.links.downlink_snr, np.inf)),
    )
    decision = audited(linear)
    assert decision.certificate.objective <= planned_jointly(linear, effort=20_000).objective + 1e-7
    # For equal shares Shannon's rate is above its straight line, so a plan in the linear world is never cheaper.
    assert decision.certificate.objective >= audited(state).certificate.bound - 1e-9


def test_round_trips_and_budgets_of_the_radio_are_kept():
    for seed in range(4):
        state = cellular(seed, users=7, servers=2)
        state.links.rtt_s[:, 1:] = 0.2
        state.tasks.energy_budget_j[::2] = 0.06  # enough to send over a good link and for nothing else
        audited(state)


def test_which_states_are_divided():
    cell, machines = cellular(0, users=4), fleet(0)
    assert is_divided(cell, tabulate(cell))
    assert not is_divided(machines, tabulate(machines))
    twins = eqx.tree_at(lambda s: s.tasks.origin, cell, np.zeros_like(cell.tasks.origin))
    assert not is_divided(twins, tabulate(twins))
    mixed = eqx.tree_at(lambda s: s.nodes.shared, cell, np.array([True, True, False]))
    assert not is_divided(mixed, tabulate(mixed))
    busy = eqx.tree_at(lambda s: s.nodes.backlog_s, cell, np.array([0.0, 1.0, 0.0]))
    assert not is_divided(busy, tabulate(busy))
    for state in (twins, mixed, busy):  # planned all the same, without a proof
        decision = CertifiedPlanner().decide(state)
        assert decision.placed.any()
        assert decision.certificate is None
