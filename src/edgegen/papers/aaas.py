"""Diffusion-based Reinforcement Learning for Edge-enabled AI-Generated Content Services.

Du, Li, Niyato, Kang, Xiong, Huang and Mao, 2024, arXiv:2303.13052 (after Du et al. 2023, arXiv:2301.03220: abstract only).

From the paper and its code (github.com/Lizonghang/AGOD, read, not copied): the system, its parameters, the simple policies,
the state, the reward and the published figures. A scheduler gives every arriving task at once to one of 20 providers. Each has
an unknown curve of quality over denoising steps and a pool of steps that it may run at once; a task that does not fit crashes it.
Derived by us: the curve is two knees with the score of noise taken off; service times are whole seconds.
Guessed: nothing in the system. The bands of `claims` were measured on another implementation of the same system.
Deviations: 1. Means over many instances; the source has one, drawn with a fixed seed (`published_pool`). 2. `static-rank` is ours:
the provider with the best quality at the mean number of steps among those where the task fits. 3. `prophet` crashes provider 0
when a task fits nowhere, as the released code does; `prophet-mended` takes the crash that costs least. Neither looks ahead, so
neither is a bound. 4. A task may be refused (`core.decision.REJECT`), but no policy here does. 5. The end of an episode is a
horizon, not an end of the system: learners look past it, where the source's do not.
"""

import dataclasses
import itertools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp

from edgegen.core.arrays import Array
from edgegen.core.citation import Citation
from edgegen.core.result import Bar
from edgegen.core.tree import value
from edgegen.data.build import facts
from edgegen.sim import arrivals, draws, environment, epochs, evaluation, system
from edgegen.sim.occupancy import amounts, pool

CITATION = Citation(
    key="du2024agod",
    authors="Du, Hongyang and Li, Zonghang and Niyato, Dusit and Kang, Jiawen and Xiong, Zehui and Huang, Huawei and Mao, Shiwen",
    title="Diffusion-based Reinforcement Learning for Edge-enabled AI-Generated Content Services",
    year=2024,
    identifier="arXiv:2303.13052",
)
PROVIDERS, EPISODE_S, RATE_HZ = 20, 1e6, 1e-3
LEAST_STEPS, MOST_STEPS, MEAN_STEPS, MOST_CAPACITY = 100, 250, 175, 900
CRASH = 2.0  # c_F, for the crash itself and for each running task, by the part that was still to be done
WEIGHTS = {"quality": 1.0, "crashes": -CRASH, "undone": -CRASH}
LOADS_HZ = (5e-4, 7.5e-4, 1e-3, 1.5e-3, 2e-3)
BANDS = {"random": (-130, -30), "round-robin": (215, 285), "crash-avoid": (350, 425), "prophet": (530, 600)}
PUBLISHED = {"random": -35.0, "round-robin": 280.0, "crash-avoid": 400.0, "prophet": 596.0}  # test rewards at RATE_HZ
PUBLISHED_D2SAC = 537.0  # that of the source's learner


@value
class Chance:
    """What is drawn for a task."""

    steps: Array  # float[], denoising steps
    gap: Array  # float[], time to the next task, in mean gaps


@value
class Task:
    """One request."""

    number: Array  # int[], 0 for the first of the episode
    at_s: Array  # float[]
    steps: Array  # float[]


@value
class Scene:
    """What runs, and which task comes next."""

    pools: pool.Pools
    number: Array  # int[], of the next task
    next_s: Array  # float[], when it comes; tasks arrive at whole seconds, rounded down


@value
class View:
    """What a policy may look at. I providers. `observe` makes of it what the source's learners see."""

    number: Array  # int[], of the task
    steps: Array  # float[], denoising steps that the task asks for
    service_s: Array  # float[], how long it will run
    capacity: Array  # float[I]
    free: Array  # float[I], steps that are not in use
    fits: Array  # bool[I]
    gain: Array  # float[I], reward for the task where it fits; hidden from learners
    mean_gain: Array  # float[I], the same for a task of the mean number of steps; hidden
    crash_cost: Array  # float[I], what a crash would cost now; hidden


