import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgegen.core.decision import REJECT
from edgegen.sim.occupancy import share

SPEED, POWER_W = np.array([1.0, 2.5]), np.array([10.0, 1000.0])
PLACES, TASKS = 5, 50


@jax.jit
def play(gaps, sites, works):
    """Serve TASKS tasks, then wait a little; return the ledger by task, with what followed it, and the sharers."""

    def serve(sharers, task):
        gap, site, work = task
        sharers, after = share.admit(sharers, site, work=work)
        sharers, until = share.advance(sharers, sharers.now_s + gap)
        return sharers, after | until

    start = share.empty(jnp.array(SPEED), places=PLACES, power_w=jnp.array(POWER_W))
    sharers, ledger = jax.lax.scan(serve, start, (gaps, sites, works))
    return ledger, sharers


def in_events(gaps, sites, works):
    """The same, from one end to the next. Returns per gap: how many tasks ended, and the sum of their sojourns."""
    running = [[] for _ in SPEED]  # [work left, when it came]
    found, now_s = [], 0.0
    for gap, place, work in zip(gaps, sites, works, strict=True):
        if place != REJECT and len(running[place]) < PLACES:
            running[place].append([work, now_s])
        ended, sojourn_s = 0, 0.0
        for site, speed in enumerate(SPEED):
            at_s = now_s
            while running[site]:
                least = min(left for left, _ in running[site])
                passes_s = min(least * len(running[site]) / speed, now_s + gap - at_s)
                for task in running[site]:
                    task[0] -= passes_s * speed / len(running[site])
                at_s += passes_s
                if at_s >= now_s + gap - 1e-12:
                    break
                ended += sum(left <= 1e-9 for left, _ in running[site])
                sojourn_s += sum(at_s - came_s for left, came_s in running[site] if left <= 1e-9)
                running[site] = [task for task in running[site] if task[0] > 1e-9]
        found.append((ended, sojourn_s))
        now_s += gap
    return found


def tasks(seed, crowd=1.0):
    rng = np.random.default_rng(seed)
    sites = rng.choice([0, 1, 1, REJECT], TASKS).astype(np.int32)
    return rng.exponential(1.0 / crowd, TASKS), sites, rng.exponential(1.0, TASKS)


@pytest.mark.parametrize("crowd", [0.3, 1.0, 3.0])
def test_tasks_end_when_they_do_in_a_plain_event_simulation(crowd):
    for seed in range(5):
        ledger, _ = play(*tasks(seed, crowd))
        ended, sojourn_s = zip(*in_events(*tasks(seed, crowd)), strict=True)
        np.testing.assert_array_equal(ledger["finished"], ended)
        np.testing.assert_allclose(ledger["sojourn_s"], sojourn_s, atol=1e-8)


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.sampled_from([0.2, 1.0, 5.0]))
def test_tasks_work_and_joules_are_conserved(seed, crowd):
    gaps, sites, works = tasks(seed, crowd)
    ledger, sharers = play(gaps, sites, works)
    total = {name: float(entries.sum()) for name, entries in ledger.items()}
    assert total["assigned"] + total["dropped"] + total["refused"] == TASKS
    assert total["assigned"] == total["finished"] + float(sharers.present.sum())
    assert total["work"] == pytest.approx(total["done"] + float(sharers.left.sum()))
    taken = [works * np.asarray(ledger["assigned"]) * (sites == site) for site in range(2)]
    done = np.array([work.sum() for work in taken]) - np.asarray(sharers.left.sum(axis=0))
    assert total["busy_s"] == pytest.approx((done / SPEED).sum())
    assert total["energy_j"] == pytest.approx((POWER_W * done / SPEED).sum())


def test_in_how_many_steps_time_passes_makes_no_difference():
    sharers = share.empty(jnp.array(SPEED), places=PLACES)
    for site, work in ((0, 1.0), (1, 4.0), (1, 1.0), (0, 1.0), (1, 2.0)):
        sharers, _ = share.admit(sharers, jnp.int32(site), work=jnp.float64(work))
    at_once, entries = share.advance(sharers, jnp.float64(2.5))
    walked, parts = sharers, []
    for now_s in (0.1, 0.7, 1.2, 1.2, 2.0, 2.5):
        walked, part = share.advance(walked, jnp.float64(now_s))
        parts.append(part)
    np.testing.assert_allclose(walked.left, at_once.left, atol=1e-12)
    for name, entry in entries.items():
        assert float(entry) == pytest.approx(sum(float(part[name]) for part in parts)), name


def test_a_full_site_drops_and_a_refused_task_changes_nothing():
    sharers = share.empty(jnp.array(SPEED), places=1)
    sharers, _ = share.admit(sharers, jnp.int32(0), work=jnp.float64(1.0))
    for site, name in ((0, "dropped"), (REJECT, "refused")):
        after, entries = share.admit(sharers, jnp.int32(site), work=jnp.float64(1.0))
        assert {entry for entry, value in entries.items() if value != 0} == {name}
        np.testing.assert_array_equal(after.left, sharers.left)


def test_a_cleared_site_is_idle_at_time_0():
    sharers, _ = share.admit(share.empty(jnp.array(SPEED), places=2), jnp.int32(0), work=jnp.float64(9.0))
    sharers, _ = share.advance(sharers, jnp.float64(1.0))
    fresh = share.cleared(sharers)
    assert not fresh.present.any()
    assert float(fresh.now_s) == 0
    np.testing.assert_array_equal(fresh.speed, SPEED)


# --------------------------------------------------------------------------------------------------- slot by slot


def test_two_tasks_on_one_site_get_half_of_it_each_behind_the_backlog():
    servers = dataclasses.replace(share.idle(jnp.array([4.0, 1.0])), backlog=jnp.array([8.0, 0.0]))
    site, work = jnp.array([0, -1, 0, 1], jnp.int32), jnp.array([2.0, 5.0, 6.0, 3.0])
    equal = share.equal_share(site, 2)
    assert equal.tolist() == [0.5, 1.0, 0.5, 1.0]
    assert share.finish_s(servers, site, work=work, share=equal).tolist() == [2 + 1, 0, 2 + 3, 3]
    assert share.crowd(site, 2).tolist() == [2, 1]


def test_chosen_shares_are_kept_and_more_share_is_sooner():
    servers, site = share.idle(jnp.array([4.0])), jnp.zeros(2, jnp.int32)
    ends_s = share.finish_s(servers, site, work=jnp.array([3.0, 3.0]), share=jnp.array([0.75, 0.25]))
    assert ends_s.tolist() == [1, 3]


@settings(max_examples=60)
@given(st.integers(0, 10**6))
def test_work_is_done_or_in_the_backlog_which_is_never_negative(seed):
    rng = np.random.default_rng(seed)
    servers = share.idle(jnp.asarray(rng.uniform(0.1, 5, 3)))
    taken = done = 0.0
    for _ in range(4):
        site = jnp.asarray(rng.integers(-1, 3, 4).astype(np.int32))
        servers, entries = share.work_off(servers, site, work=jnp.asarray(rng.exponential(2, 4)), seconds=0.7)
        taken, done = taken + float(entries["taken"]), done + float(entries["done"])
        assert (servers.backlog >= 0).all()
    assert taken == pytest.approx(done + float(servers.backlog.sum()))
