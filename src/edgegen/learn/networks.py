"""Networks for one observation, to be vmapped: dense layers, perceptrons, Mish, an embedding of time.

How they start is an object: `uniform` is what torch does, so what published learners with its default start from;
`orthogonal` (Saxe et al. 2014, arXiv:1312.6120) is usual for on-policy learners.
"""

import math
from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp

from edgegen.core.arrays import Array

Start = Callable[[Array, int, int], tuple[Array, Array]]  # (key, In, Out) -> weight float[In, Out], offset float[Out]
Activation = Callable[[Array], Array]


@jax.custom_vjp
def mish(x: Array) -> Array:
    """Return x tanh(log(1 + exp x)) (Misra 2019, arXiv:1908.08681), from one exponential."""
    e = jnp.exp(x)
    n = e * (e + 2.0)
    return jnp.where(x > 20.0, x, x * (n / (n + 2.0)))  # past 20 the two agree to the last bit, before e overflows


def _mish_slope(x: Array) -> Array:
    # The exponential is taken again, of another expression than above: XLA then makes one loop of the whole derivative. Were
    # the first one kept, it would be written to memory and read back in several loops, which takes longer.
    e = jnp.exp(jnp.minimum(x, 20.0))
    q = e * (e + 2.0) + 2.0
    return e * ((e + 2.0) * q + 4.0 * x * (e + 1.0)) / (q * q)


mish.defvjp(lambda x: (mish(x), x), lambda x, cotangent: (cotangent * _mish_slope(x),))


def uniform(key, inputs: int, outputs: int) -> tuple[Array, Array]:
    """Draw weights and offsets from [-1, 1] / sqrt(inputs)."""
    bound = 1.0 / math.sqrt(inputs)
    drawn = jax.random.uniform(key, (inputs + 1, outputs), jnp.result_type(float), -bound, bound)
    return drawn[:-1], drawn[-1]


def orthogonal(gain: float) -> Start:
    """Return the start with orthogonal weights that stretch by `gain`, and offsets of 0."""

    def start(key, inputs: int, outputs: int) -> tuple[Array, Array]:
        dtype = jnp.result_type(float)
        return jax.nn.initializers.orthogonal(gain)(key, (inputs, outputs), dtype), jnp.zeros(outputs, dtype)

    return start


class Dense(eqx.Module):
    """An affine map. A layer that narrows keeps its weight transposed: so its gradient takes a third of the time on a CPU."""

    weight: Array  # float[In, Out], or float[Out, In]
    offset: Array  # float[Out]
    narrows: bool = eqx.field(static=True)  # whether the weight is float[Out, In]

    def __call__(self, x: Array) -> Array:
        return (self.weight @ x if self.narrows else x @ self.weight) + self.offset


def dense(inputs: int, outputs: int, *, start: Start = uniform, key) -> Dense:
    """Draw an affine map."""
    weight, offset = start(key, inputs, outputs)
    narrows = outputs < inputs
    return Dense(weight=weight.T if narrows else weight, offset=offset, narrows=narrows)


class Perceptron(eqx.Module):
    """Dense layers with a nonlinearity between them, float[D] -> float[K]."""

    layers: tuple[Dense, ...]
    activation: Activation = eqx.field(static=True)

    def __call__(self, x: Array) -> Array:
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)


def perceptron(
    widths: Sequence[int], *, activation: Activation = mish, start: Start = uniform, last: Start | None = None, key
) -> Perceptron:
    """Draw a perceptron with these widths, inputs and outputs included; `last` starts the last layer where it is given."""
    starts = [start] * (len(widths) - 2) + [last or start]
    keys = jax.random.split(key, len(starts))
    shapes = zip(widths[:-1], widths[1:], starts, keys, strict=True)
    layers = tuple(dense(inputs, outputs, start=start, key=key) for inputs, outputs, start, key in shapes)
    return Perceptron(layers=layers, activation=activation)


def sinusoids(time: Array, size: int) -> Array:
    """Return float[size] for a time float[]: sines, then cosines, with wavelengths from 2 pi to 2 pi 10 000."""
    falling = jnp.arange(size // 2, dtype=time.dtype) / (size // 2 - 1)
    angles = time * jnp.exp(-math.log(10_000.0) * falling)
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)])