class Providers(epochs.AbstractWorld):
    """One instance: the pools and curves of I providers, and the arrival rate."""

    capacity: Array  # float[I], steps that may run at once
    a_x: Array  # float[I], first knee, steps
    a_y: Array  # float[I], score up to the first knee: that of noise
    b_x: Array  # float[I], second knee, steps
    b_y: Array  # float[I], score from the second knee on
    rate_hz: Array  # float[]
    length: int = eqx.field(static=True)  # rows for the arrivals of an episode
    episode_s: float = eqx.field(static=True, default=EPISODE_S)

    def gain(self, steps: Array) -> Array:
        """float[I], the score of a picture with so many steps over that of noise."""
        return (self.b_y - self.a_y) * jnp.clip((steps - self.a_x) / (self.b_x - self.a_x), 0.0, 1.0)

    def chance(self, key) -> Chance:
        asking, waiting = draws.words(key, 2)
        tens = draws.whole(asking, LEAST_STEPS // 10, MOST_STEPS // 10)
        return Chance(steps=10.0 * tens.astype(self.capacity.dtype), gap=draws.exponential(waiting))

    def start(self) -> Scene:
        pools = pool.empty(_whole(self.capacity), pool.rows_for(MOST_CAPACITY, LEAST_STEPS))
        return self._first(pools)

    def restart(self, state: Scene) -> Scene:
        return self._first(pool.cleared(state.pools))

    def _first(self, pools: pool.Pools) -> Scene:
        return Scene(pools=pools, number=jnp.zeros((), dtype=jnp.int32), next_s=jnp.zeros((), self.capacity.dtype))

    def advance(self, state: Scene, chance: Chance) -> tuple[Scene, Task, Array, epochs.Entries]:
        """Go on to the next task: the first comes at time 0, and the last before the horizon is not served."""
        task = Task(number=state.number, at_s=jnp.floor(state.next_s), steps=chance.steps)
        pools, entries = pool.advance(state.pools, task.at_s)
        after = Scene(pools=pools, number=state.number + 1, next_s=state.next_s + chance.gap / self.rate_hz)
        return after, task, after.next_s <= self.episode_s, entries | {"running": amounts.count(pools.running)}

    def view(self, state: Scene, event: Task) -> View:
        free = state.pools.free.astype(self.capacity.dtype)
        return View(
            number=event.number,
            steps=event.steps,
            service_s=service_s(event.steps),
            capacity=self.capacity,
            free=free,
            fits=event.steps <= free,
            gain=self.gain(event.steps),
            mean_gain=self.gain(jnp.asarray(float(MEAN_STEPS), self.capacity.dtype)),
            crash_cost=CRASH * (1.0 + pool.undone(state.pools)),
        )

    def step(self, state: Scene, event: Task, action: Array) -> tuple[Scene, epochs.Entries]:
        pools, entries = pool.admit(
            state.pools,
            action,
            steps=_whole(event.steps),
            quality=self.gain(event.steps)[jnp.maximum(action, 0)],
            end_s=event.at_s + service_s(event.steps),
        )
        return dataclasses.replace(state, pools=pools), entries


def service_s(steps: Array | float) -> Array:
    """Seconds that a task runs (the released code; RePaint on CelebA-HQ): whole for multiples of ten steps."""
    tens = steps / 10.0
    return 6.0 * tens * tens + 1500.0 * tens - 840.0


def _whole(steps: Array) -> Array:
    return steps.astype(jnp.int32)


def draw(key, *, rate_hz: float | Array = RATE_HZ, length: int | None = None) -> Providers:
    """Draw an instance. `length` is needed under jit, and where instances with unlike rates are stacked."""
    keys, dtype = jax.random.split(key, 5), jnp.result_type(float)

    def whole(index: int, low: int, high: int) -> Array:
        return jax.random.randint(keys[index], (PROVIDERS,), low, high, dtype=jnp.int32).astype(dtype)

    return Providers(
        capacity=100.0 * whole(0, 4, 10),
        a_x=10.0 * whole(1, 0, 10),
        a_y=0.05 * whole(2, 0, 10),
        b_x=10.0 * whole(3, 15, 25),
        b_y=0.05 * whole(4, 10, 20),
        rate_hz=jnp.asarray(rate_hz, dtype=dtype),
        length=arrivals.length_for(float(rate_hz), EPISODE_S) if length is None else length,
    )


def published_pool(rate_hz: float = RATE_HZ) -> Providers:
    """Return the one instance of the source."""
    rows, names = facts("agod_providers"), ("capacity_steps", "a_x", "a_y", "b_x", "b_y")
    capacity, a_x, a_y, b_x, b_y = (jnp.array([float(row[name]) for row in rows]) for name in names)
    rate, length = jnp.asarray(rate_hz, dtype=capacity.dtype), arrivals.length_for(rate_hz, EPISODE_S)
    return Providers(capacity=capacity, a_x=a_x, a_y=a_y, b_x=b_x, b_y=b_y, rate_hz=rate, length=length)


def observe(view: View) -> Array:
    """What the source's learners see, float[2I + 2] in [0, 1]: capacity and free share by provider, then the task."""
    providers = jnp.stack([view.capacity / MOST_CAPACITY, view.free / view.capacity], axis=-1).reshape(-1)
    task = jnp.stack([view.steps / MOST_STEPS, view.service_s / service_s(float(MOST_STEPS))])
    return jnp.concatenate([providers, task])


def where_it_fits(view: View) -> Array:
    """bool[I], the providers where the task fits; all of them where it fits nowhere."""
    return view.fits | ~view.fits.any()


def _anywhere(view: View) -> Array:
    return jnp.ones_like(view.fits)


CODEC = environment.Codec(observe, _anywhere, environment.as_it_is, actions=PROVIDERS, weights=WEIGHTS)
MASKED = environment.Codec(observe, where_it_fits, environment.as_it_is, actions=PROVIDERS, weights=WEIGHTS)


# ------------------------------------------------------------------------------------------------------- policies


def at_random(view: View, key) -> Array:
    """Any provider, whether the task fits or not."""
    return jax.random.randint(key, (), 0, view.capacity.shape[0], dtype=jnp.int32)


def round_robin(view: View, key) -> Array:
    """The providers in turn."""
    del key
    return view.number % view.capacity.shape[0]


def crash_avoid(view: View, key) -> Array:
    """The provider with the most free steps."""
    del key
    return _first(view.free.argmax())


def static_rank(view: View, key) -> Array:
    """The best provider for a mean task, among those where this one fits; provider 0 if none."""
    del key
    return _first(jnp.where(view.fits, view.mean_gain, -jnp.inf).argmax())


def prophet(view: View, key) -> Array:
    """The best provider for this task among those where it fits; provider 0 if none, as in the released code."""
    del key
    return _first(jnp.where(view.fits, view.gain, -jnp.inf).argmax())


def prophet_mended(view: View, key) -> Array:
    """The best provider for this task among those where it fits; if none, the one whose crash costs least."""
    del key
    return _first(jnp.where(view.fits, view.gain, -view.crash_cost).argmax())  # a crash costs more than any gain


def _first(row: Array) -> Array:
    return row.astype(jnp.int32)


POLICIES: dict[str, epochs.Policy] = {
    "random": at_random,
    "round-robin": round_robin,
    "crash-avoid": crash_avoid,
    "static-rank": static_rank,
    "prophet": prophet,
    "prophet-mended": prophet_mended,
}
ORDER = ("random", "round-robin", "crash-avoid", "static-rank", "prophet")
SYSTEM = system.System(draw, POLICIES, WEIGHTS, codec=lambda world: CODEC, settings={"rate_hz": RATE_HZ})


# --------------------------------------------------------------------------------------------------------- claims


def claims(progress: Callable[[str], None], *, instances: int = 50, seed: int = 0) -> list[Bar]:
    """Check the level of the simple policies at the source's load, and their order at five loads."""
    progress(f"aaas: {len(POLICIES)} policies on {instances} instances at {len(LOADS_HZ)} loads, and on the source's")
    length = max(arrivals.length_for(rate, EPISODE_S) for rate in LOADS_HZ)
    of_instances, of_episodes, of_pool = jax.random.split(jax.random.key(seed), 3)
    pools = [draw(key, length=length) for key in jax.random.split(of_instances, instances)]
    keys = jax.random.split(of_episodes, (instances, 1))
    rewards = []
    for rate in LOADS_HZ:  # on the same instances, in the same shapes: compiled once
        busy = [dataclasses.replace(pool, rate_hz=jnp.asarray(rate, pool.capacity.dtype)) for pool in pools]
        sums = evaluation.evaluate(epochs.stack(busy), POLICIES, keys, weights=WEIGHTS)
        rewards.append({name: of["reward"].mean(axis=-1) for name, of in sums.items()})
    usual, full = rewards[LOADS_HZ.index(RATE_HZ)], rewards[-1]
    keys = jax.random.split(of_pool, (1, instances))
    own = evaluation.evaluate(epochs.stack([published_pool()]), POLICIES, keys, weights=WEIGHTS)
    return [
        *(Bar.of_mean(f"aaas: mean reward of {name}, {RATE_HZ:g}/s", usual[name], *BANDS[name]) for name in BANDS),
        *(
            Bar.of_mean(f"aaas: {better} over {worse}, {rate:g}/s", row[better] - row[worse], 0.0)
            for rate, row in zip(LOADS_HZ, rewards, strict=True)
            for worse, better in itertools.pairwise(ORDER)
        ),
        Bar.of_mean("aaas: static-rank; published: the learner", usual["static-rank"], published=PUBLISHED_D2SAC),
        Bar.of_mean("aaas: prophet-mended over prophet, 0.002/s", full["prophet-mended"] - full["prophet"]),
        *(
            Bar.of_mean(f"aaas: {name}, the source's instance", own[name]["reward"][0], published=PUBLISHED.get(name))
            for name in ORDER
        ),
    ]
