"""Devices that share servers: hand cases, the order of the searches in every slot, work that is conserved, and one user's server."""

import dataclasses
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edgegen.core.errors import InputError
from edgegen.papers import industrial_marl as ind
from edgegen.papers import memtl
from edgegen.sim import epochs
from edgegen.sim.environment import Environment
from edgegen.sim.occupancy import share as sharing

INSTANCES, SLOTS = 40, 30
play = eqx.filter_jit(epochs.simulate)


@pytest.fixture(scope="module")
def found():
    return ind.SYSTEM.evaluate(INSTANCES, slots=SLOTS)


@pytest.fixture(scope="module")
def run():
    """One episode of the usual instance under the rule that offloads at random: servers fill up."""
    world = ind.draw(jax.random.key(1), slots=SLOTS)
    return world, play(world, ind.random_offload, epochs.draw(world, jax.random.key(2)))


@eqx.filter_jit
def decided(world, state, event, key):
    """The sites and the cost by policy, the least cost of all, and the least after one more device moves."""
    view = world.view(state, event)
    sites = {name: policy(view, key) for name, policy in ind.POLICIES.items()}
    everywhere = jnp.asarray(np.array(list(itertools.product(range(3), repeat=6)), dtype=np.int32))

    def moved(number):
        return sites["best-response"].at[number // 3].set(number % 3)

    least, alone = (
        jax.vmap(lambda site: ind.team_cost(view, site))(some).min()
        for some in (everywhere, jax.vmap(moved)(jnp.arange(18, dtype=jnp.int32)))
    )
    return sites, {name: ind.team_cost(view, site) for name, site in sites.items()} | {"least": least, "alone": alone}


def hand(site):
    """Two devices, one server that still has 5 Tcycles to do; latencies by site."""
    slot = ind.Slot(
        kind=jnp.zeros(2, dtype=jnp.int32),
        bits=jnp.array([8e6, 16e6]),
        cycles=jnp.array([6e12, 9e12]),
        wait_s=jnp.array([6.0, 11.0]),
        rate_hz=jnp.array([[8e6], [16e6]]),
    )
    servers = sharing.Servers(speed=jnp.array([5e12]), backlog=jnp.array([5e12]))
    view = ind.View(slot=slot, device_hz=jnp.array([1e12, 0.9e12]), servers=servers, crowd=jnp.zeros(1))
    site = jnp.array(site, dtype=jnp.int32)
    return np.asarray(ind.shared_latencies_s(view, site)), float(ind.team_cost(view, site))


# ----------------------------------------------------------------------------------------------------------- hand cases


def test_two_devices_on_a_server_get_half_of_the_band_and_half_of_the_server():
    latency_s, cost = hand([1, 1])
    np.testing.assert_allclose(latency_s, [2 + 1 + 6 / 2.5, 2 + 1 + 9 / 2.5])
    assert cost == pytest.approx(12)  # both in time


def test_one_alone_gets_all_and_a_local_task_waits_for_nobody():
    latency_s, cost = hand([1, 0])
    np.testing.assert_allclose(latency_s, [1 + 1 + 1.2, 10])
    assert cost == pytest.approx(13.2)


def test_a_task_that_is_late_costs_five_seconds_more():
    slow, cost = hand([0, 0])
    np.testing.assert_allclose(slow, [6, 10])
    assert cost == pytest.approx(16)  # exactly in time is in time
    world = dataclasses.replace(ind.draw(jax.random.key(0), devices=1, servers=1), device_hz=jnp.array([1.0]))
    _, slot, _, _ = world.advance(world.start(), world.chance(jax.random.key(0)))
    _, entries = world.step(world.start(), slot, jnp.zeros(1, dtype=jnp.int32))
    assert float(entries["missed"]) == 1
    assert float(epochs.reward(entries, ind.WEIGHTS)) == pytest.approx(-float(entries["latency_s"]) - 5)


def test_offloading_takes_no_time_in_the_limit_of_fast_servers_and_radio():
    world = dataclasses.replace(ind.draw(jax.random.key(0)), server_hz=jnp.full(2, 1e30))
    slot = dataclasses.replace(world.chance(jax.random.key(1)), rate_hz=jnp.full((6, 2), 1e30))
    sites, cost = decided(world, world.start(), slot, jax.random.key(0))
    for name in ("best-response", "exhaustive", "selfish", "random-offload"):
        assert 0 < float(cost[name]) < 1e-12, name
        assert int(sites[name].min()) > 0


def test_kinds_of_tasks_come_in_their_parts_and_scale_the_task():
    world = ind.draw(jax.random.key(0), devices=4000, fine_tuning=0.3, inference=0.2)
    slot = world.chance(jax.random.key(1))
    kind = np.asarray(slot.kind)
    np.testing.assert_allclose(np.bincount(kind) / kind.size, [0.5, 0.3, 0.2], atol=0.03)
    for number, (bits, cycles, wait_s) in enumerate(ind.KINDS):
        mine = kind == number
        for column, scale, limits in zip(
            (slot.bits, slot.cycles, slot.wait_s),
            (bits, cycles, wait_s),
            (ind.BITS, ind.CYCLES, ind.WAIT_S),
            strict=True,
        ):
            chosen = np.asarray(column)[mine]
            assert scale * limits[0] <= chosen.min() < chosen.max() <= scale * limits[1]
            assert chosen.mean() == pytest.approx(scale * sum(limits) / 2, rel=0.03)
    assert set(np.asarray(ind.draw(jax.random.key(0)).chance(jax.random.key(1)).kind)) == {0}


@pytest.mark.parametrize("wrong", [{"devices": 0}, {"fine_tuning": 0.7, "inference": 0.5}, {"inference": -0.1}])
def test_senseless_settings_are_refused(wrong):
    with pytest.raises(InputError, match="expected at least one"):
        ind.draw(jax.random.key(0), **wrong)


# ----------------------------------------------------------------------------------------------------------- properties


def test_work_is_conserved_and_no_backlog_is_negative(run):
    world, of = run
    assert float(of.state.servers.backlog.min()) >= 0
    assert float(of.state.servers.backlog.max()) > 0  # at random, a server is overrun now and then
    taken, done = (float(of.ledger[name].sum()) for name in ("taken", "done"))
    assert taken == pytest.approx(float(of.events.cycles.sum()))  # everything was offloaded
    assert taken - done == pytest.approx(float(of.state.servers.backlog.sum()))
    assert done <= float(world.server_hz.sum()) * ind.SLOT_S * SLOTS
    np.testing.assert_array_equal(of.ledger["offloaded"], 1)


def test_backlogs_follow_their_rule_slot_by_slot(run):
    world, of = run
    speed, backlog = np.asarray(world.server_hz), np.zeros(2)
    for cycles, site in zip(np.asarray(of.events.cycles), np.asarray(of.actions), strict=True):
        for server in (1, 2):
            arrived = cycles[site == server].sum()
            backlog[server - 1] = max(0.0, backlog[server - 1] + arrived - speed[server - 1] * 4)
    np.testing.assert_allclose(of.state.servers.backlog, backlog, rtol=1e-9)


def test_exhaustive_is_never_above_best_response_nor_that_above_random_local_or_one_more_move(run):
    world, of = run
    state, better = world.start(), 0
    for number in range(SLOTS):
        event = jax.tree.map(lambda leaf, number=number: leaf[number], of.events)
        _, costs = decided(world, state, event, jax.random.key(number))
        cost = {name: float(value) for name, value in costs.items()}
        slack = 1 + 1e-12
        assert cost["exhaustive"] == pytest.approx(cost["least"], rel=1e-12)
        assert cost["exhaustive"] <= cost["best-response"] * slack
        assert cost["best-response"] <= slack * min(cost["random"], cost["all-local"], cost["alone"])
        better += cost["exhaustive"] < cost["best-response"] - 1e-6
        state = world.step(state, event, of.actions[number])[0]
    assert better > 0


def test_permuting_the_devices_permutes_what_they_see_and_what_they_suffer(run):
    world, of = run
    order = jnp.array([3, 1, 5, 0, 2, 4])
    event = jax.tree.map(lambda leaf: leaf[7], of.events)
    view = world.view(of.state, event)
    other = dataclasses.replace(world, device_hz=world.device_hz[order])
    moved = other.view(of.state, jax.tree.map(lambda leaf: leaf[order], event))
    np.testing.assert_array_equal(ind.observe(moved), ind.observe(view)[order])
    site = of.actions[7]
    np.testing.assert_allclose(
        ind.shared_latencies_s(moved, site[order]), ind.shared_latencies_s(view, site)[order], rtol=1e-12
    )


def test_learners_act_as_one_agent_per_device_and_share_the_reward():
    world = ind.draw(jax.random.key(0), slots=2)
    environment = Environment(world, ind.SYSTEM.codec(world))
    moment, seen = environment.reset(jax.random.key(1))
    assert seen.features.shape == (6, 7 + 3 * 2)
    assert seen.allowed.shape == (6, 3)
    action = jnp.array([0, 1, 1, 2, 2, 2], dtype=jnp.int32)
    cost = float(ind.team_cost(world.view(moment.state, moment.event), action))
    moment, step = environment.step(moment, action, jax.random.key(2))
    assert float(step.reward) == pytest.approx(-cost / 6)
    np.testing.assert_allclose(step.observation.features[:, -2:], np.tile([2 / 6, 3 / 6], (6, 1)))
    _, last = environment.step(moment, action, jax.random.key(3))
    assert bool(last.truncated)
    assert not last.terminated


# -------------------------------------------------------------------------------------------------- one server, chosen shares


def test_with_one_server_and_chosen_shares_it_is_the_one_shot_system():
    """Only delay counts there, nothing waits here, and the band is what its rate gives when divided: the same seconds."""
    single = memtl.draw(None, users=4)
    for seed in range(10):
        users = dataclasses.replace(single.chance(jax.random.key(seed)), delay_weight=jnp.ones(4))
        senders = jnp.asarray(np.random.default_rng(seed).permutation([True, True, True, seed % 2 == 0]))
        share = memtl.best_shares(single.view(single.start(), users), senders)
        slot = ind.Slot(
            kind=jnp.zeros(4, dtype=jnp.int32),
            bits=users.input_bits,
            cycles=users.cycles,
            wait_s=jnp.ones(4),
            rate_hz=(users.input_bits / memtl.upload_s(users) * float(senders.sum()))[:, None],
        )
        servers = sharing.idle(single.server_hz[None])
        view = ind.View(slot=slot, device_hz=users.local_hz, servers=servers, crowd=jnp.zeros(1))
        site = senders.astype(jnp.int32)
        latency_s = ind.latencies_s(view, site, band=sharing.equal_share(site - 1, 1), share=share)
        ledger = single.step(single.start(), users, share)[1]
        assert float(latency_s.sum()) == pytest.approx(float(ledger["delay_s"]), rel=1e-12)
        assert float(latency_s.sum()) == pytest.approx(float(ledger["cost"]), rel=1e-12)
        assert float(latency_s.sum()) < float(ind.shared_latencies_s(view, site).sum())  # chosen shares are better


# ------------------------------------------------------------------------------------------------------------- claims


def test_the_same_seed_gives_the_same_bytes_and_instances_do_not_depend_on_how_many_there_are(found):
    again = ind.SYSTEM.evaluate(INSTANCES, slots=SLOTS)
    for policy, entries in found.items():
        for name, column in entries.items():
            assert column.tobytes() == again[policy][name].tobytes(), (policy, name)
    few, _ = ind.SYSTEM.instances(range(2), episodes=1, seed=0, slots=SLOTS)
    many, _ = ind.SYSTEM.instances(range(INSTANCES), episodes=1, seed=0, slots=SLOTS)
    np.testing.assert_array_equal(few.device_hz, many.device_hz[:2])


def test_the_claims_hold():
    bars = ind.claims(lambda line: None, instances=INSTANCES)
    assert [f"{bar.bar}: {bar.value:g}, wanted {bar.goal}" for bar in bars if bar.ok is False] == []
    assert len(bars) == 17
