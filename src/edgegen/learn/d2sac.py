"""D2SAC: soft actor-critic whose actor makes its logits by denoising.

Du, Li, Niyato, Kang, Xiong, Huang and Mao 2024 (arXiv:2303.13052) and their code (github.com/Lizonghang/AGOD, read, not copied):
a reverse diffusion of T = 5 steps, a softmax at its end; two critics, of which the smaller counts; targets of actor and critics; no
entropy in the target; Adam with an L2 penalty. The update is theirs in its order: critics, then the actor with the new critics, then
the targets. Ours: actions may be masked, and `greedy` takes what is most probable over several draws of the noise, always the same
ones, where the source takes one: on its instance, once trained, this was worth some 50 of 500 points of reward, with masks 12.
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
from edgegen.learn.diffusion_head import DiffusionHead, Schedule, diffusion_head, variance_preserving
from edgegen.learn.learner import Metrics
from edgegen.learn.networks import perceptron


@value
class Params:
    """All that is learnt and remembered."""

    actor: DiffusionHead
    critics: Any  # ac.Critics; None in what is deployed, with all that follows
    target_actor: Any  # DiffusionHead
    target_critics: Any  # ac.Critics
    actor_moments: Moments
    critic_moments: Moments


class D2SAC(AbstractAlgorithm):
    """The published sizes and rates."""

    alpha: float | Array = 0.05  # weight of the entropy
    tau: float | Array = 0.005  # how much of the way targets go in one update
    actor_rate: float | Array = 1e-4
    critic_rate: float | Array = 1e-3
    weight_decay: float | Array = 1e-4
    draws: int = eqx.field(static=True, default=16)  # of the noise, over which `greedy` takes the mean
    hidden: tuple[int, ...] = eqx.field(static=True, default=(256, 256))
    schedule: Schedule = eqx.field(static=True, default=variance_preserving())

    def init_params(self, observation_size: int, actions: int, *, key) -> Params:
        acting, one, other = jax.random.split(key, 3)
        actor = diffusion_head(observation_size, actions, hidden=self.hidden, schedule=self.schedule, key=acting)
        widths = (observation_size, *self.hidden, actions)
        critics = perceptron(widths, key=one), perceptron(widths, key=other)
        return Params(
            actor=actor,
            critics=critics,
            target_actor=actor,
            target_critics=critics,
            actor_moments=moments(actor),
            critic_moments=moments(critics),
        )

    def act(self, params: Params, observation: Array, allowed: Array, *, key) -> Array:
        denoising, drawing = jax.random.split(key)
        logits = params.actor.many(observation, params.actor.noise(denoising, observation.shape[0]))
        return ac.draw(logits, allowed, drawing)

    def greedy(self, params: Params, observation: Array, allowed: Array) -> Array:
        noise = params.actor.noise(jax.random.key(0), self.draws)  # always the same: what is deployed does not explore

        def probability(features: Array, allowed: Array) -> Array:
            logits = jax.vmap(params.actor, in_axes=(None, 1))(features, noise)
            return ac.choice(logits, jnp.broadcast_to(allowed, logits.shape)).probability.mean(axis=0)

        return ac.best(jax.vmap(probability)(observation, allowed), allowed)

    def deployed(self, params: Params) -> Params:
        return Params(params.actor, None, None, None, None, None)

    def target(self, params: Params, batch: Batch, noise: Array) -> Array:
        """Return what the critics should say of the actions taken, float[B]; `noise` as for the actor's loss."""
        logits = params.target_actor.many(batch.next_observation, noise)
        following = ac.choice(logits, batch.next_allowed)
        held = ac.least(params.target_critics, batch.next_observation)
        return batch.reward + batch.discount * following.mean(held)

    def actor_loss(self, actor: DiffusionHead, held: Array, batch: Batch, noise: Array) -> tuple[Array, Array]:
        """Return the actor's loss for the values float[B, K] that critics hold, and the mean entropy; noise float[T, B, K]."""
        chosen = ac.choice(actor.many(batch.observation, noise), batch.allowed)
        return ac.actor_loss(chosen, held, alpha=self.alpha), jnp.mean(chosen.entropy)

    def update(self, params: Params, batch: Batch, weights: Array, *, key) -> tuple[Params, Array, Metrics]:
        optimiser, rows = adam(self.weight_decay), batch.reward.shape[0]
        noise, next_noise = (params.actor.noise(one, rows) for one in jax.random.split(key))
        target = self.target(params, batch, next_noise)
        slope_of = jax.value_and_grad(ac.critic_loss, has_aux=True)
        (critic_loss, missed), slope = slope_of(params.critics, batch, target, weights)
        critics, critic_moments = descend(
            optimiser, params.critics, slope, params.critic_moments, rate=self.critic_rate
        )
        held = ac.least(critics, batch.observation)
        slope_of = jax.value_and_grad(self.actor_loss, has_aux=True)
        (actor_loss, entropy), slope = slope_of(params.actor, held, batch, noise)
        actor, actor_moments = descend(optimiser, params.actor, slope, params.actor_moments, rate=self.actor_rate)
        after = Params(
            actor=actor,
            critics=critics,
            target_actor=follow(params.target_actor, actor, rate=self.tau),
            target_critics=follow(params.target_critics, critics, rate=self.tau),
            actor_moments=actor_moments,
            critic_moments=critic_moments,
        )
        metrics = {"critic_loss": critic_loss, "actor_loss": actor_loss, "entropy": entropy, "value": jnp.mean(target)}
        return after, jnp.mean(jnp.abs(missed), axis=0), metrics
