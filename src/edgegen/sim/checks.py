"""Promises that every world and every environment keeps, as checks for anybody's own: `assert checks.faults(...) == []`."""

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from edgegen.core.arrays import Array
from edgegen.sim import epochs
from edgegen.sim.environment import Environment

TOLERANCE = 1e-5  # relative: sums may be added in another order


def faults(world: epochs.AbstractWorld, policy: epochs.Policy, *, key: Array) -> list[str]:
    """Return a sentence for each promise that a world breaks in an episode with a policy; none for a sound one."""
    first, second, third = jax.random.split(key, 3)
    drawn = eqx.filter_jit(epochs.draw)  # compiled once, and so is what plays: `play` is called with the same shapes
    episode, other = drawn(world, first), drawn(world, second)
    play = eqx.filter_jit(epochs.simulate)
    run = play(world, policy, episode)
    found = []
    if not _same_bytes(run, play(world, policy, drawn(world, first))):
        found.append("the same key does not give the same bytes")
    entries = {name: np.asarray(entry) for name, entry in run.ledger.items()}
    found += [f"the entry {name!r} is not finite" for name, entry in entries.items() if not np.isfinite(entry).all()]
    found += [f"the entry {name!r} is not one number per epoch" for name, entry in entries.items() if entry.ndim != 1]
    found += _names_twice(world, policy, episode)
    live = int(np.asarray(run.live).sum())
    if live == 0:
        found.append("the episode ends before its first decision")
    spoiled = epochs.Episode(chance=_spoil(episode.chance, live + 1), key=episode.key)
    if not _alike(play(world, policy, spoiled), run, live):
        found.append("what would happen after the end of the episode changes it")
    together = jax.tree.map(lambda *rows: jnp.stack(rows), other, episode)
    beside = jax.tree.map(
        lambda leaf: leaf[1], eqx.filter_jit(jax.vmap(lambda given: play(world, policy, given)))(together)
    )
    if not _alike(beside, run, live):
        found.append("an episode beside another one is not what it is alone")
    again = play(_Restarted(world, policy, drawn(world, third)), policy, episode)
    if not _alike(again, run, live):
        found.append("a restart is not as good as a start")
    return found


def environment_faults(environment: Environment, *, key: Array, steps: int = 50) -> list[str]:
    """Return a sentence for each promise that an environment breaks in so many steps with allowed actions at random."""

    def one(carry, key):
        (moment, seen), (choosing, happening) = carry, jax.random.split(key)
        noise = jax.random.uniform(choosing, seen.allowed.shape, dtype=jnp.float32)
        action = jnp.where(seen.allowed, noise, -1.0).argmax(axis=-1).astype(jnp.int32)
        moment, step = environment.step(moment, action, happening)
        return (moment, step.observation), step

    beginning, walking = jax.random.split(key)
    start = eqx.filter_jit(environment.reset)(beginning)
    _, walked = eqx.filter_jit(jax.lax.scan)(one, start, jax.random.split(walking, steps))
    found = []
    for name, seen in (("first", start[1]), ("next", walked.observation), ("final", walked.final)):
        if not np.isfinite(np.asarray(seen.features)).all():
            found.append(f"the {name} observation is not finite")
        if not np.asarray(seen.allowed).any(axis=-1).all():
            found.append(f"the {name} observation allows no action")
        if seen.allowed.shape[-1] != environment.codec.actions:
            found.append(f"the mask is of {seen.allowed.shape[-1]} actions, the codec of {environment.codec.actions}")
    if not np.isfinite(np.asarray(walked.reward)).all():
        found.append("the reward is not finite")
    if (np.asarray(walked.terminated) & np.asarray(walked.truncated)).any():
        found.append("an episode is terminated and truncated at once")
    return found


def missing(ledger: Mapping[str, Array], given: Sequence[str], gone: Sequence[str], *, there: float = 0.0) -> float:
    """Return how much of what was `given` is neither `gone` nor still `there`: 0 where nothing is lost or made of nothing."""
    sums = {name: float(np.asarray(ledger[name]).sum()) for name in (*given, *gone)}
    return sum(sums[name] for name in given) - sum(sums[name] for name in gone) - there


class _Restarted(epochs.AbstractWorld):
    """A world that begins with what a restart makes of the state after another episode."""

    world: epochs.AbstractWorld
    used: Any
    length: int = eqx.field(static=True)

    def __init__(self, world: epochs.AbstractWorld, policy: epochs.Policy, episode: epochs.Episode):
        self.world, self.length = world, world.length
        self.used = eqx.filter_jit(epochs.simulate)(world, policy, episode).state

    def chance(self, key):
        return self.world.chance(key)

    def start(self):
        return self.world.restart(self.used)

    def advance(self, state, chance):
        return self.world.advance(state, chance)

    def view(self, state, event):
        return self.world.view(state, event)

    def step(self, state, event, action):
        return self.world.step(state, event, action)

    def terminated(self, state):
        return self.world.terminated(state)


def _names_twice(world: epochs.AbstractWorld, policy: epochs.Policy, episode: epochs.Episode) -> list[str]:
    def both(chance, key):
        state, event, _, before = world.advance(world.start(), chance)
        return before, world.step(state, event, policy(world.view(state, event), key))[1]

    before, after = jax.eval_shape(both, jax.tree.map(lambda leaf: leaf[0], episode.chance), episode.key)
    return [f"both advance and step write the entry {name!r}" for name in before if name in after]


def _spoil(chance: Any, begin: int) -> Any:
    """Put the largest numbers, or no numbers, where nothing should be read any more."""

    def spoil(leaf: Array) -> Array:
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            return leaf.at[begin:].set(jnp.nan)
        return leaf.at[begin:].set(leaf.max() if leaf.dtype != bool else True)

    return jax.tree.map(spoil, chance)


def _alike(run: epochs.Run, other: epochs.Run, live: int) -> bool:
    """Whether the same was decided and came of it."""
    decided = all(
        _same_bytes(one, two) for one, two in ((run.live, other.live), (_first(run, live), _first(other, live)))
    )
    pairs = [(np.asarray(run.ledger[name]), np.asarray(entry)) for name, entry in other.ledger.items()]
    return decided and all(np.allclose(one, two, rtol=TOLERANCE, atol=TOLERANCE) for one, two in pairs)


def _first(run: epochs.Run, live: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[:live], run.actions)


def _same_bytes(one: Any, other: Any) -> bool:
    leaves = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in leaves)
