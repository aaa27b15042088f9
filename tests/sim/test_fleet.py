"""The fleet as a world: the predictions of physics, queues that remember them, and the policies of the live side."""

import equinox as eqx
import jax
import numpy as np
import pytest

from edgegen.core.errors import InputError
from edgegen.core.scenario import blank_state
from edgegen.core.state import on_host
from edgegen.physics.predict import predict
from edgegen.plan import rules
from edgegen.plan.joint import JointPlanner
from edgegen.plan.networks import cellular, fleet
from edgegen.sim import epochs
from edgegen.sim.environment import Environment
from edgegen.sim.fleet import Deciding, Fleet, Hosted, codec

RATE_HZ, HORIZON_S = 6.0, 20.0
play = eqx.filter_jit(epochs.simulate)


@pytest.fixture(scope="module")
def world():
    return Fleet.of(fleet(3, tasks=32), rate_hz=RATE_HZ, horizon_s=HORIZON_S)


@pytest.fixture(scope="module")
def episode(world):
    return epochs.draw(world, jax.random.key(0))


@pytest.fixture(scope="module")
def taking_turns(world, episode):
    return play(world, Deciding(rules.RoundRobin()), episode)


@pytest.fixture(scope="module")
def fixed(world, episode):
    return play(world, Deciding(rules.FixedSteps(steps=4)), episode)


def test_every_request_is_served_or_dropped_and_its_parts_add_up(taking_turns):
    run = taking_turns
    ledger, live = {name: np.asarray(column) for name, column in run.ledger.items()}, np.asarray(run.live)
    assert live.sum() == pytest.approx(RATE_HZ * HORIZON_S, abs=45)
    np.testing.assert_array_equal(ledger["served"] + ledger["dropped"], live)
    parts = sum(ledger[name] for name in ("upload_s", "queue_s", "load_s", "generate_s", "download_s"))
    np.testing.assert_allclose(parts, ledger["total_s"], rtol=1e-12)
    assert 0 < ledger["in_time"].sum() < ledger["served"].sum()
    assert (ledger["cost"][live] > 0).all()


def test_a_node_works_on_one_picture_at_a_time_without_pausing(taking_turns):
    """Work that is promised is work that is done: no two pictures overlap on a node, and a free node starts at once."""
    run = taking_turns
    node, live = np.asarray(run.actions.node)[:, 0], np.asarray(run.live)
    ledger = {name: np.asarray(column) for name, column in run.ledger.items()}
    at_s = np.asarray(run.events.at_s)
    reached_s = at_s + ledger["upload_s"]
    ends_s = {}
    for row in np.flatnonzero(live & (node > 0) & (ledger["served"] > 0)):
        busy_s = ledger["load_s"][row] + ledger["generate_s"][row]
        begin_s = max(reached_s[row], ends_s.get(node[row], 0.0))
        ends_s[node[row]] = begin_s + busy_s
        earliest_s = ends_s[node[row]] + ledger["download_s"][row]
        assert at_s[row] + ledger["total_s"][row] >= earliest_s - 1e-9  # the downlink may be busy, too
    assert len(ends_s) > 1
    for place, end_s in ends_s.items():
        assert float(run.state.node_s[place]) == pytest.approx(end_s, rel=1e-12)


def test_the_first_decision_comes_out_as_predicted(world, episode, fixed):
    now, event, _, _ = world.advance(world.start(), jax.tree.map(lambda leaf: leaf[0], episode.chance))
    seen = on_host(world.view(now, event))
    ledger = predict(seen, rules.FixedSteps(steps=4).decide(seen))
    for name in ("quality", "generate_s", "download_s", "device_energy_j", "money_usd"):
        assert float(fixed.ledger[name][0]) == pytest.approx(float(getattr(ledger, name)[0]), rel=1e-12)


def test_a_policy_decides_the_same_under_jit_and_called_back(world, episode, fixed):
    outside = play(world, Hosted(rules.FixedSteps(steps=4)), episode)
    np.testing.assert_array_equal(fixed.actions.node, outside.actions.node)
    np.testing.assert_array_equal(fixed.actions.steps, outside.actions.steps)
    np.testing.assert_allclose(fixed.ledger["cost"], outside.ledger["cost"], rtol=1e-9)


