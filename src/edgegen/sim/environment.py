"""Worlds as environments for learners: step by step, restarting by themselves, with rewards as weights over the ledger.

A codec says what a learner sees of a world and how its numbers become actions. Nothing of a world is implemented twice: an
environment only calls the world that `epochs.simulate` runs. `terminated` (the system came to an end) and `truncated` (the
horizon did) stay apart, because only after the second is there a future that was cut off.
"""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from edgegen.core.arrays import Array
from edgegen.core.tree import value
from edgegen.sim import epochs


@value
class Observation:
    """What a learner sees. Where several agents decide, both have a leading axis, one row per agent."""

    features: Array  # float[D]
    allowed: Array  # bool[K], actions that may be taken


class Codec(eqx.Module):
    """Between a world and a learner: features out of views, actions out of numbers, and what is rewarded."""

    observe: Callable[[Any], Array] = eqx.field(static=True)  # view -> float[D]
    allowed: Callable[[Any], Array] = eqx.field(static=True)  # view -> bool[K]
    decode: Callable[[Any, Array], Any] = eqx.field(static=True)  # (view, int[]) -> action of the world
    actions: int = eqx.field(static=True)  # K
    weights: Mapping[str, float]  # reward = weights x ledger

    def look(self, view: Any) -> Observation:
        """Return what a learner sees of a view."""
        return Observation(features=self.observe(view), allowed=self.allowed(view))

    def policy(self, actor: Callable[[Observation, Array], Array]) -> epochs.Policy:
        """Return an actor, (observation, key) -> int[], as a policy of the world."""
        return _Acting(self, actor)


def as_it_is(view: Any, action: Array) -> Array:
    """For codecs of worlds whose actions are the learner's numbers themselves."""
    del view
    return action


class _Acting(eqx.Module):
    codec: Codec
    actor: Callable

    def __call__(self, view: Any, key) -> Any:
        return self.codec.decode(view, self.actor(self.codec.look(view), key))


@value
class Moment:
    """A world that waits for a decision."""

    state: Any
    event: Any


@value
class Step:
    """What came of an action."""

    observation: Observation  # to act on next; of a new episode where one ended
    final: Observation  # the next one of the episode itself; the same where it goes on
    reward: Array  # float[]
    terminated: Array  # bool[]
    truncated: Array  # bool[]
    ledger: dict[str, Array]  # float[] by name: the action's entries, and those up to the next epoch

    @property
    def ended(self) -> Array:
        """bool[], whether a new episode has begun."""
        return self.terminated | self.truncated


class Environment(eqx.Module):
    """One instance for learners. Pure; stack instances with `epochs.stack` and vmap for many."""

    world: epochs.AbstractWorld
    codec: Codec

    def reset(self, key) -> tuple[Moment, Observation]:
        """Begin an episode."""
        return self._begin(self.world.start(), self.world.chance(key))

    def step(self, moment: Moment, action: Array, key) -> tuple[Moment, Step]:
        """Carry out an action and go on to the next decision, in a new episode where this one ends."""
        world, codec = self.world, self.codec
        going, again = jax.random.split(key)
        after, entries = world.step(moment.state, moment.event, codec.decode(self._view(moment), action))
        now, event, live, more = world.advance(after, world.chance(going))
        following = Moment(state=now, event=event)
        terminated = world.terminated(after)
        ended = jnp.logical_or(terminated, ~live)
        more = {name: jnp.where(terminated, 0.0, entry) for name, entry in more.items()}
        final = codec.look(self._view(following))
        begun, first = self._begin(world.restart(now), world.chance(again))
        following, observation = _where(ended, (begun, first), (following, final))
        ledger = entries | more
        return following, Step(
            observation=observation,
            final=final,
            reward=epochs.reward(ledger, codec.weights),
            terminated=terminated,
            truncated=~live & ~terminated,
            ledger=ledger,
        )

    def _begin(self, start: Any, chance: Any) -> tuple[Moment, Observation]:
        state, event, _, _ = self.world.advance(start, chance)
        moment = Moment(state=state, event=event)
        return moment, self.codec.look(self._view(moment))

    def _view(self, moment: Moment) -> Any:
        return self.world.view(moment.state, moment.event)


def _where(flag: Array, one: Any, other: Any) -> Any:
    return jax.tree.map(lambda yes, no: jnp.where(flag, yes, no), one, other)
