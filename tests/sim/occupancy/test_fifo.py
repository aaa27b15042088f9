import dataclasses
from collections import deque

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgegen.core.decision import REJECT
from edgegen.core.errors import InputError
from edgegen.sim.occupancy import fifo

SITES, SERVERS, PLACES, MODELS, TASKS = 2, 3, 6, 4, 60
LOAD_S = (3.0, 5.0, 2.0, 9.0)  # by model
POWER_W = np.array([10.0, 1000.0])


@jax.jit
def play(gaps, sites, services, models):
    """Serve TASKS tasks, then wait a little; return the sums of the ledger, the ledger by task, and the queues."""

    def serve(queues, task):
        gap, site, service_s, model = task
        queues, before = fifo.advance(queues, queues.now_s + gap)
        new = {"service_s": service_s, "model": model, "load_s": jnp.array(LOAD_S)[model]}
        queues, after = fifo.admit(queues, site, **new)
        return queues, before | after

    start = fifo.empty(SITES, servers=SERVERS, places=PLACES, power_w=jnp.array(POWER_W))
    queues, ledger = jax.lax.scan(serve, start, (gaps, sites, services, models))
    queues, after = fifo.advance(queues, queues.now_s + 7.0)
    return {name: entries.sum() + after.get(name, 0.0) for name, entries in ledger.items()}, ledger, queues


def in_events(gaps, sites, services, models):
    """The same, event by event: tasks wait in a line until a server is free. Returns (wait, load) or None per task."""
    found, now_s = [None] * len(gaps), 0.0
    lines = [deque() for _ in range(SITES)]
    free_s = np.zeros((SITES, SERVERS))
    loaded = np.full((SITES, SERVERS), fifo.NOTHING)
    arrived_s = np.cumsum(gaps)

    def start(site, server, begin_s):
        task = lines[site].popleft()
        load_s = LOAD_S[models[task]] if loaded[site, server] != models[task] else 0.0
        found[task] = (begin_s - arrived_s[task], load_s)
        free_s[site, server] = begin_s + load_s + services[task]
        loaded[site, server] = models[task]

    def ends_until(now_s):
        for site in range(SITES):
            while lines[site] and free_s[site].min() <= now_s:
                server = int(free_s[site].argmin())
                start(site, server, free_s[site, server])

    for task, site in enumerate(sites):
        now_s = arrived_s[task]
        ends_until(now_s)
        if site == REJECT or len(lines[site]) + (free_s[site] > now_s).sum() >= PLACES:
            continue
        lines[site].append(task)
        idle = [server for server in range(SERVERS) if free_s[site, server] <= now_s]
        if idle and len(lines[site]) == 1:
            fitting = [server for server in idle if loaded[site, server] == models[task]]
            start(site, (fitting or idle)[0], now_s)
    ends_until(np.inf)
    return found


def tasks(seed, crowd=1.0):
    rng = np.random.default_rng(seed)
    sites = rng.choice([0, 0, 0, 1, REJECT], TASKS).astype(np.int32)
    return (
        rng.exponential(3.0 / crowd, TASKS),
        sites,
        rng.exponential(6.0, TASKS),
        rng.integers(MODELS, size=TASKS).astype(np.int32),
    )


@pytest.mark.parametrize("crowd", [0.5, 1.0, 3.0])
def test_every_task_waits_and_loads_as_in_a_plain_event_simulation(crowd):
    for seed in range(5):
        given_tasks = tasks(seed, crowd)
        _, ledger, _ = play(*given_tasks)
        plain = in_events(*given_tasks)
        taken = [found is not None for found in plain]
        np.testing.assert_array_equal(ledger["assigned"], taken)
        waits, loads = zip(*(found or (0.0, 0.0) for found in plain), strict=True)
        np.testing.assert_allclose(ledger["wait_s"], waits, atol=1e-9)
        np.testing.assert_array_equal(ledger["load_s"], loads)


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.sampled_from([0.3, 1.0, 4.0]))
def test_tasks_seconds_and_joules_are_conserved(seed, crowd):
    given_tasks = tasks(seed, crowd)
    total, ledger, queues = play(*given_tasks)
    total = {name: float(value) for name, value in total.items()}
    assert total["assigned"] + total["dropped"] + total["refused"] == TASKS
    assert total["assigned"] == total["finished"] + float(queues.present.sum())
    assert total["load_s"] + total["run_s"] == pytest.approx(total["busy_s"] + float(queues.work_s.sum()))
    taken = [np.asarray(ledger["assigned"]) * (given_tasks[1] == site) for site in range(SITES)]
    work_s = [float(((ledger["load_s"] + ledger["run_s"]) * flags).sum()) for flags in taken]
    assert total["energy_j"] == pytest.approx(float((POWER_W * (np.array(work_s) - queues.work_s)).sum()))


def test_a_resident_model_need_not_be_loaded_again():
    queues, seen = fifo.empty(1, places=9), []
    for model in (0, 0, 1, 1, 0):
        new = {"service_s": jnp.float64(1.0), "model": jnp.int32(model), "load_s": 2.0}
        queues, entries = fifo.admit(queues, jnp.int32(0), **new)
        seen.append((float(entries["wait_s"]), float(entries["load_s"])))
    assert seen == [(0, 2), (3, 0), (4, 2), (7, 0), (8, 2)]


def test_a_full_site_drops_and_a_refused_task_changes_nothing():
    queues = fifo.empty(2, places=1)
    new = {"service_s": jnp.float64(5.0)}
    queues, _ = fifo.admit(queues, jnp.int32(0), **new)
    for site, name in ((0, "dropped"), (REJECT, "refused")):
        after, entries = fifo.admit(queues, jnp.int32(site), **new)
        assert {entry for entry, value in entries.items() if value != 0} == {name}
        assert all(jax.tree.leaves(jax.tree.map(lambda one, other: (one == other).all(), after, queues)))
    assert float(fifo.admit(queues, jnp.int32(1), **new)[1]["assigned"]) == 1


def test_a_cleared_queue_is_like_a_new_one():
    queues, _ = fifo.advance(fifo.empty(2, places=2), jnp.float64(3.0))
    queues, _ = fifo.admit(queues, jnp.int32(0), service_s=jnp.float64(5.0), model=jnp.int32(1))
    fresh = dataclasses.asdict(fifo.empty(2, places=2))
    for name, table in dataclasses.asdict(fifo.cleared(queues)).items():
        np.testing.assert_array_equal(table, fresh[name])


def test_a_place_for_every_server_is_needed():
    with pytest.raises(InputError, match="servers <= places"):
        fifo.empty(1, servers=3, places=2)
