import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgegen.sim.occupancy import capacity

HOUR_S, HOURS = 3600.0, 24
RATE = np.array([9e3, 2.2e4]) / HOUR_S
POWER_W = np.array([1e3, 5e3])


@jax.jit
def play(steps, queue_hours):
    """Give steps [HOURS, S] at the beginning of every hour; return the ledger by hour and the sites at the end."""

    def hour(sites, given_steps):
        sites, after, part = capacity.admit(sites, given_steps)
        sites, until = capacity.advance(sites, sites.now_s + HOUR_S)
        return sites, (after | until, part, sites.waiting)

    start = capacity.empty(jnp.array(RATE), patience_s=(1 + queue_hours) * HOUR_S, power_w=jnp.array(POWER_W))
    sites, (ledger, part, waiting) = jax.lax.scan(hour, start, steps)
    return ledger, part, waiting, sites


def test_without_a_queue_what_is_beyond_the_hour_is_dropped_at_once():
    steps = np.full((HOURS, 2), 1e4)
    ledger, part, waiting, _ = play(steps, 0.0)
    np.testing.assert_allclose(ledger["taken"], 9e3 + 1e4)
    np.testing.assert_allclose(ledger["dropped"], 1e3)
    np.testing.assert_allclose(part, np.broadcast_to([0.9, 1.0], (HOURS, 2)))
    np.testing.assert_allclose(waiting, 0.0, atol=1e-9)


def test_a_queue_of_three_hours_fills_and_then_drops_what_is_beyond():
    steps = np.zeros((HOURS, 2))
    steps[:6, 0] = 18e3  # twice of what the first site does
    ledger, _, waiting, _ = play(steps, 3.0)
    np.testing.assert_allclose(ledger["dropped"][:6], [0, 0, 0, 9e3, 9e3, 9e3], atol=1e-8)
    np.testing.assert_allclose(waiting[:6, 0], [9e3, 18e3, 27e3, 27e3, 27e3, 27e3])
    np.testing.assert_allclose(ledger["done"][6:10], [9e3, 9e3, 9e3, 0], atol=1e-8)  # all within three hours


@settings(max_examples=100)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.5, 3.0]))
def test_work_and_joules_are_conserved(seed, queue_hours):
    steps = np.random.default_rng(seed).exponential(1.2e4, (HOURS, 2))
    ledger, part, waiting, sites = play(steps, queue_hours)
    total = {name: float(entries.sum()) for name, entries in ledger.items()}
    assert total["given"] == pytest.approx(steps.sum())
    assert total["given"] == pytest.approx(total["taken"] + total["dropped"])
    assert total["taken"] == pytest.approx(total["done"] + float(sites.waiting.sum()))
    assert (np.asarray(waiting) <= RATE * queue_hours * HOUR_S + 1e-6).all()
    done = (np.asarray(part) * steps).sum(axis=0) - np.asarray(sites.waiting)
    assert total["busy_s"] == pytest.approx((done / RATE).sum())
    assert total["energy_j"] == pytest.approx((POWER_W * done / RATE).sum())


def test_what_is_worth_most_goes_first_in_a_call_of_its_own():
    sites = capacity.empty(jnp.array([1.0]), patience_s=10.0)
    sites, _, best = capacity.admit(sites, jnp.array([8.0]))
    sites, _, second = capacity.admit(sites, jnp.array([4.0]))
    _, _, nothing = capacity.admit(sites, jnp.array([0.0]))
    assert (best.tolist(), second.tolist(), nothing.tolist()) == ([1.0], [0.5], [1.0])


def test_a_cleared_site_is_idle_at_time_0():
    sites, _, _ = capacity.admit(capacity.empty(jnp.array(RATE), patience_s=10.0), jnp.array([8.0, 9.0]))
    sites, _ = capacity.advance(sites, jnp.float64(1.0))
    fresh = capacity.cleared(sites)
    assert float(fresh.now_s) == 0 == float(fresh.waiting.sum())
    np.testing.assert_array_equal(fresh.rate, RATE)
