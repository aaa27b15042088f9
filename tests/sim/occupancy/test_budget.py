import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgegen.core.decision import REJECT
from edgegen.sim.occupancy import budget

INCOME, SPARE = jnp.array([100, 40], jnp.int32), jnp.array([0, 60], jnp.int32)
SLOTS, TASKS = 12, 4


@jax.jit
def play(sites, steps):
    """Serve SLOTS slots of TASKS tasks; return the ledger and the budgets at the end."""

    def slot(budgets, given_tasks):
        budgets, before = budget.advance(budgets)
        budgets, after = budget.admit_all(budgets, given_tasks[0], steps=given_tasks[1])
        return budgets, (before, after, budgets.left)

    budgets, (before, after, left) = jax.lax.scan(slot, budget.empty(INCOME, spare=SPARE), (sites, steps))
    return before | after, left, budgets


@settings(max_examples=100)
@given(st.integers(0, 10**6), st.sampled_from([20, 60, 150]))
def test_steps_are_granted_expired_or_left_and_tasks_served_refused_or_dropped(seed, most):
    rng = np.random.default_rng(seed)
    sites = rng.choice([0, 1, REJECT], (SLOTS, TASKS)).astype(np.int32)
    steps = rng.integers(1, most, (SLOTS, TASKS)).astype(np.int32)
    ledger, left, budgets = play(sites, steps)
    total = {name: float(entries.sum()) for name, entries in ledger.items()}
    assert total["assigned"] + total["dropped"] + total["refused"] == SLOTS * TASKS
    assert total["refused"] == (sites == REJECT).sum()
    assert total["income"] == SLOTS * 140 == total["steps"] + total["expired"] + float(budgets.left.sum())
    assert (left >= 0).all()
    given_steps = np.asarray(ledger["steps"])
    granted = np.array([(given_steps * (sites == site)).sum(axis=1) for site in range(2)]).T
    assert (granted <= np.asarray(INCOME + SPARE)).all()
    assert (granted[:, 0] <= 100).all()  # nothing is carried over there
    np.testing.assert_array_equal(given_steps, steps * np.asarray(ledger["assigned"]))


def walk(asked, spare):
    """One site of 10 steps per slot; return what is granted, slot by slot."""
    budgets, granted = budget.empty(jnp.array([10.0]), spare=spare), []
    for steps in asked:
        budgets, _ = budget.advance(budgets)
        budgets, entries = budget.admit(budgets, jnp.int32(0), steps=jnp.float64(steps))
        granted.append(float(entries["steps"]))
    return granted


def test_what_is_left_over_is_lost_or_carried_over_up_to_a_limit():
    assert walk([3, 12, 10], None) == [3, 0, 10]
    assert walk([3, 12, 10], jnp.array([5.0])) == [3, 12, 10]
    assert walk([3, 16, 16, 15], jnp.array([5.0])) == [3, 0, 0, 15]


def test_a_task_that_does_not_fit_leaves_room_for_a_smaller_one():
    budgets, _ = budget.advance(budget.empty(jnp.array([10.0])))
    sites = jnp.zeros(3, jnp.int32)
    _, entries = budget.admit_all(budgets, sites, steps=jnp.array([8.0, 5.0, 2.0]))
    assert entries["steps"].tolist() == [8, 0, 2]
    assert entries["dropped"].tolist() == [0, 1, 0]


def test_a_caller_can_ask_for_what_is_left():
    budgets, _ = budget.advance(budget.empty(jnp.array([10.0])))
    for asked, granted in ((7.0, 7.0), (7.0, 3.0)):
        steps = jnp.minimum(asked, budgets.left[0])
        budgets, entries = budget.admit(budgets, jnp.int32(0), steps=steps)
        assert float(entries["steps"]) == granted


def test_a_cleared_budget_is_before_its_first_slot():
    budgets, _ = budget.advance(budget.empty(INCOME))
    fresh, _ = budget.advance(budget.cleared(budgets))
    assert fresh.left.tolist() == pytest.approx([100, 40])