def test_the_planner_of_the_live_side_decides_here_too(world, episode, taking_turns):
    planned = play(world, Hosted(JointPlanner()), episode)
    ours, theirs = (float(run.ledger["in_time"].sum()) for run in (planned, taking_turns))
    assert ours > theirs
    assert float(planned.ledger["late"].sum()) == 0  # it refuses what cannot be in time


def test_a_single_machine_is_a_queue_of_theory():
    """Poisson arrivals and equal pictures: M/D/1, whose mean wait is rho s / (2 (1 - rho)) (Pollaczek and Khinchine)."""
    state = blank_state(tasks=1, nodes=2, models=1, categories=1, steps=np.array([10]))
    for part in (state.tasks.live, state.nodes.live, state.models.live):
        part[:] = True
    state.models.available[1, 0], state.models.quality[:], state.models.step_s[1, 0] = True, 0.5, 0.07
    world = Fleet.of(state, rate_hz=1.0, horizon_s=4000.0)
    waits = []
    for seed in range(8):
        run = play(world, Deciding(rules.GreedyCost()), epochs.draw(world, jax.random.key(seed)))
        waits.append(float(run.ledger["queue_s"].sum() / run.ledger["served"].sum()))
    theory = 0.7 * 0.7 / (2 * 0.3)
    assert np.mean(waits) == pytest.approx(theory, abs=4 * np.std(waits, ddof=1) / np.sqrt(len(waits)))
    assert np.std(waits) < 0.2 * theory


def test_a_model_that_is_used_stays_until_another_needs_its_place():
    state = fleet(3, tasks=4)
    state.nodes.resident[:] = False
    state.models.memory_bytes[:], state.nodes.memory_bytes[:] = 1.0, 1.0
    world = Fleet.of(state, rate_hz=RATE_HZ, horizon_s=HORIZON_S)
    run = play(world, Deciding(rules.GreedyQuality()), epochs.draw(world, jax.random.key(1)))
    assert (np.asarray(run.state.resident).sum(axis=1) <= 1).all()
    node, model = np.asarray(run.actions.node)[:, 0], np.asarray(run.actions.model)[:, 0]
    last = {}
    for row in np.flatnonzero(np.asarray(run.live) & (node >= 0)):
        known = last.get(node[row]) == model[row]
        assert (float(run.ledger["load_s"][row]) == 0) == known
        last[node[row]] = model[row]
    assert len(set(zip(node.tolist(), model.tolist(), strict=True))) > 2


def test_an_option_that_is_chosen_by_number_is_carried_out(world):
    environ = Environment(world, codec(world.menu))
    moment, seen = eqx.filter_jit(environ.reset)(jax.random.key(4))

    @jax.jit
    @jax.vmap
    def carry_out(number):
        decision = environ.codec.decode(world.view(moment.state, moment.event), number)
        after, entries = world.step(moment.state, moment.event, decision)
        return (decision.node, decision.model, decision.steps), after.node_s, entries

    options, node_s, entries = carry_out(np.flatnonzero(np.asarray(seen.allowed)).astype(np.int32))
    chosen = np.stack([column[:, 0] for column in options], axis=1)
    assert len(np.unique(chosen, axis=0)) == len(chosen) > 10
    assert (np.asarray(entries["served"]) == 1).all()
    assert (np.asarray(entries["infeasible"]) == 0).all()
    used = (np.asarray(node_s) != np.asarray(moment.state.node_s)).sum(axis=1)
    np.testing.assert_array_equal(used, chosen[:, 0] > 0)
    assert np.isfinite(seen.features).all()
    assert (np.abs(seen.features) <= 3).all()


def test_a_state_that_is_no_fleet_is_refused():
    with pytest.raises(InputError, match="node row 1 divides its speed"):
        Fleet.of(cellular(0), rate_hz=1.0, horizon_s=1.0)
    empty = fleet(0)
    empty.tasks.live[:] = False
    with pytest.raises(InputError, match="at least one live task"):
        Fleet.of(empty, rate_hz=1.0, horizon_s=1.0)
