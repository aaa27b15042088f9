"""Every rule can be broken, is named when it is, and is mended."""

import equinox as eqx
import numpy as np
import pytest

from edgegen.core.decision import HOLD, Decision
from edgegen.core.ledger import FLAGS
from edgegen.core.rules import repair, resident_violations, violations
from edgegen.core.state import ANY
from edgegen.physics.predict import predict
from edgegen.plan.networks import cellular, fleet
from edgegen.plan.rules import GreedyCost


@pytest.fixture
def state():
    network = fleet(0, tasks=4)
    tasks = eqx.tree_at(
        lambda t: (t.live, t.model, t.steps),
        network.tasks,
        (np.array([True, True, True, False]), np.full(4, ANY), np.full(4, ANY)),
    )
    return eqx.tree_at(lambda s: s.tasks, network, tasks)


BREAKS = {
    "padding_decided": (3, {"node": 0}),
    "unknown_node": (0, {"node": 99}),
    "node_not_usable": (0, {"node": 1}),
    "model_not_available": (0, {"model": 2}),
    "other_model_than_wanted": (1, {"model": 0}),
    "steps_not_offered": (0, {"steps": 3}),
    "other_steps_than_wanted": (1, {"steps": 4}),
    "no_trial": (0, {"trials": 0}),
    "share_outside_0_1": (0, {"compute_share": np.nan}),
    "power_not_finite": (0, {"power_w": np.inf}),
}


@pytest.mark.parametrize("rule", BREAKS)
def test_a_broken_rule_is_named_and_mended(state, rule):
    row, columns = BREAKS[rule]
    state = eqx.tree_at(
        lambda s: (s.tasks.model, s.tasks.steps, s.models.available, s.tasks.allowed),
        state,
        (
            np.array([ANY, 1, ANY, ANY]),
            np.array([ANY, 8, ANY, ANY]),
            np.ones_like(state.models.available) & (np.arange(3) < 2)[None, :],
            np.arange(4)[None, :] != np.ones((4, 1)),
        ),
    )
    good = repair(state, GreedyCost().decide(state))
    assert not any(rows.any() for rows in violations(state, good).values())

    changed = {name: np.array(getattr(good, name)) for name in columns}
    for name, value in columns.items():
        changed[name][row] = value
    broken = good.replace(**changed)
    assert violations(state, broken)[rule][row]
    mended = repair(state, broken)
    assert not any(rows.any() for rows in violations(state, mended).values())


def test_shares_of_a_divided_node_are_scaled_to_its_capacity():
    state = cellular(0, users=4)
    decision = Decision.hold(state).replace(
        node=np.full(4, 1), steps=np.full(4, 10), uplink_share=np.full(4, 0.5), downlink_share=np.full(4, 0.25),
        compute_share=np.array([0.9, 0.9, 0.1, 0.1]),
    )  # fmt: skip
    assert violations(state, decision)["node_oversubscribed"].all()
    mended = repair(state, decision)
    np.testing.assert_allclose(mended.uplink_share, 0.25)
    np.testing.assert_allclose(mended.downlink_share, 0.25)
    np.testing.assert_allclose(mended.compute_share, [0.45, 0.45, 0.05, 0.05])


def test_models_that_do_not_fit_are_not_kept(state):
    small = eqx.tree_at(
        lambda s: (s.nodes.memory_bytes, s.models.memory_bytes), state, (np.full(4, 10.0), np.array([4.0, 5.0, 6.0]))
    )
    hold = Decision.hold(small)
    greedy = hold.replace(resident=np.ones_like(hold.resident) & small.models.available)
    assert resident_violations(small, greedy).any()
    mended = repair(small, greedy)
    asked_too_much = resident_violations(small, greedy)
    np.testing.assert_array_equal(mended.resident[asked_too_much], small.nodes.resident[asked_too_much])


def test_a_ledger_row_is_complete_and_adds_up(state):
    decision = GreedyCost().decide(state)
    ledger = predict(state, decision)
    row = ledger.row(0)
    assert row["total_s"] == pytest.approx(
        row["upload_s"] + row["queue_s"] + row["load_s"] + row["generate_s"] + row["download_s"]
    )
    assert all(isinstance(row[flag], bool) for flag in FLAGS)
    assert ledger.total_s[decision.node == HOLD].sum() == 0
