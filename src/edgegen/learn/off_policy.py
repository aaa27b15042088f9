"""Learning from memory: collect k steps in E environments, store them, then take u gradient steps on what is drawn.

One learner for every off-policy algorithm (`algorithm.AbstractAlgorithm`) and every memory (`buffers.AbstractMemory`). The
memory is filled by random allowed actions before training (`init`), so that an iteration has no special case.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from edgegen.core.arrays import Array
from edgegen.core.errors import InputError
from edgegen.core.tree import value
from edgegen.learn import buffers, rollout
from edgegen.learn.algorithm import AbstractAlgorithm
from edgegen.learn.batch import Batch
from edgegen.learn.descent import Averaging
from edgegen.learn.learner import AbstractLearner, Actor, Metrics
from edgegen.sim.environment import Environment, Observation


@value
class Learning:
    """All that training goes on from."""

    place: rollout.Place  # leaves [E, ...]
    recent: rollout.Rollout  # leaves [n - 1, E, ...]: steps whose returns are not complete yet
    memory: Any
    params: Any  # of the algorithm
    mean: Any  # of what could be deployed after each iteration, the recent ones above all
    iterations: Array  # int32[], so far
    key: Array


class OffPolicy(AbstractLearner):
    """k steps in each of E environments, then u updates, in every iteration."""

    algorithm: AbstractAlgorithm
    memory: buffers.AbstractMemory
    gamma: float | Array = 0.95  # per epoch
    averaging: Averaging = Averaging()
    environments: int = eqx.field(static=True, default=64)  # E
    steps: int = eqx.field(static=True, default=1)  # k, per environment and iteration
    updates: int = eqx.field(static=True, default=1)  # u, per iteration
    batch: int = eqx.field(static=True, default=512)  # B
    n: int = eqx.field(static=True, default=1)  # epochs over which returns are summed
    warm_up: int = eqx.field(
        static=True, default=1024
    )  # environment steps at random before training, over all environments

    def __check_init__(self):
        for name in ("environments", "steps", "updates", "batch", "n"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}", param=name)
        least = self.n * self.environments
        if self.warm_up < least:
            raise InputError(
                f"warm_up must be at least n x environments = {least} steps, so that there is something to draw;"
                f" got {self.warm_up}",
                param="warm_up",
            )

    def init(self, environments: Environment, *, key) -> Learning:
        if rollout.count(environments) != self.environments:
            raise InputError(
                f"this learner is made for {self.environments} environments, got {rollout.count(environments)}",
                param="environments",
            )
        placing, warming, drawing, key = jax.random.split(key, 4)
        place = rollout.begin(environments, placing)
        steps = self.steps_before // self.environments
        place, seen = rollout.roll(environments, at_random, place, warming, length=steps)
        new = buffers.transitions(seen, n=self.n, gamma=self.gamma)
        memory = self._store(self.memory.empty(jax.tree.map(lambda leaf: leaf[0], new)), new)
        size, actions = (leaf.shape[-1] for leaf in (place.observation.features, place.observation.allowed))
        params = self.algorithm.init_params(size, actions, key=drawing)
        return Learning(
            place=place,
            recent=self._recent(seen),
            memory=memory,
            params=params,
            mean=self.algorithm.deployed(params),
            iterations=jnp.zeros((), jnp.int32),
            key=key,
        )

    def iterate(self, environments: Environment, state: Learning) -> tuple[Learning, Metrics]:
        acting, learning, key = jax.random.split(state.key, 3)

        def act(observation: Observation, key: Array) -> tuple[Array, None]:
            return self.algorithm.act(state.params, observation.features, observation.allowed, key=key), None

        place, seen = rollout.roll(environments, act, state.place, acting, length=self.steps)
        joined = jax.tree.map(lambda old, new: jnp.concatenate([old, new]), state.recent, seen)
        memory = self._store(state.memory, buffers.transitions(joined, n=self.n, gamma=self.gamma))

        def learn(carry: tuple[Any, Any], key: Array) -> tuple[tuple[Any, Any], Metrics]:
            memory, params = carry
            drawing, updating = jax.random.split(key)
            sample = self.memory.draw(memory, self.batch, key=drawing)
            params, errors, metrics = self.algorithm.update(params, sample.batch, sample.weights, key=updating)
            return (self.memory.revalue(memory, sample.rows, errors), params), metrics

        (memory, params), metrics = jax.lax.scan(
            learn, (memory, state.params), jax.random.split(learning, self.updates)
        )
        metrics = {name: entries.mean() for name, entries in metrics.items()} | {"reward": seen.step.reward.mean()}
        state = Learning(
            place=place,
            recent=self._recent(joined),
            memory=memory,
            params=params,
            mean=self.averaging.follow(state.mean, self.algorithm.deployed(params), state.iterations),
            iterations=state.iterations + 1,
            key=key,
        )
        return state, metrics

    def actor(self, state: Learning) -> Actor:
        return Greedy(self.algorithm, state.mean)

    @property
    def steps_before(self) -> int:
        return -(-self.warm_up // self.environments) * self.environments

    @property
    def steps_per_iteration(self) -> int:
        return self.steps * self.environments

    @property
    def updates_per_iteration(self) -> int:
        return self.updates

    def _recent(self, seen: rollout.Rollout) -> rollout.Rollout:
        return jax.tree.map(lambda leaf: leaf[leaf.shape[0] - (self.n - 1) :], seen)

    def _store(self, memory: Any, new: Batch) -> Any:
        return jax.lax.scan(lambda memory, row: (self.memory.add(memory, row), None), memory, new)[0]


class Greedy(eqx.Module):
    """What has been learnt, without exploration: an actor."""

    algorithm: AbstractAlgorithm
    params: Any

    def __call__(self, observation: Observation, key: Array) -> Array:
        del key
        one = jax.tree.map(lambda leaf: leaf[None], observation)
        return self.algorithm.greedy(self.params, one.features, one.allowed)[0]


def at_random(observation: Observation, key: Array) -> tuple[Array, None]:
    """Any allowed action, each as likely: for observations [E, ...], int32[E]."""
    draws = jax.random.uniform(key, observation.allowed.shape)
    return jnp.where(observation.allowed, draws, -1.0).argmax(axis=-1).astype(jnp.int32), None
