"""Steps in many environments at once, as learners take them. E environments, T steps."""

from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp

from edgegen.core.arrays import Array
from edgegen.core.tree import value
from edgegen.sim.environment import Environment, Moment, Observation, Step

T = TypeVar("T")
Act = Callable[[Observation, Array], tuple[Array, Any]]  # (observations [E, ...], key) -> actions int[E], what to keep


@value
class Place:
    """Where E environments stand."""

    moment: Moment  # leaves [E, ...]
    observation: Observation  # leaves [E, ...]


@value
class Rollout:
    """What happened in T steps of E environments."""

    observation: Observation  # leaves [T, E, ...], before the action
    action: Array  # int[T, E]
    kept: Any  # leaves [T, E, ...], what `act` wanted to keep
    step: Step  # leaves [T, E, ...]


def repeat(environment: T, count: int) -> T:
    """Return one instance as E environments with the same leaves."""
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *jnp.shape(leaf))), environment)


def count(environments: Environment) -> int:
    """Return E."""
    return jax.tree.leaves(environments)[0].shape[0]


def begin(environments: Environment, key) -> Place:
    """Reset every environment."""
    keys = jax.random.split(key, count(environments))
    moment, observation = eqx.filter_vmap(Environment.reset)(environments, keys)
    return Place(moment=moment, observation=observation)


def roll(environments: Environment, act: Act, place: Place, key, *, length: int) -> tuple[Place, Rollout]:
    """Act for `length` steps."""

    def one(place, key):
        choosing, happening = jax.random.split(key)
        action, kept = act(place.observation, choosing)
        keys = jax.random.split(happening, action.shape[0])
        moment, step = eqx.filter_vmap(Environment.step)(environments, place.moment, action, keys)
        record = Rollout(observation=place.observation, action=action, kept=kept, step=step)
        return Place(moment=moment, observation=step.observation), record

    return jax.lax.scan(one, place, jax.random.split(key, length))
