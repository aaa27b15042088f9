"""The family of deep Q-networks: one update, and the parts by which its members differ as objects.

- How much an action is worth: `Scalar` (Mnih et al. 2015), or `Categorical`, a distribution (Bellemare et al. 2017, arXiv:1707.06887).
- Who chooses the action after: `alone`, the target network itself, or `double`, the online one (van Hasselt et al. 2016, arXiv:1509.06461).
- How the outputs are made: `plain`, or `duelling` (Wang et al. 2016, arXiv:1511.06581); the last layers: `Certain` or `Noisy`
  (Fortunato et al. 2018, arXiv:1706.10295).
- How the target follows: `Every` so many updates, or `Softly`.
- Which transitions are drawn, and over how many epochs returns are summed, is up to `off_policy.OffPolicy`.

All of it together is `rainbow` (Hessel et al. 2018, arXiv:1710.02298). Actions that are not allowed are neither taken nor looked at.
Sizes and rates of the presets are those with which Du et al. 2024 (arXiv:2303.13052) compare their learner, taken from their
code (github.com/Lizonghang/AGOD, read, not copied), but for the memory, which holds 1e5 transitions where theirs holds 1e6.
What they call DQN is `double` here. B observations, D features, K actions, Z atoms.
"""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from edgegen.core.arrays import Array
from edgegen.core.errors import InputError
from edgegen.core.tree import value
from edgegen.learn.algorithm import AbstractAlgorithm
from edgegen.learn.batch import Batch
from edgegen.learn.buffers import AbstractMemory, Prioritised, Uniform
from edgegen.learn.descent import Moments, adam, descend, follow, moments
from edgegen.learn.learner import Metrics
from edgegen.learn.networks import Dense, Perceptron, dense, mish, perceptron
from edgegen.learn.off_policy import OffPolicy

# ------------------------------------------------------------------------------------------------------------- layers


class NoisyDense(eqx.Module):
    """An affine map with a spread for each of its numbers; `drawn` or `settled` makes a plain one of it."""

    mean: Dense
    spread: Dense  # standard deviations

    def drawn(self, key) -> Dense:
        """Draw noise for every input and every output, and multiply (factorised noise)."""
        weight = self.mean.weight
        one, other = jax.random.split(key)
        rows, columns = (_rooted(k, size, weight.dtype) for k, size in zip((one, other), weight.shape, strict=True))
        outputs = rows if self.mean.narrows else columns
        return Dense(
            weight=weight + self.spread.weight * (rows[:, None] * columns[None, :]),
            offset=self.mean.offset + self.spread.offset * outputs,
            narrows=self.mean.narrows,
        )


def _rooted(key, size: int, dtype: Any) -> Array:
    noise = jax.random.normal(key, (size,), dtype)
    return jnp.sign(noise) * jnp.sqrt(jnp.abs(noise))


class AbstractLast(eqx.Module):
    """How last layers are made."""

    @abc.abstractmethod
    def __call__(self, inputs: int, outputs: int, *, key) -> Dense | NoisyDense: ...


class Certain(AbstractLast):
    """Without noise."""

    def __call__(self, inputs: int, outputs: int, *, key) -> Dense:
        return dense(inputs, outputs, key=key)


class Noisy(AbstractLast):
    """With noise, by which the network explores."""

    spread: float | Array = 0.1  # at the start, in units of 1 / sqrt(inputs)

    def __call__(self, inputs: int, outputs: int, *, key) -> NoisyDense:
        mean = dense(inputs, outputs, key=key)
        spread = jax.tree.map(lambda leaf: jnp.full_like(leaf, self.spread / inputs**0.5), mean)
        return NoisyDense(mean=mean, spread=spread)


def drawn(network: Any, key) -> Any:
    """Return the network with noise drawn for each noisy layer."""
    return _resolve(network, lambda layer, number: layer.drawn(jax.random.fold_in(key, number)))


def settled(network: Any) -> Any:
    """Return the network with its noisy layers at their means."""
    return _resolve(network, lambda layer, number: layer.mean)


def _resolve(network: Any, choose: Callable[[NoisyDense, int], Dense]) -> Any:
    leaves, shape = jax.tree.flatten(network, is_leaf=_is_noisy)
    return shape.unflatten([choose(leaf, number) if _is_noisy(leaf) else leaf for number, leaf in enumerate(leaves)])


def _is_noisy(node: Any) -> bool:
    return isinstance(node, NoisyDense)


# ----------------------------------------------------------------------------------------------------------- networks


class Plain(eqx.Module):
    """float[D] -> float[K, Z]."""

    torso: Perceptron
    last: Any  # Dense | NoisyDense
    actions: int = eqx.field(static=True)

    def __call__(self, x: Array) -> Array:
        return self.last(self.torso.activation(self.torso(x))).reshape(self.actions, -1)


class Duelling(eqx.Module):
    """float[D] -> float[K, Z]: what the situation is worth, and what each action adds to it."""

    torso: Perceptron
    worth: Any  # Dense | NoisyDense
    added: Any  # Dense | NoisyDense
    actions: int = eqx.field(static=True)

    def __call__(self, x: Array) -> Array:
        hidden = self.torso.activation(self.torso(x))
        added = self.added(hidden).reshape(self.actions, -1)
        return self.worth(hidden)[None, :] + added - added.mean(axis=0, keepdims=True)


