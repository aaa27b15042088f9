"""Soft actor-critic over discrete actions (Christodoulou 2019, arXiv:1910.07207), with a fixed weight of the entropy.

Two critics, of which the smaller counts, with targets; the entropy is part of the target, and the actor has no target of its own. The
update goes critics, actor with the new critics, targets; sizes and rates are those with which Du et al. 2024 (arXiv:2303.13052)
compare their learner, Adam with an L2 penalty included. Ours: actions may be masked.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from edgegen.core.arrays import Array
from edgegen.core.tree import value
from edgegen.learn import actor_critic as ac
from edgegen.learn.algorithm import AbstractAlgorithm
from edgegen.learn.batch import Batch
from edgegen.learn.descent import Moments, adam, descend, follow, moments
from edgegen.learn.learner import Metrics
from edgegen.learn.networks import Perceptron, perceptron


@value
class Params:
    """All that is learnt and remembered."""

    actor: Perceptron  # float[D] -> logits float[K]
    critics: Any  # ac.Critics; None in what is deployed, with all that follows
    target_critics: Any  # ac.Critics
    actor_moments: Moments
    critic_moments: Moments


class SAC(AbstractAlgorithm):
    """The sizes and rates of the comparison."""

    alpha: float | Array = 0.05  # weight of the entropy
    tau: float | Array = 0.005  # how much of the way targets go in one update
    actor_rate: float | Array = 1e-4
    critic_rate: float | Array = 1e-3
    weight_decay: float | Array = 1e-4
    hidden: tuple[int, ...] = eqx.field(static=True, default=(256, 256))

    def init_params(self, observation_size: int, actions: int, *, key) -> Params:
        acting, one, other = jax.random.split(key, 3)
        widths = (observation_size, *self.hidden, actions)
        actor = perceptron(widths, key=acting)
        critics = perceptron(widths, key=one), perceptron(widths, key=other)
        return Params(
            actor=actor,
            critics=critics,
            target_critics=critics,
            actor_moments=moments(actor),
            critic_moments=moments(critics),
        )

    def act(self, params: Params, observation: Array, allowed: Array, *, key) -> Array:
        return ac.draw(jax.vmap(params.actor)(observation), allowed, key)

    def greedy(self, params: Params, observation: Array, allowed: Array) -> Array:
        return ac.best(jax.vmap(params.actor)(observation), allowed)

    def deployed(self, params: Params) -> Params:
        return Params(params.actor, None, None, None, None)

    def target(self, params: Params, batch: Batch) -> Array:
        """Return what the critics should say of the actions taken, float[B]."""
        following = ac.choice(jax.vmap(params.actor)(batch.next_observation), batch.next_allowed)
        held = ac.least(params.target_critics, batch.next_observation)
        return batch.reward + batch.discount * (following.mean(held) + self.alpha * following.entropy)

    def actor_loss(self, actor: Perceptron, held: Array, batch: Batch) -> tuple[Array, Array]:
        """Return the actor's loss for the values float[B, K] that critics hold, and the mean entropy."""
        chosen = ac.choice(jax.vmap(actor)(batch.observation), batch.allowed)
        return ac.actor_loss(chosen, held, alpha=self.alpha), jnp.mean(chosen.entropy)

    def update(self, params: Params, batch: Batch, weights: Array, *, key) -> tuple[Params, Array, Metrics]:
        del key  # nothing is drawn
        optimiser, target = adam(self.weight_decay), self.target(params, batch)
        slope_of = jax.value_and_grad(ac.critic_loss, has_aux=True)
        (critic_loss, missed), slope = slope_of(params.critics, batch, target, weights)
        critics, critic_moments = descend(
            optimiser, params.critics, slope, params.critic_moments, rate=self.critic_rate
        )
        slope_of = jax.value_and_grad(self.actor_loss, has_aux=True)
        (actor_loss, entropy), slope = slope_of(params.actor, ac.least(critics, batch.observation), batch)
        actor, actor_moments = descend(optimiser, params.actor, slope, params.actor_moments, rate=self.actor_rate)
        after = Params(
            actor=actor,
            critics=critics,
            target_critics=follow(params.target_critics, critics, rate=self.tau),
            actor_moments=actor_moments,
            critic_moments=critic_moments,
        )
        metrics = {"critic_loss": critic_loss, "actor_loss": actor_loss, "entropy": entropy, "value": jnp.mean(target)}
        return after, jnp.mean(jnp.abs(missed), axis=0), metrics
