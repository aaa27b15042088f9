"""REINFORCE (Williams 1992, doi:10.1007/BF00992696): one gradient step per rollout, actions weighed by what came after them.

Whether there is a learned baseline is up to the architecture: `Apart` brings a critic, which also stands for what comes after
the rollout; `Alone` has none, so returns end with the rollout, and it should be much longer than 1 / (1 - gamma). In both cases
the weights are standardised over the rollout, which takes a constant baseline off.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp

from edgegen.core.arrays import Array
from edgegen.learn import on_policy
from edgegen.learn.architectures import AbstractArchitecture, AbstractNetwork, Apart
from edgegen.learn.descent import Averaging
from edgegen.learn.learner import AbstractLearner, Actor, Metrics
from edgegen.learn.on_policy import Decisions, Descent, Horizon, Training
from edgegen.sim.environment import Environment


class Reinforce(AbstractLearner):
    """E environments, T steps in each per iteration. With `lam` < 1 the critic also stands for what comes later in it."""

    architecture: AbstractArchitecture = Apart()
    horizon: Horizon = Horizon(lam=1.0)
    descent: Descent = Descent()
    averaging: Averaging = Averaging()
    entropy: float | Array = 0.01  # weight of the entropy
    critic: float | Array = 0.5  # weight of the critic's loss
    environments: int = eqx.field(static=True, default=64)  # E
    length: int = eqx.field(static=True, default=64)  # T

    def init(self, environments: Environment, *, key) -> Training:
        return on_policy.begin(self.architecture, environments, expected=self.environments, key=key)

    def iterate(self, environments: Environment, state: Training) -> tuple[Training, Metrics]:
        acting, key = jax.random.split(state.key)
        place, decisions, metrics = on_policy.collect(
            state.network, environments, state.place, length=self.length, horizon=self.horizon, key=acting
        )
        gradient, more = jax.grad(self.loss, has_aux=True)(state.network, decisions)
        network, moments = self.descent.step(state.network, gradient, state.moments, state.updates)
        changed = {"network": network, "moments": moments, "updates": state.updates + 1, "place": place, "key": key}
        return on_policy.finish(dataclasses.replace(state, **changed), self.averaging), metrics | more

    def loss(self, network: AbstractNetwork, decisions: Decisions) -> tuple[Array, Metrics]:
        """Return what is minimised, and metrics."""
        choice, held = on_policy.look(network, decisions.observation)
        gain = (on_policy.of(choice.log, decisions.action) * decisions.advantage).mean()
        entropy, miss = choice.entropy.mean(), 0.5 * jnp.square(held - decisions.worth).mean()
        return self.critic * miss - gain - self.entropy * entropy, {"entropy": entropy, "critic_loss": miss}

    def actor(self, state: Training) -> Actor:
        return on_policy.Greedy(state.mean)

    @property
    def steps_per_iteration(self) -> int:
        return self.environments * self.length

    @property
    def updates_per_iteration(self) -> int:
        return 1
