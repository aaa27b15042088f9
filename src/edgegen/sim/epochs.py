"""The loop of the simulator: one decision per epoch, as a scan that can be compiled and stacked.

A world is one instance of one system: its leaves are the numbers of the instance, so instances are stacked and vmapped.
A policy is a function (view, key) -> action. It may be a plain function, or an `equinox.Module` with parameters of its own.
The instance and the episode are drawn from different keys.
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
W = TypeVar("W", bound="AbstractWorld")


class AbstractWorld(eqx.Module):
    """What a system must say about itself. All methods are pure, and run under jit, vmap and scan."""

    @abc.abstractmethod
    def events(self, key) -> tuple[Any, Array]:
        """Draw the events of an episode, leaves [L, ...], and which of them are live, bool[L], padding last."""

    @abc.abstractmethod
    def start(self) -> Any:
        """Return the state before the first event."""

    @abc.abstractmethod
    def advance(self, state: Any, event: Any) -> tuple[Any, dict[str, Array]]:
        """Bring the state to the moment of the event; the entries of the ledger are scalars by name."""

    @abc.abstractmethod
    def view(self, state: Any, event: Any) -> Any:
        """Return all that any policy may look at; what a policy leaves unread is not computed."""

    @abc.abstractmethod
    def step(self, state: Any, event: Any, action: Any) -> tuple[Any, dict[str, Array]]:
        """Carry out the action; the entries must have other names than those of `advance`."""


@value
class Episode:
    """What happens to whatever is decided. Policies that are given the same episode are compared on equal terms."""

    events: Any  # leaves [L, ...]
    live: Array  # bool[L], padding last
    key: Array  # for policies that draw


@value
class Run:
    """One episode with a policy. In epochs that are not live nothing happened, and every entry is 0."""

    actions: Any  # leaves [L, ...]
    ledger: dict[str, Array]  # float[L] by name
    state: Any  # after the last epoch


def draw(world: AbstractWorld, key) -> Episode:
    """Draw an episode of a world."""
    arriving, choosing = jax.random.split(key)
    events, live = world.events(arriving)
    return Episode(events=events, live=live, key=choosing)


def simulate(world: AbstractWorld, policy: Policy, episode: Episode) -> Run:
    """Let a policy decide through one episode."""

    def epoch(state, given):
        event, live, key = given
        now, before = world.advance(state, event)
        action = policy(world.view(now, event), key)
        after, entries = world.step(now, event, action)
        entries = {name: jnp.where(live, entry, 0.0) for name, entry in (before | entries).items()}
        state = jax.tree.map(lambda new, old: jnp.where(live, new, old), after, state)
        return state, (action, entries)

    keys = jax.random.split(episode.key, episode.live.shape[0])
    state, (actions, ledger) = jax.lax.scan(epoch, world.start(), (episode.events, episode.live, keys))
    return Run(actions=actions, ledger=ledger, state=state)


@eqx.filter_jit
def draw_many(worlds: AbstractWorld, keys: Array) -> Episode:
    """Draw E episodes of each of N instances: worlds with leaves [N, ...] (see `stack`), keys [N, E], leaves [N, E, ...]."""
    return _over_instances(jax.vmap(draw, in_axes=(None, 0)))(worlds, keys)


@eqx.filter_jit
def totals(worlds: AbstractWorld, policy: Policy, episodes: Episode) -> dict[str, Array]:
    """Sum the ledger over each episode of each instance, float[N, E] by name; the arguments are those of `draw_many`."""

    def sums(world, episode):
        return {name: entries.sum() for name, entries in simulate(world, policy, episode).ledger.items()}

    return _over_instances(jax.vmap(sums, in_axes=(None, 0)))(worlds, episodes)


def _over_instances(function: Callable) -> Callable:
    return eqx.filter_vmap(function, in_axes=(eqx.if_array(0), 0))


def stack(worlds: list[W]) -> W:
    """Return instances of the same shapes as one with leaves [N, ...]."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *worlds)


def reward(ledger: Mapping[str, Array], weights: Mapping[str, float]) -> Array:
    """Weights times ledger; every name in `weights` must be in the ledger."""
    return sum(weight * ledger[name] for name, weight in weights.items())
