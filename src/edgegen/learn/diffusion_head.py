"""A head that makes its output by denoising: any vector given features, by a short reverse diffusion that gradients pass through.

The variance-preserving schedule and the network are those of Du et al. 2024 (arXiv:2303.13052, and their code AGOD); the steps are
those of Ho et al. 2020 (arXiv:2006.11239, Algorithm 2) with the posterior's variance. What the output means is the caller's:
a softmax makes a choice of it, a tanh a point in a box.

The first layer sees the noisy vector, the features and the time. Its three parts are apart: that of the features is the same at
every step, that of the time the same for all observations, so each is computed once.
"""

import dataclasses
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from edgegen.core.arrays import Array
from edgegen.learn.networks import Dense, Perceptron, mish, perceptron, sinusoids, uniform


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How much noise each step of the forward diffusion adds: T variances, the first step's first."""

    betas: tuple[float, ...]

    def reverse(self) -> list[tuple[float, float, float]]:
        """Per step, the first in time first: the mean is `keep` x - `shift` noise, the deviation `spread` (0 in the first)."""
        betas = np.asarray(self.betas)
        left = np.cumprod(1.0 - betas)
        before = np.concatenate([[1.0], left[:-1]])
        keep = 1.0 / np.sqrt(1.0 - betas)
        shift = keep * betas / np.sqrt(1.0 - left)
        spread = np.sqrt(betas * (1.0 - before) / (1.0 - left))
        return list(zip(keep.tolist(), shift.tolist(), spread.tolist(), strict=True))


def variance_preserving(steps: int = 5, *, least: float = 0.1, most: float = 10.0) -> Schedule:
    """Return the schedule whose rate of noise rises linearly from `least` to `most` over the diffusion."""
    middle = (2.0 * np.arange(1, steps + 1) - 1.0) / (2.0 * steps * steps)
    return Schedule(tuple((1.0 - np.exp(-least / steps - (most - least) * middle)).tolist()))


class DiffusionHead(eqx.Module):
    """The network that finds the noise in a vector, and the steps that take it out. D features, K outputs, H hidden, T steps."""

    clock: Perceptron  # of the embedded time, float[S] -> float[S]
    of_features: Dense  # float[D] -> float[H], the first layer's offset with it
    of_noisy: Array  # float[K, H]
    of_time: Array  # float[S, H]
    rest: Perceptron  # float[H] -> float[K]
    schedule: Schedule = eqx.field(static=True)

    def noise(self, key, rows: int) -> Array:
        """Draw what `__call__` takes for several observations: float[T, rows, K]."""
        shape = (len(self.schedule.betas), rows, self.of_noisy.shape[0])
        return jax.random.normal(key, shape, self.of_noisy.dtype)

    def __call__(self, features: Array, noise: Array) -> Array:
        """Denoise for one observation, float[D] -> float[K]; `noise` float[T, K] is where it starts, then what steps add."""
        steps = self.schedule.reverse()
        given, times = self.of_features(features), self._times()
        noisy = noise[0]
        for step in reversed(range(len(steps))):
            keep, shift, spread = steps[step]
            found = jnp.tanh(self.rest(mish(noisy @ self.of_noisy + (given + times[step]))))
            noisy = keep * noisy - shift * found
            if step > 0:
                noisy = noisy + spread * noise[len(steps) - step]
        return noisy

    def many(self, features: Array, noise: Array) -> Array:
        """Denoise for several observations, float[B, D] -> float[B, K]; `noise` is float[T, B, K]."""
        return jax.vmap(self, in_axes=(0, 1))(features, noise)

    def _times(self) -> Array:
        size = self.of_time.shape[0]
        times = jnp.arange(len(self.schedule.betas), dtype=self.of_time.dtype)
        return jax.vmap(lambda time: self.clock(sinusoids(time, size)) @ self.of_time)(times)  # float[T, H]


def diffusion_head(
    features: int, outputs: int, *, hidden: Sequence[int] = (256, 256), schedule: Schedule, clock: int = 16, key
) -> DiffusionHead:
    """Draw a head: `hidden` are the widths of the layers between, `clock` that of the embedding of time."""
    first, rest, timing = jax.random.split(key, 3)
    weight, offset = uniform(first, features + outputs + clock, hidden[0])  # one layer, so one scale for its parts
    of_features, of_noisy, of_time = jnp.split(weight, [features, features + outputs])
    return DiffusionHead(
        clock=perceptron((clock, 2 * clock, clock), key=timing),
        of_features=Dense(weight=of_features, offset=offset, narrows=False),
        of_noisy=of_noisy,
        of_time=of_time,
        rest=perceptron((*hidden, outputs), key=rest),
        schedule=schedule,
    )
