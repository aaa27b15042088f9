"""What discrete actor-critics share: a masked choice, twin critics, and the losses of soft actor-critic over all actions.

Losses: Christodoulou 2019 (arXiv:1910.07207), which sums over the actions where Haarnoja et al. 2018 (arXiv:1801.01290) sample one.
B observations, D features, K actions.
"""

import jax
import jax.numpy as jnp

from edgegen.core.arrays import Array
from edgegen.core.tree import value
from edgegen.learn.batch import Batch
from edgegen.learn.networks import Perceptron

Critics = tuple[Perceptron, Perceptron]  # each float[D] -> float[K], the value of every action


@value
class Choice:
    """A distribution over actions."""

    probability: Array  # float[..., K], 0 where an action is not allowed
    log: Array  # float[..., K], of the probability; 0 where an action is not allowed, so that products are 0, too

    @property
    def entropy(self) -> Array:
        """float[...]."""
        return -jnp.sum(self.probability * self.log, axis=-1)

    def mean(self, values: Array) -> Array:
        """float[...], the expected value of an action."""
        return jnp.sum(self.probability * values, axis=-1)


def choice(logits: Array, allowed: Array) -> Choice:
    """Return the softmax over the allowed actions, of which there must be one."""
    log = jax.nn.log_softmax(jnp.where(allowed, logits, -jnp.inf), axis=-1)
    return Choice(probability=jnp.exp(log), log=jnp.where(allowed, log, 0.0))


def draw(logits: Array, allowed: Array, key) -> Array:
    """Draw actions int32[...] from the softmax over those allowed."""
    return jax.random.categorical(key, jnp.where(allowed, logits, -jnp.inf)).astype(jnp.int32)


def best(logits: Array, allowed: Array) -> Array:
    """Return the most probable allowed actions, int32[...]."""
    return jnp.argmax(jnp.where(allowed, logits, -jnp.inf), axis=-1).astype(jnp.int32)


def values(critics: Critics, observation: Array) -> Array:
    """Return what each critic holds of every action: float[2, B, K] for float[B, D]."""
    # Two networks in turn, not one with a leading axis: large batched products are slower on a CPU than plain ones.
    return jnp.stack([jax.vmap(critic)(observation) for critic in critics])


def least(critics: Critics, observation: Array) -> Array:
    """Return the smaller of the two, float[B, K]."""
    return values(critics, observation).min(axis=0)


def critic_loss(critics: Critics, batch: Batch, target: Array, weights: Array) -> tuple[Array, Array]:
    """Return the weighed mean square of the misses, summed over the critics, and the misses float[2, B]."""
    said = jnp.take_along_axis(values(critics, batch.observation), batch.action[None, :, None], axis=-1)[..., 0]
    missed = said - target[None, :]
    return jnp.sum(jnp.mean(weights[None, :] * jnp.square(missed), axis=-1)), missed


def actor_loss(chosen: Choice, held: Array, *, alpha: float | Array) -> Array:
    """Return what the actor minimises: less of the value `held` float[B, K] and of `alpha` times the entropy."""
    return -jnp.mean(chosen.mean(held) + alpha * chosen.entropy)