Network = Plain | Duelling
Body = Callable[[tuple[int, ...], int, int, AbstractLast, Any], Network]  # (widths, K, Z, last, key)


def plain(widths: tuple[int, ...], actions: int, atoms: int, last: AbstractLast, key) -> Plain:
    """Draw a network with one last layer."""
    below, above = jax.random.split(key)
    torso = perceptron(widths, activation=mish, key=below)
    return Plain(torso=torso, last=last(widths[-1], actions * atoms, key=above), actions=actions)


def duelling(widths: tuple[int, ...], actions: int, atoms: int, last: AbstractLast, key) -> Duelling:
    """Draw a network with two."""
    below, left, right = jax.random.split(key, 3)
    return Duelling(
        torso=perceptron(widths, activation=mish, key=below),
        worth=last(widths[-1], atoms, key=left),
        added=last(widths[-1], actions * atoms, key=right),
        actions=actions,
    )


# -------------------------------------------------------------------------------------------------------------- worth


class AbstractWorth(eqx.Module):
    """What the Z outputs per action mean."""

    atoms: eqx.AbstractVar[int]  # Z

    @abc.abstractmethod
    def mean(self, outputs: Array) -> Array:
        """Return values float[...] of float[..., Z]."""

    @abc.abstractmethod
    def miss(self, said: Array, after: Array, reward: Array, discount: Array) -> tuple[Array, Array]:
        """Compare outputs float[B, Z] with what reward and outputs n epochs later ask for: losses and errors float[B] >= 0."""


class Scalar(AbstractWorth):
    """One expected value; the loss is the square of the miss."""

    atoms: int = eqx.field(static=True, default=1)

    def mean(self, outputs: Array) -> Array:
        return outputs[..., 0]

    def miss(self, said: Array, after: Array, reward: Array, discount: Array) -> tuple[Array, Array]:
        missed = said[:, 0] - (reward + discount * after[:, 0])
        return jnp.square(missed), jnp.abs(missed)


class Categorical(AbstractWorth):
    """Probabilities of Z values evenly spaced between `low` and `high`; the loss is the cross-entropy, the error the divergence."""

    low: float | Array = -10.0
    high: float | Array = 10.0
    atoms: int = eqx.field(static=True, default=51)

    def __check_init__(self):
        if self.atoms < 2:
            raise InputError(f"a distribution needs at least 2 atoms, got {self.atoms}", param="atoms")

    def support(self, dtype: Any) -> Array:
        """float[Z]."""
        return jnp.linspace(self.low, self.high, self.atoms, dtype=dtype)

    def mean(self, outputs: Array) -> Array:
        return jax.nn.softmax(outputs, axis=-1) @ self.support(outputs.dtype)

    def project(self, probability: Array, reward: Array, discount: Array) -> Array:
        """Move the atoms to reward + discount x value, and share each out between its neighbours on the support: float[B, Z]."""
        support = self.support(probability.dtype)
        moved = jnp.clip(reward[:, None] + discount[:, None] * support[None, :], self.low, self.high)
        apart = jnp.abs(moved[:, None, :] - support[None, :, None]) / ((self.high - self.low) / (self.atoms - 1))
        return jnp.sum(jnp.clip(1.0 - apart, 0.0, 1.0) * probability[:, None, :], axis=-1)

    def miss(self, said: Array, after: Array, reward: Array, discount: Array) -> tuple[Array, Array]:
        wanted = self.project(jax.nn.softmax(after, axis=-1), reward, discount)
        loss = -jnp.sum(wanted * jax.nn.log_softmax(said, axis=-1), axis=-1)
        entropy = -jnp.sum(jax.scipy.special.xlogy(wanted, wanted), axis=-1)
        return loss, jnp.maximum(loss - entropy, 0.0)


# ------------------------------------------------------------------------------------------------------------ targets


def alone(online: Array, target: Array) -> Array:
    """The target network chooses the action that it values, float[B, K] each."""
    del online
    return target


def double(online: Array, target: Array) -> Array:
    """The online network chooses the action that the target network values."""
    del target
    return online


class AbstractSync(eqx.Module):
    """How the target follows the online network."""

    @abc.abstractmethod
    def __call__(self, target: Network, online: Network, updates: Array) -> Network:
        """Return the target after so many updates."""


class Every(AbstractSync):
    """All at once, now and then."""

    updates: int | Array = 320

    def __call__(self, target: Network, online: Network, updates: Array) -> Network:
        now = updates % self.updates == 0
        return jax.tree.map(lambda behind, ahead: jnp.where(now, ahead, behind), target, online)


class Softly(AbstractSync):
    """A part of the way with every update."""

    rate: float | Array = 0.005

    def __call__(self, target: Network, online: Network, updates: Array) -> Network:
        del updates
        return follow(target, online, rate=self.rate)


# ---------------------------------------------------------------------------------------------------------- algorithm


