"""Servers that divide themselves: shares, waiting, and what is left over."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edgegen.sim import sharing


def servers(*backlog):
    return sharing.Servers(speed=jnp.array([2.0, 4.0]), backlog=jnp.array(backlog))


def test_two_tasks_on_a_server_get_half_each_and_one_alone_gets_all():
    site = jnp.array([0, 1, 0, -1])
    np.testing.assert_array_equal(sharing.equal_share(site, 2), [0.5, 1, 0.5, 1])
    np.testing.assert_array_equal(sharing.crowd(site, 3), [2, 1, 0])


def test_a_task_waits_for_the_backlog_and_then_has_its_share():
    seconds = sharing.finish_s(
        servers(3.0, 0.0), jnp.array([0, 0, 1, -1]), work=jnp.full(4, 8.0), share=jnp.array([0.25, 0.75, 1.0, 0.0])
    )
    np.testing.assert_allclose(seconds, [1.5 + 16, 1.5 + 16 / 3, 2, 0])


def test_what_is_not_worked_off_stays():
    after, entries = sharing.work_off(
        servers(3.0, 1.0), jnp.array([0, 0, 1]), work=jnp.array([4.0, 5.0, 1.0]), seconds=3.0
    )
    np.testing.assert_array_equal(after.backlog, [3 + 9 - 6, 0])
    assert {name: float(entry) for name, entry in entries.items()} == {"taken": 10, "done": 8}


def test_work_is_conserved_and_no_backlog_is_negative():
    draw = np.random.default_rng(0)
    site, work = jnp.asarray(draw.integers(-1, 2, (500, 6))), jnp.asarray(draw.exponential(5, (500, 6)))
    before = sharing.Servers(
        speed=jnp.asarray(draw.uniform(1, 4, (500, 2))), backlog=jnp.asarray(draw.uniform(-9, 9, (500, 2)).clip(0))
    )
    after, entries = jax.vmap(lambda *given: sharing.work_off(given[0], given[1], work=given[2], seconds=3.0))(
        before, site, work
    )
    assert (after.backlog >= 0).all()
    assert ((after.backlog == 0).any(), (after.backlog > 0).any()) == (True, True)
    np.testing.assert_allclose(entries["taken"], np.where(site >= 0, work, 0).sum(axis=1))
    np.testing.assert_allclose(
        before.backlog.sum(axis=1) + entries["taken"] - entries["done"], after.backlog.sum(axis=1), atol=1e-12
    )
    assert (entries["done"] <= 3 * before.speed.sum(axis=1) + 1e-9).all()


def test_equal_shares_of_a_server_add_up_to_one():
    site = jnp.array([0, 1, 1, 1, -1, 0])
    share = np.asarray(sharing.equal_share(site, 2))
    assert [share[np.asarray(site) == server].sum() for server in (0, 1)] == pytest.approx([1, 1])
