"""What on-policy learners train: networks from the features of one observation to logits and a value.

An architecture is the plan of a network, the network is the parameters: `build` draws them. D features, K actions.
"""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp

from edgegen.core.arrays import Array
from edgegen.learn.networks import Activation, Dense, Perceptron, dense, mish, orthogonal, perceptron


class AbstractNetwork(eqx.Module):
    """Parameters of an actor, and of a critic if there is one."""

    @abc.abstractmethod
    def __call__(self, features: Array) -> tuple[Array, Array]:
        """Return logits float[K] and what the critic holds, float[], for features float[D]."""


class AbstractArchitecture(eqx.Module):
    """The plan of a network. All of it is static, so that learners with the same plan are compiled once."""

    @abc.abstractmethod
    def build(self, features: int, actions: int, *, key) -> AbstractNetwork:
        """Draw the parameters."""


def _start(widths: tuple[int, ...], activation: Activation, *, last: float, key) -> Perceptron:
    # Small last weights of the actor: at first every action is about as likely (Andrychowicz et al. 2021, arXiv:2006.05990).
    hidden = orthogonal(2.0**0.5)
    return perceptron(widths, activation=activation, start=hidden, last=orthogonal(last), key=key)


class ActorCritic(AbstractNetwork):
    """Two perceptrons that share nothing."""

    actor: Perceptron  # float[D] -> float[K]
    critic: Perceptron  # float[D] -> float[1]

    def __call__(self, features: Array) -> tuple[Array, Array]:
        return self.actor(features), self.critic(features)[0]


class Apart(AbstractArchitecture):
    """An actor and a critic that share nothing."""

    hidden: tuple[int, ...] = eqx.field(static=True, default=(64, 64))
    activation: Activation = eqx.field(static=True, default=jnp.tanh)

    def build(self, features: int, actions: int, *, key) -> ActorCritic:
        one, other = jax.random.split(key)
        return ActorCritic(
            actor=_start((features, *self.hidden, actions), self.activation, last=0.01, key=one),
            critic=_start((features, *self.hidden, 1), self.activation, last=1.0, key=other),
        )


class Shared(AbstractNetwork):
    """One perceptron for all but the last layer."""

    trunk: Perceptron  # float[D] -> float[H]
    logits: Dense  # float[H] -> float[K]
    held: Dense  # float[H] -> float[1]

    def __call__(self, features: Array) -> tuple[Array, Array]:
        hidden = self.trunk.activation(self.trunk(features))
        return self.logits(hidden), self.held(hidden)[0]


class Together(AbstractArchitecture):
    """An actor and a critic that share all but the last layer, and start with orthogonal weights that stretch by `gain`."""

    hidden: tuple[int, ...] = eqx.field(static=True, default=(256, 256))
    activation: Activation = eqx.field(static=True, default=mish)
    gain: float = eqx.field(static=True, default=1.0)

    def build(self, features: int, actions: int, *, key) -> Shared:
        one, other, third = jax.random.split(key, 3)
        start = orthogonal(self.gain)
        return Shared(
            trunk=perceptron((features, *self.hidden), activation=self.activation, start=start, key=one),
            logits=dense(self.hidden[-1], actions, start=start, key=other),
            held=dense(self.hidden[-1], 1, start=start, key=third),
        )


class Actor(AbstractNetwork):
    """A perceptron for the logits; everything is held to be worth nothing."""

    actor: Perceptron  # float[D] -> float[K]

    def __call__(self, features: Array) -> tuple[Array, Array]:
        return self.actor(features), jnp.zeros((), features.dtype)


class Alone(AbstractArchitecture):
    """An actor without a critic."""

    hidden: tuple[int, ...] = eqx.field(static=True, default=(64, 64))
    activation: Activation = eqx.field(static=True, default=jnp.tanh)

    def build(self, features: int, actions: int, *, key) -> Actor:
        return Actor(actor=_start((features, *self.hidden, actions), self.activation, last=0.01, key=key))


class AlikeNetwork(AbstractNetwork):
    """One network that scores every action by its own features, those of all, and what sets it apart."""

    own: Dense  # float[F] -> float[H]; features of the action
    common: Dense  # float[C] -> float[H]; features that are of no action
    apart: Array  # float[K, H], what is learnt about each action
    score: Perceptron  # float[H] -> float[1]
    critic: Perceptron  # float[D] -> float[1]

    def __call__(self, features: Array) -> tuple[Array, Array]:
        actions = self.apart.shape[0]
        size = features.shape[0] // actions
        own, common = features[: actions * size].reshape(actions, size), features[actions * size :]
        hidden = jax.vmap(self.own)(own) + self.common(common)[None, :] + self.apart
        scores = jax.vmap(self.score)(self.score.activation(hidden))
        return scores[:, 0], self.critic(features)[0]


class Alike(AbstractArchitecture):
    """The same actor for every action: what it learns about one, it knows about all. D = K F + C, the features of actions first.

    The critic is an ordinary perceptron.
    """

    hidden: tuple[int, ...] = eqx.field(static=True, default=(16, 16))
    critic: tuple[int, ...] = eqx.field(static=True, default=(64, 64))
    activation: Activation = eqx.field(static=True, default=jnp.tanh)

    def build(self, features: int, actions: int, *, key) -> AlikeNetwork:
        one, other, third, fourth = jax.random.split(key, 4)
        size, wide = features // actions, orthogonal(2.0**0.5)
        first = self.hidden[0]
        return AlikeNetwork(
            own=dense(size, first, start=wide, key=one),
            common=dense(features - actions * size, first, start=wide, key=other),
            apart=jnp.zeros((actions, first)),
            score=_start((*self.hidden, 1), self.activation, last=0.01, key=third),
            critic=_start((features, *self.critic, 1), self.activation, last=1.0, key=fourth),
        )
