"""Prices of room: against the linear program, whose duals they are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linprog

from edgegen.plan import prices

SITES, KINDS = 6, 4


def drawn(seed, load):
    rng = np.random.default_rng(seed)
    use, room = rng.uniform(0.3, 2.0, KINDS), rng.uniform(0.5, 1.5, SITES)
    share = rng.dirichlet(np.ones(KINDS))
    return prices.Market(
        gain=jnp.asarray(rng.uniform(0, 1, (SITES, KINDS))),
        use=jnp.asarray(use),
        share=jnp.asarray(share),
        room=jnp.asarray(room * (use @ share) / room.sum() / load),
    )


def best_division(market):
    gain, use, share, room = (np.asarray(part) for part in (market.gain, market.use, market.share, market.room))
    each_kind = np.tile(np.eye(KINDS), SITES)
    each_site = np.kron(np.eye(SITES), share * use)
    limits, most = np.vstack([each_kind, each_site]), np.concatenate([np.ones(KINDS), room])
    found = linprog(-(gain * share).ravel(), A_ub=limits, b_ub=most, bounds=(0, 1))
    assert found.status == 0
    return -found.fun


@pytest.mark.parametrize("load", [0.4, 0.8, 1.5])
def test_the_prices_found_prove_a_bound_close_to_the_best_division(load):
    for seed in range(8):
        market = drawn(seed, load)
        best = best_division(market)
        bound = float(prices.bound(market, jax.jit(prices.solve)(market)))
        assert best - 1e-9 <= bound <= 1.03 * best, seed


def test_any_prices_prove_a_bound():
    for seed in range(8):
        market = drawn(seed, 0.8)
        guess = jnp.asarray(np.random.default_rng(seed + 100).uniform(0, 1, SITES))
        assert float(prices.bound(market, guess)) >= best_division(market) - 1e-9


def test_room_for_everything_everywhere_is_free():
    market = drawn(0, 0.1)
    market = prices.Market(gain=market.gain, use=market.use, share=market.share, room=jnp.full(SITES, 10.0))
    np.testing.assert_array_equal(prices.solve(market), 0)


def test_a_price_rises_where_more_is_asked_than_there_is_and_falls_elsewhere():
    market = drawn(1, 0.8)
    before = jnp.full(SITES, 0.3)
    short = prices.asked(market, before) > market.room
    after = prices.settle(market, before, step=0.01)
    assert 0 < int(short.sum()) < SITES
    np.testing.assert_array_equal(after > before, short)
    assert float(jnp.abs(after - before).max()) <= 0.01 + 1e-12


def test_nobody_asks_for_more_than_everything_nor_for_what_costs_more_than_it_gains():
    market = drawn(2, 0.8)
    assert float(prices.asked(market, jnp.zeros(SITES)).sum()) <= float(market.use @ market.share) + 1e-12
    assert float(prices.asked(market, jnp.full(SITES, 100.0)).sum()) < 1e-12
