"""Proximal policy optimisation (Schulman et al. 2017, arXiv:1707.06347): several epochs of gradient steps on each rollout.

A step stops paying where it would make an action more than `clip` likelier, or less likely, than it was when it was taken.
With it: advantages of Schulman et al. 2016 standardised over the rollout, a bonus for entropy, a bound on the gradient. The
value of the critic is not clipped. A minibatch is all steps of some environments, which saves shuffling single steps.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp

from edgegen.core.arrays import Array
from edgegen.core.errors import InputError
from edgegen.learn import on_policy
from edgegen.learn.architectures import AbstractArchitecture, AbstractNetwork, Apart
from edgegen.learn.descent import Averaging
from edgegen.learn.learner import AbstractLearner, Actor, Metrics
from edgegen.learn.on_policy import Decisions, Descent, Horizon, Training
from edgegen.sim.environment import Environment


class PPO(AbstractLearner):
    """E environments, T steps in each per iteration."""

    architecture: AbstractArchitecture = Apart()
    horizon: Horizon = Horizon()
    descent: Descent = Descent()
    averaging: Averaging = Averaging()
    clip: float | Array = 0.2
    entropy: float | Array = 0.01  # weight of the entropy
    critic: float | Array = 0.5  # weight of the critic's loss
    environments: int = eqx.field(static=True, default=64)  # E
    length: int = eqx.field(static=True, default=64)  # T
    epochs: int = eqx.field(static=True, default=4)  # how often each decision is learnt from
    minibatches: int = eqx.field(static=True, default=4)  # gradient steps per epoch

    def __check_init__(self):
        if self.environments % self.minibatches:
            raise InputError(
                f"minibatches must divide the {self.environments} environments, got {self.minibatches}",
                param="minibatches",
            )

    def init(self, environments: Environment, *, key) -> Training:
        return on_policy.begin(self.architecture, environments, expected=self.environments, key=key)

    def iterate(self, environments: Environment, state: Training) -> tuple[Training, Metrics]:
        acting, shuffling, key = jax.random.split(state.key, 3)
        place, decisions, metrics = on_policy.collect(
            state.network, environments, state.place, length=self.length, horizon=self.horizon, key=acting
        )

        def epoch(state: Training, key) -> tuple[Training, Metrics]:
            return jax.lax.scan(lambda *given: self.update(*given), state, self.shuffled(decisions, key))

        state = dataclasses.replace(state, place=place, key=key)
        state, more = jax.lax.scan(epoch, state, jax.random.split(shuffling, self.epochs))
        return on_policy.finish(state, self.averaging), metrics | {
            name: entries.mean() for name, entries in more.items()
        }

    def shuffled(self, decisions: Decisions, key) -> Decisions:
        """Return minibatches, leaves [M, T E / M, ...], of decisions with leaves [T, E, ...]."""
        order = jax.random.permutation(key, self.environments)

        def dealt(leaf: Array) -> Array:
            groups = leaf[:, order].reshape(self.length, self.minibatches, -1, *leaf.shape[2:])
            return jnp.moveaxis(groups, 1, 0).reshape(self.minibatches, -1, *leaf.shape[2:])

        return jax.tree.map(dealt, decisions)

    def update(self, state: Training, batch: Decisions) -> tuple[Training, Metrics]:
        """Take one gradient step."""
        gradient, metrics = jax.grad(self.loss, has_aux=True)(state.network, batch)
        network, moments = self.descent.step(state.network, gradient, state.moments, state.updates)
        return dataclasses.replace(state, network=network, moments=moments, updates=state.updates + 1), metrics

    def loss(self, network: AbstractNetwork, batch: Decisions) -> tuple[Array, Metrics]:
        """Return what is minimised, and metrics."""
        choice, held = on_policy.look(network, batch.observation)
        ratio = jnp.exp(on_policy.of(choice.log, batch.action) - batch.log_probability)
        bounded = jnp.clip(ratio, 1.0 - self.clip, 1.0 + self.clip)
        gain = jnp.minimum(ratio * batch.advantage, bounded * batch.advantage).mean()
        entropy, miss = choice.entropy.mean(), 0.5 * jnp.square(held - batch.worth).mean()
        clipped = (ratio != bounded).astype(ratio.dtype).mean()
        loss = self.critic * miss - gain - self.entropy * entropy
        return loss, {"entropy": entropy, "critic_loss": miss, "clipped": clipped}

    def actor(self, state: Training) -> Actor:
        return on_policy.Greedy(state.mean)

    @property
    def steps_per_iteration(self) -> int:
        return self.environments * self.length

    @property
    def updates_per_iteration(self) -> int:
        return self.epochs * self.minibatches
