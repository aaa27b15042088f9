import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgegen.core.decision import REJECT
from edgegen.core.errors import InputError
from edgegen.sim.occupancy import pool

CAPACITY = jnp.array([400.0, 500.0, 900.0])
TASKS, LEAST = 40, 100


@jax.jit
def play(gaps, sites, steps, lengths):
    """Serve TASKS tasks; return the ledger per task, the steps in use and free after each, and the pools at the end."""

    def serve(pools, task):
        now_s, site, held, length_s = task
        pools, before = pool.advance(pools, now_s)
        quality = held / 1024  # exact in binary, so that sums of it are exact
        pools, after = pool.admit(pools, site, steps=held, quality=quality, end_s=now_s + length_s)
        held = jnp.where(pools.running, pools.steps, 0).sum(axis=0)
        return pools, (before | after, held, pools.free)

    start = pool.empty(CAPACITY, pool.rows_for(900, LEAST))
    pools, (ledger, used, free) = jax.lax.scan(serve, start, (jnp.cumsum(gaps), sites, steps, lengths))
    return ledger, used, free, pools


task = st.tuples(
    st.integers(0, 30),
    st.sampled_from([REJECT, 0, 1, 2]),
    st.integers(10, 25).map(lambda tens: 10 * tens),
    st.integers(0, 99),
)


@settings(max_examples=150)
@given(st.lists(task, min_size=TASKS, max_size=TASKS))
def test_every_task_is_running_finished_crashed_or_refused(tasks):
    gaps, sites, steps, lengths = (np.array(column) for column in zip(*tasks, strict=True))
    ledger, used, free, pools = play(
        gaps.astype(float), sites.astype(np.int32), steps.astype(float), lengths.astype(float)
    )
    total = {name: float(entries.sum()) for name, entries in ledger.items()}
    running = float(pools.running.sum())
    assert total["assigned"] == running + total["finished"] + total["crashed"]
    assert total["assigned"] + total["refused"] == TASKS
    assert (np.asarray(free) >= 0).all()
    np.testing.assert_array_equal(used + free, np.broadcast_to(CAPACITY, used.shape))
    still = float(np.where(pools.running, pools.quality, 0).sum())
    assert total["quality"] == total["finished_quality"] + total["killed_quality"] + still
    wanted = steps[sites != REJECT].sum() / 1024
    assert wanted == total["quality"] + total["forgone_quality"]
    assert 0 <= total["undone"] <= total["crashed"] - total["crashes"]


def filled(*tasks):
    """Pools in which (site, steps, begin_s, end_s) run."""
    pools = pool.empty(CAPACITY, 9)
    for site, steps, begin_s, end_s in tasks:
        pools, _ = pool.advance(pools, jnp.float64(begin_s))
        new = {"steps": jnp.float64(steps), "quality": jnp.float64(0.5), "end_s": jnp.float64(end_s)}
        pools, entries = pool.admit(pools, jnp.int32(site), **new)
        assert entries["crashes"] == 0
    return pools


def test_a_crash_loses_what_was_still_to_be_done_and_frees_the_pool():
    pools = filled((0, 150, 0, 100), (1, 500, 0, 100), (0, 250, 50, 250))
    pools, _ = pool.advance(pools, jnp.float64(75))
    new = {"steps": jnp.float64(100), "quality": jnp.float64(0.25), "end_s": jnp.float64(99)}
    after, entries = pool.admit(pools, jnp.int32(0), **new)
    assert entries["crashes"] == 1
    assert entries["crashed"] == 3
    assert entries["undone"] == pytest.approx((1 - 0.75) + (1 - 0.125))
    assert entries["killed_quality"] == 1.0
    assert entries["forgone_quality"] == 0.25
    assert entries["quality"] == 0
    assert after.free.tolist() == [400, 0, 900]  # the neighbour goes on


def test_a_task_ends_at_its_end_and_not_before():
    pools = filled((0, 400, 0, 100))
    assert pool.advance(pools, jnp.float64(99.999))[0].free[0] == 0
    after, entries = pool.advance(pools, jnp.float64(100))
    assert (float(entries["finished"]), float(entries["finished_quality"])) == (1, 0.5)
    assert after.free[0] == 400


@pytest.mark.parametrize("now_s", [0.0, 7e5])
def test_a_task_that_takes_no_time_ends_at_the_next_moment(now_s):
    pools, _ = pool.advance(filled(), jnp.float64(now_s))
    new = {"steps": jnp.float64(100), "quality": jnp.float64(1), "end_s": jnp.float64(now_s)}
    pools, _ = pool.admit(pools, jnp.int32(0), **new)
    assert pools.free[0] == 300
    pools, entries = pool.advance(pools, jnp.float64(now_s + 1e-6))
    assert entries["finished"] == 1


def test_a_refused_task_changes_nothing():
    pools = filled((0, 150, 0, 100))
    new = {"steps": jnp.float64(100), "quality": jnp.float64(1), "end_s": jnp.float64(9)}
    after, entries = pool.admit(pools, jnp.int32(REJECT), **new)
    assert entries["refused"] == 1
    assert {name for name, entry in entries.items() if entry != 0} == {"refused"}
    assert all(jax.tree.leaves(jax.tree.map(lambda one, other: (one == other).all(), after, pools)))


def test_a_cleared_pool_serves_like_a_new_one():
    pools = pool.cleared(filled((0, 150, 0, 100), (1, 500, 20, 100)))
    assert not pools.running.any()
    fresh = pool.empty(CAPACITY, 9)
    new = {"steps": jnp.float64(100), "quality": jnp.float64(1), "end_s": jnp.float64(9)}
    for now_s in (0.0, 5.0, 9.0):
        pools, ours = pool.advance(pools, jnp.float64(now_s))
        fresh, theirs = pool.advance(fresh, jnp.float64(now_s))
        assert ours == theirs
        pools, _ = pool.admit(pools, jnp.int32(0), **new)
        fresh, _ = pool.admit(fresh, jnp.int32(0), **new)
        np.testing.assert_array_equal(pools.free, fresh.free)
        np.testing.assert_array_equal(pools.running, fresh.running)


def test_a_task_smaller_than_the_rows_were_counted_for_is_never_lost_without_a_word():
    pools, entries = pool.empty(jnp.array([10.0]), 1), {}
    for _ in range(2):
        new = {"steps": jnp.float64(1), "quality": jnp.float64(1), "end_s": jnp.float64(9)}
        pools, entries = pool.admit(pools, jnp.int32(0), **new)
    assert (float(entries["crashes"]), float(entries["crashed"])) == (1, 2)


def test_the_rows_hold_as_many_of_the_smallest_tasks_as_fit():
    assert pool.rows_for(900, 100) == 9
    with pytest.raises(InputError, match="least_steps"):
        pool.rows_for(90, 100)
