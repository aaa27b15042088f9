"""Bid prices: what it costs to use a site's room, so that a task goes where it gains more than it takes from others.

Tasks of K kinds come one by one. One that is given to a site uses some of its room for some time, and on average over time no
site gives more than it has. The best division of the kinds over the sites under this alone is a linear program; its duals are
the prices, and its optimum is a bound on every policy (bid prices of network revenue management: Talluri and van Ryzin 1998,
doi:10.1287/mnsc.44.11.1577). They are found as a market finds them: a site raises its price while more is asked of it than
it has, and lowers it otherwise. A little blur in who asks makes that settle. I sites, K kinds.
"""

import jax
import jax.numpy as jnp

from edgegen.core.arrays import Array
from edgegen.core.tree import value

ROUNDS, STEP, BLUR = 200, 0.05, 0.02  # for gains between 0 and 1


@value
class Market:
    """What is asked for, and what there is. The unit of use is up to the caller."""

    gain: Array  # float[I, K], of a task of a kind at a site
    use: Array  # float[K], room times time that a task takes
    share: Array  # float[K], of the tasks that are of a kind; sums to 1
    room: Array  # float[I], use that a site can give per arriving task


def asked(market: Market, prices: Array, *, blur: float = BLUR) -> Array:
    """float[I], what is asked of every site per arriving task at prices float[I], gain per use.

    A kind divides itself over the sites and over nowhere, which gains 0, by a softmax of what is left of the gain.
    """
    left = _left(market, prices) / blur
    top = jnp.maximum(left.max(axis=0), 0.0)  # spares an overflow
    part = jnp.exp(left - top[None, :])
    part = part / (part.sum(axis=0) + jnp.exp(-top))[None, :]
    return part @ (market.share * market.use)


def settle(market: Market, prices: Array, *, step: float | Array, blur: float = BLUR) -> Array:
    """Let every price move once, by at most `step`, with what is asked beyond the room."""
    beyond = asked(market, prices, blur=blur) / market.room - 1.0
    return jnp.maximum(prices + step * jnp.minimum(beyond, 1.0), 0.0)


def solve(market: Market, *, rounds: int = ROUNDS, step: float = STEP, blur: float = BLUR) -> Array:
    """float[I], the prices after so many rounds from 0, with falling steps."""

    def move(prices, pace):
        return settle(market, prices, step=pace, blur=blur), None

    paces = jnp.linspace(step, step / rounds, rounds, dtype=market.room.dtype)
    return jax.lax.scan(move, jnp.zeros_like(market.room), paces)[0]


def bound(market: Market, prices: Array) -> Array:
    """float[], a mean gain per task that no division of the kinds exceeds, whatever the prices (weak duality)."""
    return market.room @ prices + market.share @ jnp.maximum(_left(market, prices).max(axis=0), 0.0)


def _left(market: Market, prices: Array) -> Array:
    return market.gain - prices[:, None] * market.use[None, :]