@value
class Params:
    """All that is learnt and remembered."""

    online: Network
    target: Any  # Network; None in what is deployed, with all that follows
    moments: Moments
    updates: Any  # int32[]


class DQN(AbstractAlgorithm):
    """Learn what every action is worth, and take the best."""

    worth: AbstractWorth = Scalar()
    last: AbstractLast = Certain()
    sync: AbstractSync = Every()
    rate: float | Array = 1e-3
    weight_decay: float | Array = 1e-4  # an L2 penalty
    epsilon: float | Array = 0.1  # share of actions at random
    body: Body = eqx.field(static=True, default=plain)
    chooser: Callable[[Array, Array], Array] = eqx.field(static=True, default=alone)
    hidden: tuple[int, ...] = eqx.field(static=True, default=(256, 256))

    def init_params(self, observation_size: int, actions: int, *, key) -> Params:
        network = self.body((observation_size, *self.hidden), actions, self.worth.atoms, self.last, key)
        return Params(online=network, target=network, moments=moments(network), updates=jnp.zeros((), jnp.int32))

    def act(self, params: Params, observation: Array, allowed: Array, *, key) -> Array:
        noise, straying, drawing = jax.random.split(key, 3)
        held = self.values(drawn(params.online, noise), observation)
        stray = jax.random.uniform(straying, held.shape[:1]) < self.epsilon
        anything = jax.random.uniform(drawing, held.shape, held.dtype)
        return _best(jnp.where(stray[:, None], anything, held), allowed)

    def greedy(self, params: Params, observation: Array, allowed: Array) -> Array:
        return _best(self.values(settled(params.online), observation), allowed)

    def deployed(self, params: Params) -> Params:
        return Params(settled(params.online), None, None, None)

    def values(self, network: Network, observation: Array) -> Array:
        """Return what every action is held to be worth, float[B, K] for float[B, D]."""
        return self.worth.mean(jax.vmap(network)(observation))

    def update(self, params: Params, batch: Batch, weights: Array, *, key) -> tuple[Params, Array, Metrics]:
        one, other = jax.random.split(key)
        after = jax.vmap(drawn(params.target, other))(batch.next_observation)
        held = self.values(drawn(params.online, one), batch.next_observation)
        chosen = _best(self.chooser(held, self.worth.mean(after)), batch.next_allowed)
        after = _of(after, chosen)

        def loss_of(network: Network) -> tuple[Array, tuple[Array, Array]]:
            said = _of(jax.vmap(drawn(network, one))(batch.observation), batch.action)
            losses, errors = self.worth.miss(said, after, batch.reward, batch.discount)
            return jnp.mean(weights * losses), (errors, self.worth.mean(said))

        (loss, (errors, said)), slope = jax.value_and_grad(loss_of, has_aux=True)(params.online)
        online, after_step = descend(adam(self.weight_decay), params.online, slope, params.moments, rate=self.rate)
        updates = params.updates + 1
        target = self.sync(params.target, online, updates)
        params = Params(online=online, target=target, moments=after_step, updates=updates)
        return params, errors, {"loss": loss, "error": errors.mean(), "value": said.mean()}


def _best(held: Array, allowed: Array) -> Array:
    return jnp.where(allowed, held, -jnp.inf).argmax(axis=-1).astype(jnp.int32)


def _of(outputs: Array, action: Array) -> Array:
    """Return the outputs float[B, Z] of the actions, of float[B, K, Z]."""
    return jnp.take_along_axis(outputs, action[:, None, None], axis=1)[:, 0]


# ------------------------------------------------------------------------------------------------------------ presets

CAPACITY = 100_000


def dqn(memory: AbstractMemory | None = None, **sizes: Any) -> OffPolicy:
    """The plain one, with n-step returns; `sizes` are those of `OffPolicy`."""
    return _published(DQN(), memory or Uniform(CAPACITY), sizes)


def double_dqn(memory: AbstractMemory | None = None, **sizes: Any) -> OffPolicy:
    """What the comparison calls DQN."""
    return _published(DQN(chooser=double), memory or Uniform(CAPACITY), sizes)


def prioritised(memory: AbstractMemory | None = None, **sizes: Any) -> OffPolicy:
    """`double_dqn` with prioritised replay."""
    return _published(DQN(chooser=double), memory or Prioritised(CAPACITY), sizes)


def rainbow(memory: AbstractMemory | None = None, **sizes: Any) -> OffPolicy:
    """All parts at once. The comparison lets it stray (epsilon) besides the noise; so does this."""
    algorithm = DQN(worth=Categorical(), last=Noisy(), chooser=double, body=duelling)
    return _published(algorithm, memory or Prioritised(CAPACITY), sizes)


def _published(algorithm: DQN, memory: AbstractMemory, sizes: dict[str, Any]) -> OffPolicy:
    """One update per environment step, unless `sizes` say otherwise."""
    environments = sizes.get("environments", 64)
    usual = {"gamma": 0.95, "n": 3, "batch": 512, "warm_up": 512, "environments": environments, "updates": environments}
    return OffPolicy(algorithm=algorithm, memory=memory, **usual | sizes)
