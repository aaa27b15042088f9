"""What on-policy learners share: decisions with their advantages, and careful gradient steps on them.

Generalised advantage estimation: Schulman et al. 2016, arXiv:1506.02438, with an end and a horizon kept apart. After an end there is
nothing; after a horizon, or the last step of a rollout, there is what the critic holds of the observation that would have been
next. T steps, E environments, D features, K actions.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from edgegen.core.arrays import Array
from edgegen.core.errors import InputError
from edgegen.core.tree import value
from edgegen.learn import actor_critic, descent, rollout
from edgegen.learn.architectures import AbstractArchitecture, AbstractNetwork
from edgegen.learn.learner import Metrics
from edgegen.sim.environment import Environment, Observation


@value
class Training:
    """All that training goes on from."""

    network: AbstractNetwork
    mean: AbstractNetwork  # of the networks after each iteration, the recent ones above all
    moments: Any  # of the gradients
    updates: Array  # int32[], gradient steps so far
    iterations: Array  # int32[], so far
    place: rollout.Place  # leaves [E, ...]
    key: Array


@value
class Decisions:
    """What was decided, and what came of it. The leading axes are [T, E], or one for all."""

    observation: Observation  # leaves [..., D] and [..., K]
    action: Array  # int[...]
    log_probability: Array  # float[...], of the action when it was taken
    advantage: Array  # float[...], by how much it was better than what the critic held, as the learner weighs it
    worth: Array  # float[...], what the critic should have held of the observation


class Descent(eqx.Module):
    """How steps are taken: Adam, with a bound on the length of the gradient, and a rate that may fall."""

    rate: float | Array = 1e-3
    weight_decay: float | Array = 0.0
    steepest: float | Array = 0.5  # the longest gradient; a longer one is shortened
    steady: float | Array = jnp.inf  # updates; after about so many, the rate falls with the square root of their number

    def step(
        self, network: AbstractNetwork, gradient: AbstractNetwork, moments: Any, updates: Array
    ) -> tuple[AbstractNetwork, Any]:
        """Take the next step after so many updates."""
        length = jnp.sqrt(sum(jnp.sum(slope * slope) for slope in jax.tree.leaves(gradient)))
        gradient = jax.tree.map(lambda slope: slope * jnp.minimum(1.0, self.steepest / (length + 1e-9)), gradient)
        rate = self.rate / jnp.sqrt(1.0 + updates.astype(length.dtype) / self.steady)
        return descent.descend(descent.adam(self.weight_decay), network, gradient, moments, rate=rate)


def finish(state: Training, averaging: descent.Averaging) -> Training:
    """Finish an iteration."""
    mean = averaging.follow(state.mean, state.network, state.iterations)
    return dataclasses.replace(state, mean=mean, iterations=state.iterations + 1)


def standard(advantage: Array) -> Array:
    """Return advantages with mean 0 and standard deviation 1, over all."""
    return (advantage - advantage.mean()) / (advantage.std() + 1e-8)


def as_they_are(advantage: Array) -> Array:
    """Return advantages in the unit of the scaled rewards."""
    return advantage


class Horizon(eqx.Module):
    """How far advantages look, and how they are weighed."""

    gamma: float | Array = 0.95  # discount per step
    lam: float | Array = (
        0.95  # 1: what happened counts; 0: the reward and what the critic holds of the next observation
    )
    scale: float | Array = 0.1  # of rewards, so that what the critic learns is about 1
    weigh: Callable[[Array], Array] = eqx.field(static=True, default=standard)  # float[T, E] -> float[T, E]


def begin(architecture: AbstractArchitecture, environments: Environment, *, expected: int, key) -> Training:
    """Return the state before training.

    **Raises** `InputError` where there are not as many environments as expected.
    """
    if rollout.count(environments) != expected:
        raise InputError(
            f"this learner is made for {expected} environments, got {rollout.count(environments)}", param="environments"
        )
    drawing, placing, key = jax.random.split(key, 3)
    place = rollout.begin(environments, placing)
    features, actions = (leaf.shape[-1] for leaf in (place.observation.features, place.observation.allowed))
    network = architecture.build(features, actions, key=drawing)
    return Training(
        network=network,
        mean=network,
        moments=descent.moments(network),
        updates=jnp.zeros((), jnp.int32),
        iterations=jnp.zeros((), jnp.int32),
        place=place,
        key=key,
    )


def look(network: AbstractNetwork, observation: Observation) -> tuple[actor_critic.Choice, Array]:
    """Return how likely each action is and what the critic holds, for observations with any leading axes."""
    for _ in observation.features.shape[:-1]:
        network = jax.vmap(network)
    logits, held = network(observation.features)
    return actor_critic.choice(logits, observation.allowed), held


def collect(
    network: AbstractNetwork, environments: Environment, place: rollout.Place, *, length: int, horizon: Horizon, key
) -> tuple[rollout.Place, Decisions, Metrics]:
    """Act for `length` steps, and weigh what came of it."""

    def act(observation: Observation, key) -> tuple[Array, Array]:
        choice, _ = look(network, observation)
        action = draw(choice, key)
        return action, of(choice.log, action)

    place, rolled = rollout.roll(environments, act, place, key, length=length)
    held, next_held = look(network, rolled.observation)[1], look(network, rolled.step.final)[1]
    advantage = advantages(rolled.step, held, next_held, horizon)
    decisions = Decisions(
        observation=rolled.observation,
        action=rolled.action,
        log_probability=rolled.kept,
        advantage=horizon.weigh(advantage),
        worth=held + advantage,
    )
    return place, decisions, {"reward": rolled.step.reward.mean()}


def draw(choice: actor_critic.Choice, key) -> Array:
    """Draw actions int32[...], with one random number each: the inverse of the cumulative probability."""
    below = jnp.cumsum(choice.probability, axis=-1)
    least = jax.random.uniform(key, below.shape[:-1], below.dtype) * below[..., -1]
    drawn = jnp.sum(below <= least[..., None], axis=-1, dtype=jnp.int32)
    # Sums of many terms are rounded: a row of probability 0 may be hit, one draw in millions.
    return jnp.where(of(choice.probability, drawn) > 0, drawn, choice.probability.argmax(axis=-1).astype(jnp.int32))


def of(table: Array, action: Array) -> Array:
    """Return the entries of the actions, float[...], of a table float[..., K]."""
    return jnp.take_along_axis(table, action[..., None], axis=-1, mode="clip")[..., 0]


def advantages(step: Any, held: Array, next_held: Array, horizon: Horizon) -> Array:
    """float[T, E], by how much each action was better than the critic held.

    `step` has `reward`, `terminated` and `ended` [T, E]; `held` and `next_held` float[T, E] are the critic's values of the
    observation before the action, and of that after it in the same episode.
    """
    future = jnp.where(step.terminated, 0.0, horizon.gamma * next_held)
    surprise = horizon.scale * step.reward + future - held
    carried = jnp.where(step.ended, 0.0, horizon.gamma * horizon.lam)

    def earlier(later: Array, row: tuple[Array, Array]) -> tuple[Array, Array]:
        surprise, carried = row
        now = surprise + carried * later
        return now, now

    return jax.lax.scan(earlier, jnp.zeros_like(surprise[0]), (surprise, carried), reverse=True)[1]


class Greedy(eqx.Module):
    """What has been learnt, without exploration: an actor."""

    network: AbstractNetwork

    def __call__(self, observation: Observation, key: Array) -> Array:
        del key
        return actor_critic.best(self.network(observation.features)[0], observation.allowed)
