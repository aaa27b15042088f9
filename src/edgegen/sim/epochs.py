"""The loop of the simulator: one decision per epoch, as a scan that can be compiled and stacked.

A world is one instance of one system: its leaves are the numbers of the instance, so instances are stacked and vmapped.
A policy is a function (view, key) -> action. It may be a plain function, or an `equinox.Module` with parameters of its own.
The instance and the episode are drawn from different keys; all that chance decides in an episode is drawn before it, so
policies that are given the same episode are compared on equal terms.
"""

import abc
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp

from edgegen.core.arrays import Array
from edgegen.core.tree import value

Policy = Callable[[Any, Array], Any]  # (view, key) -> action
Entries = dict[str, Array]  # components of a ledger by name, float[] each
W = TypeVar("W", bound="AbstractWorld")


class AbstractWorld(eqx.Module):
    """What a system must say about itself. All methods are pure, and run under jit, vmap and scan.

    `length` is L, the most epochs of an episode.
    """

    length: eqx.AbstractVar[int]

    @abc.abstractmethod
    def chance(self, key) -> Any:
        """Draw all that chance decides in one epoch."""

    @abc.abstractmethod
    def start(self) -> Any:
        """Return the state before the first epoch."""

    def restart(self, state: Any) -> Any:
        """Return what is as good as `start()`, for a state that nobody needs any more.

        A world with large tables may leave in them what is never read: less to write when environments restart.
        """
        del state
        return self.start()

    @abc.abstractmethod
    def advance(self, state: Any, chance: Any) -> tuple[Any, Any, Array, Entries]:
        """Bring the state to the next epoch: the state then, the event, whether it is live, entries of the ledger.

        An event that is not live ends the episode before it: the horizon is reached, and nothing is decided.
        """

    @abc.abstractmethod
    def view(self, state: Any, event: Any) -> Any:
        """Return all that any policy may look at; what a policy leaves unread is not computed."""

    @abc.abstractmethod
    def step(self, state: Any, event: Any, action: Any) -> tuple[Any, Entries]:
        """Carry out the action; the entries must have other names than those of `advance`."""

    def terminated(self, state: Any) -> Array:
        """Return bool[], whether the system itself has come to an end; a horizon is not one."""
        del state
        return jnp.zeros((), dtype=bool)


@value
class Episode:
    """What happens to whatever is decided."""

    chance: Any  # leaves [L, ...]
    key: Array  # for policies that draw


@value
class Run:
    """One episode with a policy. In epochs that are not live nothing happened, and every entry is 0."""

    live: Array  # bool[L], the rest last
    events: Any  # leaves [L, ...]
    actions: Any  # leaves [L, ...]
    ledger: dict[str, Array]  # float[L] by name
    state: Any  # after the last live epoch


def draw(world: AbstractWorld, key) -> Episode:
    """Draw an episode of a world."""
    happening, choosing = jax.random.split(key)
    return Episode(chance=jax.vmap(world.chance)(jax.random.split(happening, world.length)), key=choosing)


def simulate(world: AbstractWorld, policy: Policy, episode: Episode) -> Run:
    """Let a policy decide through one episode."""
    state, (live, events, actions, ledger) = _epochs(world, policy, episode, _while_live)
    return Run(live=live, events=events, actions=actions, ledger=ledger, state=state)


def _epochs(world: AbstractWorld, policy: Policy, episode: Episode, settle: Callable[[Array, Any, Any], Any]):
    """Run through the epochs; `settle` makes of (live, the state now, the state before) the state to go on with."""

    def epoch(carry, given):
        state, going = carry
        chance, key = given
        now, event, live, before = world.advance(state, chance)
        live = live & going
        action = policy(world.view(now, event), key)
        after, entries = world.step(now, event, action)
        entries = {name: jnp.where(live, entry, 0.0) for name, entry in (before | entries).items()}
        going = live & ~world.terminated(after)
        return (settle(live, after, state), going), (live, event, action, entries)

    keys = jax.random.split(episode.key, world.length)
    start = world.start(), jnp.ones((), dtype=bool)
    (state, _), happened = jax.lax.scan(epoch, start, (episode.chance, keys))
    return state, happened


def _while_live(live: Array, after: Any, before: Any) -> Any:
    return jax.tree.map(lambda new, old: jnp.where(live, new, old), after, before)


def _whatever(live: Array, after: Any, before: Any) -> Any:
    """Go on after the end: entries are 0 there, and a large state is not copied in every epoch."""
    del live, before
    return after


@eqx.filter_jit
def draw_many(worlds: AbstractWorld, keys: Array) -> Episode:
    """Draw E episodes of each of N instances: worlds with leaves [N, ...] (see `stack`), keys [N, E], leaves [N, E, ...]."""
    return _over_instances(jax.vmap(draw, in_axes=(None, 0)))(worlds, keys)


@eqx.filter_jit
def play_many(worlds: AbstractWorld, policy: Policy, episodes: Episode) -> Run:
    """Simulate each episode of each instance, leaves [N, E, L, ...]; the arguments are those of `draw_many`."""
    run = jax.vmap(lambda world, episode: simulate(world, policy, episode), in_axes=(None, 0))
    return _over_instances(run)(worlds, episodes)


@eqx.filter_jit
def totals(worlds: AbstractWorld, policy: Policy, episodes: Episode) -> dict[str, Array]:
    """Sum the ledger over each episode of each instance, float[N, E] by name; the arguments are those of `draw_many`.

    The entry `epochs` counts the decisions.
    """

    def sums(world, episode):
        _, (live, _, _, ledger) = _epochs(world, policy, episode, _whatever)
        epochs = live.sum().astype(jnp.result_type(float))
        return {name: entries.sum() for name, entries in ledger.items()} | {"epochs": epochs}

    return _over_instances(jax.vmap(sums, in_axes=(None, 0)))(worlds, episodes)


def _over_instances(function: Callable) -> Callable:
    return eqx.filter_vmap(function, in_axes=(eqx.if_array(0), 0))


def stack(worlds: list[W]) -> W:
    """Return instances of the same shapes as one with leaves [N, ...]."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *worlds)


def reward(ledger: Mapping[str, Array], weights: Mapping[str, float]) -> Array:
    """Weights times ledger; every name in `weights` must be in the ledger."""
    return sum(weight * ledger[name] for name, weight in weights.items())
