"""Choosing a provider with prices on their room: the project's own, not a published system. The world is that of `aaas`.

The prophet of `aaas` knows every curve and takes the best provider where the task fits. That is short-sighted: the steps
that the task holds there are missing to tasks that would gain more from them. Here a task goes where its gain, less a price
for its steps times the time it holds them (`plan.prices`), is largest. Two policies:

`prices` knows the curves. The prices are those of a load `MARGIN` times as high as it is, times `SHARE`: a pool holds few tasks
and is often full by chance, so there is a price before it is short on average, and not all of it once it is.
`prices-learned` knows no curve when an episode begins. It believes `learn.curves` about the scores of what it has served, goes by
`HOPE` standard deviations above the mean, so that it looks where there may be more, and lets prices settle while it learns.
That a curve has two knees is all it is told: they may be anywhere, not only on the grid that instances are drawn from.

Both charge for the nearness of a crash: the fewer tasks could be started now, the nearer. Both know the rate of arrivals, the mix of
sizes and, as every operator would, what they have started themselves; neither knows what will come. Neither refuses a task.
The numbers were tuned on instances drawn with other seeds than those of `claims`.
"""

import functools
from collections.abc import Callable, Mapping, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from edgegen.core.arrays import Array
from edgegen.core.citation import Citation
from edgegen.core.result import Bar
from edgegen.core.tree import value
from edgegen.learn import curves
from edgegen.papers import aaas
from edgegen.plan import prices as bid
from edgegen.sim import arrivals, epochs, evaluation, memory

CITATION = Citation(
    key="talluri1998bid",
    authors="Talluri, Kalyan and van Ryzin, Garrett",
    title="An Analysis of Bid-Price Controls for Network Revenue Management",
    year=1998,
    identifier="doi:10.1287/mnsc.44.11.1577",
)  # of the idea of prices; the rest is ours
MARGIN, SHARE = 1.6, 0.75
RISK, CAUTION = 2 * aaas.CRASH, 0.3  # cost of a crash, and how fast it fades with every task more that could be started
HOPE, PACE = 0.5, 0.01  # PACE: the most that a price moves per task, in score
STEPS = np.arange(aaas.LEAST_STEPS, aaas.MOST_STEPS + 1, 10.0)  # K kinds of tasks, equally frequent
MEAN_USE = float(np.mean(STEPS * aaas.service_s(STEPS)))  # steps x s
_KNEES = np.linspace(0.0, aaas.MOST_STEPS, 21)
CURVES = curves.Shapes(curves.two_knees(_KNEES, _KNEES, STEPS), height=0.5, spread=12**-0.5, blur=0.01)  # uniform


def use(steps: Array) -> Array:
    """Steps times seconds of a task, in those of the mean task."""
    return steps * aaas.service_s(steps) / MEAN_USE


def market(gain: Array, room: Array) -> bid.Market:
    """Tasks by number of steps: gain float[I, K], room float[I] in mean tasks per arriving task."""
    steps = _steps(room)
    return bid.Market(gain=gain, use=use(steps), share=jnp.full_like(steps, 1.0 / len(STEPS)), room=room)


def choose(view: aaas.View, worth: Array, prices: Array) -> Array:
    """Where most of the worth is left when it is charged for what it takes; the cheapest crash if it fits nowhere."""
    before, after = _startable(view.free), _startable(view.free - view.steps)
    nearer = jnp.exp(-CAUTION * before.sum()) * jnp.expm1(CAUTION * (before - after))
    left = jnp.where(view.fits, worth - prices * use(view.steps) - RISK * nearer, -jnp.inf)
    return jnp.where(view.fits.any(), left.argmax(), view.crash_cost.argmin()).astype(jnp.int32)


def _startable(free: Array) -> Array:
    """float[I], how many tasks of one kind fit, on average over the kinds."""
    return jnp.floor(free[:, None] / _steps(free)[None, :]).mean(axis=-1)


def _steps(like: Array) -> Array:
    return jnp.asarray(STEPS, dtype=like.dtype)


def _room(world: aaas.Providers) -> Array:
    return world.capacity / (world.rate_hz * MEAN_USE)


def _gain(world: aaas.Providers) -> Array:
    return jax.vmap(world.gain, out_axes=1)(_steps(world.capacity))


# ----------------------------------------------------------------------------------------------------- known curves


def priced(world: aaas.Providers) -> memory.Remembering:
    """The instance with its prices, float[I], written down."""
    return memory.Remembering(world, memory.Note(SHARE * bid.solve(market(_gain(world), _room(world) / MARGIN))))


def prices(recalled: memory.Recalled, key) -> Array:
    """Charge the gain; for worlds from `priced`."""
    del key
    return choose(recalled.view, recalled.view.gain, recalled.memory)


# --------------------------------------------------------------------------------------------------- unknown curves


@value
class Learnt:
    """What an episode has shown so far."""

    count: Array  # float[I, K], scores seen
    total: Array  # float[I, K], their sums
    belief: curves.Belief  # leaves [I, K]
    prices: Array  # float[I]


