"""The rules against queueing theory: Poisson arrivals at one site, many independent episodes at once.

Each mean is over the means of independent episodes, after a warm-up, and must be within four standard errors of the formula.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edgegen.core.decision import REJECT
from edgegen.sim import draws
from edgegen.sim.occupancy import amounts, capacity, fifo, pool, share

EPISODES, ARRIVALS, WARM_UP = 256, 1500, 500
SITE = jnp.int32(0)


def serve(start, one, *, rate_hz, service):
    """Serve arrivals of rate `rate_hz`, `service` of a word; return what `one` reports of each, float[E, A] by name."""

    def task(state, words):
        now_s = state.now_s + draws.exponential(words[0]) / rate_hz
        return one(state, now_s, service(words[1]))

    def episode(key):
        words = draws.words(key, 2 * (ARRIVALS + WARM_UP)).reshape(-1, 2)
        return jax.lax.scan(task, start, words)[1]

    seen = jax.jit(jax.vmap(episode))(jax.random.split(jax.random.key(0), EPISODES))
    return {name: np.asarray(entries)[:, WARM_UP:] for name, entries in seen.items()}


def constant(word):
    return jnp.ones_like(draws.uniform(word))


def assert_mean(samples, expected):
    """The mean of the means of episodes is within four standard errors, and these are small enough to tell something."""
    means = samples.mean(axis=1)
    error = means.std(ddof=1) / math.sqrt(len(means))
    assert error < 0.03 * expected
    assert abs(means.mean() - expected) < 4 * error


def erlang_b(servers, load):
    """The probability that all servers are busy in a system without a queue (Erlang 1917)."""
    loss = 1.0
    for number in range(1, servers + 1):
        loss = load * loss / (number + load * loss)
    return loss


def erlang_c_wait(servers, load):
    """The mean wait in M/M/c, in service times."""
    loss = erlang_b(servers, load)
    queued = loss / (1 - load / servers * (1 - loss))
    return queued / (servers - load)


# ---------------------------------------------------------------------------------------------------------- FIFO


def through_queue(queues, now_s, service_s):
    queues, before = fifo.advance(queues, now_s)
    seen = {"present": amounts.count(queues.present)}
    queues, entries = fifo.admit(queues, SITE, service_s=service_s)
    return queues, before | entries | seen


def queue(servers, load, service):
    start = fifo.empty(1, servers=servers, places=64)
    seen = serve(start, through_queue, rate_hz=load, service=service)
    assert seen["dropped"].sum() == 0
    return seen


@pytest.mark.parametrize(("servers", "load"), [(1, 0.6), (3, 2.1)])
def test_exponential_service_gives_the_waits_of_erlang_c(servers, load):
    seen = queue(servers, load, draws.exponential)
    assert_mean(seen["wait_s"], erlang_c_wait(servers, load))
    assert_mean(seen["present"], load * (1 + erlang_c_wait(servers, load)))  # Little's law
    assert_mean(seen["busy_s"], 1.0)  # work in is work out


def test_one_server_is_the_simplest_case_of_erlang_c():
    assert erlang_c_wait(1, 0.6) == pytest.approx(0.6 / 0.4)


def test_constant_service_gives_half_the_wait_of_pollaczek_and_khinchine():
    load = 0.7
    seen = queue(1, load, constant)
    assert_mean(seen["wait_s"], load / (2 * (1 - load)))
    assert_mean(seen["present"], load * (1 + load / (2 * (1 - load))))


# ------------------------------------------------------------------------------------------------- processor sharing


def through_sharers(sharers, now_s, work):
    sharers, before = share.advance(sharers, now_s)
    seen = {"present": amounts.count(sharers.present)}
    sharers, entries = share.admit(sharers, SITE, work=work)
    return sharers, before | entries | seen


@pytest.mark.parametrize("service", [draws.exponential, constant])
def test_processor_sharing_has_the_same_mean_for_every_distribution_of_work(service):
    load = 0.6
    start = share.empty(jnp.ones(1), places=48)
    seen = serve(start, through_sharers, rate_hz=load, service=service)
    assert seen["dropped"].sum() == 0
    assert_mean(seen["sojourn_s"], 1 / (1 - load))  # per arrival: as many tasks end as come
    assert_mean(seen["present"], load / (1 - load))  # Little's law
    assert_mean(seen["busy_s"] * load, load)


# ----------------------------------------------------------------------------------------------- steps that run at once


@pytest.mark.parametrize("service", [draws.exponential, constant])
def test_a_pool_that_refuses_what_does_not_fit_loses_as_much_as_erlang_b_says(service):
    servers, load = 5, 4.0

    def through_pool(pools, now_s, service_s):
        pools, before = pool.advance(pools, now_s)
        seen = {"running": amounts.count(pools.running)}
        site = jnp.where(pools.free[0] >= 100, SITE, REJECT)
        new = {"steps": jnp.int32(100), "quality": service_s, "end_s": now_s + service_s}
        pools, entries = pool.admit(pools, site, **new)
        return pools, before | entries | seen

    start = pool.empty(jnp.array([550], jnp.int32), pool.rows_for(550, 100))
    seen = serve(start, through_pool, rate_hz=load, service=service)
    assert seen["crashes"].sum() == 0
    loss = erlang_b(servers, load)
    assert_mean(seen["refused"], loss)
    assert_mean(seen["running"], load * (1 - loss))  # Little's law


# --------------------------------------------------------------------------------------------------------- capacity


def test_work_that_waits_for_capacity_is_that_of_pollaczek_and_khinchine():
    load, steps = 0.7, 30.0

    def through_capacity(sites, now_s, work):
        sites, before = capacity.advance(sites, now_s)
        seen = {"waiting_s": (sites.waiting / sites.rate)[0]}
        sites, entries, _ = capacity.admit(sites, (steps * work)[None])
        return sites, before | entries | seen

    start = capacity.empty(jnp.array([steps]), patience_s=1000.0)
    seen = serve(start, through_capacity, rate_hz=load, service=constant)
    assert seen["dropped"].sum() == 0
    assert_mean(seen["waiting_s"], load / (2 * (1 - load)))
    assert_mean(seen["busy_s"] * load, load)
