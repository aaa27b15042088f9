import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgegen.core.decision import REJECT
from edgegen.core.errors import InputError
from edgegen.sim import occupancy

CAPACITY = jnp.array([400.0, 500.0, 900.0])
TASKS, LEAST = 40, 100


@jax.jit
def play(gaps, sites, steps, lengths):
    """Serve TASKS tasks; return the ledger per task, the steps in use after each, and the pools at the end."""

    def serve(pools, task):
        now_s, site, held, length_s = task
        pools, before = occupancy.release(pools, now_s)
        quality = held / 1024  # exact in binary, so that sums of it are exact
        pools, after = occupancy.admit(pools, site, steps=held, quality=quality, now_s=now_s, end_s=now_s + length_s)
        return pools, (before | after, pools.capacity - occupancy.free(pools))

    start = occupancy.empty(CAPACITY, occupancy.rows_for(900, LEAST))
    pools, (ledger, used) = jax.lax.scan(serve, start, (jnp.cumsum(gaps), sites, steps, lengths))
    return ledger, used, pools


task = st.tuples(
    st.integers(0, 30),
    st.sampled_from([REJECT, 0, 1, 2]),
    st.integers(10, 25).map(lambda tens: 10 * tens),
    st.integers(1, 99),
)


@settings(max_examples=150)
@given(st.lists(task, min_size=TASKS, max_size=TASKS))
def test_every_task_is_running_finished_crashed_or_refused(tasks):
    gaps, sites, steps, lengths = (np.array(column) for column in zip(*tasks, strict=True))
    ledger, used, pools = play(gaps.astype(float), sites.astype(np.int32), steps.astype(float), lengths.astype(float))
    total = {name: float(entries.sum()) for name, entries in ledger.items()}
    running = float(pools.running.sum())
    assert total["assigned"] == running + total["finished"] + total["crashed"]
    assert total["assigned"] + total["refused"] == TASKS
    assert (np.asarray(used) <= np.asarray(CAPACITY)).all()
    still = float(np.where(pools.running, pools.quality, 0).sum())
    assert total["quality"] == total["finished_quality"] + total["killed_quality"] + still
    wanted = steps[sites != REJECT].sum() / 1024
    assert wanted == total["quality"] + total["forgone_quality"]
    assert 0 <= total["undone"] <= total["crashed"] - total["crashes"]


def filled(*tasks):
    """Pools in which (site, steps, begin_s, end_s) run."""
    pools = occupancy.empty(CAPACITY, 9)
    for site, steps, begin_s, end_s in tasks:
        held = {"steps": jnp.float64(steps), "quality": jnp.float64(0.5)}
        pools, entries = occupancy.admit(
            pools, jnp.int32(site), **held, now_s=jnp.float64(begin_s), end_s=jnp.float64(end_s)
        )
        assert entries["crashes"] == 0
    return pools


def test_a_crash_loses_what_was_still_to_be_done_and_frees_the_pool():
    pools = filled((0, 150, 0, 100), (0, 250, 50, 250), (1, 500, 0, 100))
    new = {"steps": jnp.float64(100), "quality": jnp.float64(0.25), "now_s": jnp.float64(75), "end_s": jnp.float64(99)}
    after, entries = occupancy.admit(pools, jnp.int32(0), **new)
    assert entries["crashes"] == 1
    assert entries["crashed"] == 3
    assert entries["undone"] == pytest.approx((1 - 0.75) + (1 - 0.125))
    assert entries["killed_quality"] == 1.0
    assert entries["forgone_quality"] == 0.25
    assert entries["quality"] == 0
    assert occupancy.free(after).tolist() == [400, 0, 900]  # the neighbour goes on


def test_a_task_ends_at_its_end_and_not_before():
    pools = filled((0, 400, 0, 100))
    assert occupancy.free(occupancy.release(pools, jnp.float64(99.999))[0])[0] == 0
    after, entries = occupancy.release(pools, jnp.float64(100))
    assert (float(entries["finished"]), float(entries["finished_quality"])) == (1, 0.5)
    assert occupancy.free(after)[0] == 400


def test_a_refused_task_changes_nothing():
    pools = filled((0, 150, 0, 100))
    new = {"steps": jnp.float64(100), "quality": jnp.float64(1), "now_s": jnp.float64(5), "end_s": jnp.float64(9)}
    after, entries = occupancy.admit(pools, jnp.int32(REJECT), **new)
    assert entries["refused"] == 1
    assert {name for name, entry in entries.items() if entry != 0} == {"refused"}
    assert all(jax.tree.leaves(jax.tree.map(lambda one, other: (one == other).all(), after, pools)))


def test_the_rows_hold_as_many_of_the_smallest_tasks_as_fit():
    assert occupancy.rows_for(900, 100) == 9
    with pytest.raises(InputError, match="least_steps"):
        occupancy.rows_for(90, 100)
