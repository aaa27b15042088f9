"""Predictions against a simulation written from the model alone, and started tasks."""

import equinox as eqx
import numpy as np
import pytest

from conformance.states import continued, under_way
from edgegen.core.decision import Decision
from edgegen.core.state import LOCAL
from edgegen.physics.options import fresh_quality, options, quality_after, tabulate
from edgegen.physics.predict import predict
from edgegen.plan.networks import fleet
from edgegen.plan.rules import GreedyCost


def ends_s(state, decision: Decision) -> dict[int, float]:
    """The moment of each result, node by node: one task at a time, then one result at a time."""
    table, ends = tabulate(state), {}
    left_s = np.where(
        state.tasks.deadline_s < np.inf, state.tasks.deadline_s - state.tasks.age_s, 1e9 - state.tasks.age_s
    )
    left_s = np.where(state.tasks.done_steps >= 0, -np.inf, left_s)
    for node in range(state.node_count):
        rows = np.flatnonzero(state.tasks.live & (decision.node == node))
        for device in np.unique(state.tasks.origin[rows]) if node == LOCAL else [None]:
            mine = [t for t in rows if device is None or state.tasks.origin[t] == device]
            free_s = link_s = 0.0
            for turn, t in enumerate(sorted(mine, key=lambda t: (left_s[t], t))):
                step = int(np.flatnonzero(state.steps == decision.steps[t])[0])
                if turn == 0:
                    free_s = state.tasks.local_backlog_s[t] if node == LOCAL else state.nodes.backlog_s[node]
                    link_s = 0.0 if node == LOCAL else state.nodes.downlink_backlog_s[node]
                busy_s = table.load_s[node, decision.model[t]] + table.work_s[t, node, decision.model[t], step]
                made_s = max(free_s, table.upload_s[t, node]) + busy_s
                free_s += busy_s
                sent_s = max(made_s, link_s)
                ends[t] = sent_s + table.download_s[t, node]
                link_s = sent_s + (table.download_s[t, node] - state.links.rtt_s[t, node] / 2 if node != LOCAL else 0.0)
    return ends


@pytest.mark.parametrize("make", [fleet, under_way, continued])
@pytest.mark.parametrize("seed", range(5))
def test_nodes_make_one_picture_at_a_time_and_send_one_at_a_time(make, seed):
    state = make(seed)
    decision = GreedyCost().decide(state)
    total_s = np.asarray(predict(state, decision).total_s)
    expected = ends_s(state, decision)
    assert len(expected) > 5
    for row, end_s in expected.items():
        assert total_s[row] == pytest.approx(end_s, rel=1e-9)


def test_fewer_steps_than_planned_leave_the_quality_of_their_strides():
    state = fleet(0)
    done, planned = 4.0, 16
    started = eqx.tree_at(
        lambda s: (s.tasks.done_steps, s.tasks.steps),
        state,
        (np.full(state.task_count, done), np.full(state.task_count, planned, dtype=np.int32)),
    )
    fresh = fresh_quality(state)
    left = quality_after(started, fresh)
    np.testing.assert_array_equal(left[..., state.steps >= planned], fresh[..., state.steps >= planned])
    eight = int(np.flatnonzero(state.steps == 8)[0])
    like = (8 - done) * planned / (planned - done)  # 5.33 steps, between 4 and 8
    low, high = fresh[..., eight - 1], fresh[..., eight]
    np.testing.assert_allclose(left[..., eight], low + (like - 4) / 4 * (high - low))
    assert (np.diff(left, axis=2) >= -1e-12).all()
    np.testing.assert_array_equal(quality_after(state, fresh), fresh)  # nothing has started


def test_tasks_that_go_on_have_only_their_model_and_steps_that_are_left_and_less_to_do():
    state = continued(2)
    anew = eqx.tree_at(lambda s: s.tasks.kept_steps, state, np.zeros(state.task_count))
    table, whole, rows = options(state), options(anew), np.flatnonzero(state.tasks.kept_steps > 0)
    assert rows.size
    for row in rows:
        kept, model = state.tasks.kept_steps[row], state.tasks.model[row]
        nodes, models, steps = np.nonzero(table.possible[row])
        assert set(models) <= {model}
        assert state.steps[steps].min() > kept
        assert {*nodes} >= {*np.nonzero(whole.possible[row][:, model, -1])[0]}, "wherever the model is"
        scale = np.where(np.arange(state.node_count) == LOCAL, state.tasks.device_step_scale[row], 1.0)
        saved_s = (scale * kept * state.models.step_s[:, model])[:, None]
        left_s = np.maximum(whole.work_s[row][:, model] - saved_s, 0.0)
        np.testing.assert_allclose(table.work_s[row][:, model], left_s)
        np.testing.assert_array_equal(table.upload_s[row], whole.upload_s[row])


def test_started_tasks_have_only_their_node_their_model_and_steps_that_are_left():
    state = under_way(1)
    table, started = options(state), np.flatnonzero(state.tasks.done_steps >= 0)
    assert started.size
    for row in started:
        nodes, models, steps = (np.unique(found) for found in np.nonzero(table.possible[row]))
        assert nodes.tolist() == [state.tasks.planned[row]]
        assert models.tolist() == [state.tasks.model[row]]
        assert state.steps[steps].min() > state.tasks.done_steps[row]