class Learning(memory.AbstractMemory):
    """Scores as they come, what is believed of the curves, and prices that follow."""

    room: Array  # float[I], see `market`

    def start(self) -> Learnt:
        none = jnp.zeros((self.room.shape[0], len(STEPS)), dtype=self.room.dtype)
        return Learnt(none, none, jax.vmap(CURVES.believe)(none, none), prices=jnp.zeros_like(self.room))

    def update(self, memory: Learnt, view: aaas.View, action: Array, entries: epochs.Entries) -> Learnt:
        at, kind = jnp.maximum(action, 0), _kind(view.steps)
        count = memory.count.at[at, kind].add(entries["assigned"] - entries["crashes"])
        total = memory.total.at[at, kind].add(entries["quality"])
        row = CURVES.believe(count[at], total[at])
        belief = jax.tree.map(lambda rows, new: rows.at[at].set(new), memory.belief, row)
        moved = bid.settle(market(belief.mean, self.room), memory.prices, step=PACE)
        return Learnt(count, total, belief, prices=moved)


def learning(world: aaas.Providers) -> memory.Remembering:
    """The instance with a memory of what was served."""
    return memory.Remembering(world, Learning(_room(world) / MARGIN))


def prices_learned(recalled: memory.Recalled, key) -> Array:
    """Charge what a gain may well be; for worlds from `learning`."""
    del key
    known, kind = recalled.memory, _kind(recalled.view.steps)
    worth = known.belief.mean[:, kind] + HOPE * known.belief.spread[:, kind]
    return choose(recalled.view, worth, SHARE * known.prices)


def _kind(steps: Array) -> Array:
    return jnp.round((steps - STEPS[0]) / (STEPS[1] - STEPS[0])).astype(jnp.int32)


POLICIES: dict[str, tuple[Callable[[aaas.Providers], memory.Remembering], epochs.Policy]] = {
    "prices": (priced, prices),
    "prices-learned": (learning, prices_learned),
}


# ----------------------------------------------------------------------------------------------------------- claims


def bound(world: aaas.Providers) -> Array:
    """float[], a mean reward of an episode that no policy exceeds, whatever it knows of the curves and the load.

    On average over an episode and the time until its last task is over, no pool gives more than it has, except by a
    crash, and that costs more than what it gives back as long as the price of the largest task is at most that of a crash.
    """
    after = 1.0 + float(aaas.service_s(float(aaas.MOST_STEPS))) / world.episode_s
    whole = market(_gain(world), _room(world) * after)
    capped = jnp.minimum(bid.solve(whole), aaas.CRASH / whole.use.max())
    return world.rate_hz * world.episode_s * bid.bound(whole, capped)


@eqx.filter_jit
def _drawn(keys: Array, rate_hz: Array, length: int) -> aaas.Providers:
    return jax.vmap(lambda key: aaas.draw(key, rate_hz=rate_hz, length=length))(keys)


def rewards(
    rate_hz: float,
    rivals: Mapping[str, epochs.Policy] = aaas.POLICIES,
    *,
    instances: int,
    seed: int,
    length: int | None = None,
) -> dict[str, np.ndarray]:
    """Serve one episode of each of N drawn instances: the rewards of the rivals and of ours, and `bound`, float[N] by name.

    Row n is the same instance and the same episode for everyone. With one `length` for several rates, that of the
    highest (`arrivals.length_for`), all is compiled once.
    """
    length = arrivals.length_for(rate_hz, aaas.EPISODE_S) if length is None else length
    drawing, playing = jax.random.split(jax.random.key(seed))
    worlds = _drawn(jax.random.split(drawing, instances), jnp.asarray(rate_hz, jnp.result_type(float)), length)
    keys = jax.random.split(playing, (instances, 1))
    sums = dict(evaluation.evaluate(worlds, rivals, keys, weights=aaas.WEIGHTS))
    for name, (prepare, policy) in POLICIES.items():
        sums |= evaluation.evaluate(_each(prepare)(worlds), {name: policy}, keys, weights=aaas.WEIGHTS)
    found = {name: of["reward"][:, 0] for name, of in sums.items()}
    return found | {"bound": np.asarray(_each(bound)(worlds), dtype=float)}


@functools.cache
def _each(function: Callable) -> Callable:
    return eqx.filter_jit(eqx.filter_vmap(function))


def claims(
    progress: Callable[[str], None],
    *,
    instances: int = 100,
    seed: int = 4000,
    loads_hz: Sequence[float] = aaas.LOADS_HZ,
) -> list[Bar]:
    """Check that the prices earn more than the prophet at every load, and that learning costs little of that."""
    progress(f"provider_prices: {len(POLICIES)} policies on {instances} instances at {len(loads_hz)} loads")
    length = max(arrivals.length_for(rate, aaas.EPISODE_S) for rate in loads_hz)
    rivals = {"prophet": aaas.prophet, "prophet-mended": aaas.prophet_mended}
    bars = []
    for rate in loads_hz:
        found = rewards(rate, rivals, instances=instances, seed=seed, length=length)
        prophet, load = found["prophet"], f"{rate:g}/s"
        bars += [
            Bar.of_mean(f"own: prices over prophet-mended, {load}", found["prices"] - found["prophet-mended"], 0.0),
            Bar.at_least(
                f"own: prices-learned by prophet, {load}",
                found["prices-learned"].mean() / prophet.mean(),
                0.97,
                n=instances,
            ),
            Bar.report(f"own: prices by prophet, {load}", found["prices"].mean() / prophet.mean(), n=instances),
            Bar.report(f"own: no policy by prophet above, {load}", found["bound"].mean() / prophet.mean(), n=instances),
        ]
    return bars
