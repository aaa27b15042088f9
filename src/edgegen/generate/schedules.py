"""Noise schedules: how much of a latent is signal at each moment, and what the network's answer says about both.

A latent is `signal * clean + noise * noise_sample` throughout. A position runs from WHOLE_WAY (all noise) down to CLEAN_AT;
a schedule divides what is left of the way into steps, says what the network is to be asked at a position, and turns its answer
into the clean latent and the noise. Two kinds cover the families that are served:

- `Discrete`: one of 1000 trained timesteps at a time. The built-in models' shifted cosine with v-prediction, and Stable
  Diffusion's scaled-linear betas (Rombach et al. 2022, arXiv:2112.10752) with epsilon or v (Salimans and Ho 2022, arXiv:2202.00512).
- `Flow`: straight lines between noise and picture (Lipman et al. 2023, arXiv:2210.02747; Esser et al. 2024, arXiv:2403.03206, the
  shift of section 5.3.2).
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from edgegen.core.errors import InputError, UnknownNameError

TRAIN_TIMESTEPS = 1000
WHOLE_WAY = TRAIN_TIMESTEPS  # position of a latent that is all noise
CLEAN_AT = 0  # position of a latent without noise
MAX_BETA = 0.999
SHIFT = 4.0


class Prediction(NamedTuple):
    """What a network answers, as (weight of the latent, weight of the answer) of the clean latent and of the noise.

    Both are functions of the scales (signal, noise) at the latent's position.
    """

    name: str
    clean: Callable[[float, float], tuple[float, float]]
    noise: Callable[[float, float], tuple[float, float]]


V = Prediction(
    "v_prediction", clean=lambda signal, noise: (signal, -noise), noise=lambda signal, noise: (noise, signal)
)
EPSILON = Prediction(
    "epsilon", clean=lambda signal, noise: (1 / signal, -noise / signal), noise=lambda signal, noise: (0.0, 1.0)
)
VELOCITY = Prediction("flow", clean=lambda signal, noise: (1.0, -noise), noise=lambda signal, noise: (1.0, signal))
PREDICTIONS = {prediction.name: prediction for prediction in (V, EPSILON)}


class AbstractSchedule(abc.ABC):
    """A schedule of one model; two are the same if they are the same object or have the same name."""

    name: str  # says everything that the arithmetic depends on, so that it can stand in a model's fingerprint
    prediction: Prediction
    samplers: tuple[str, ...]  # which can follow it; the first is the plainest

    @abc.abstractmethod
    def spaced(self, left: float, steps: int) -> np.ndarray:
        """Positions float64[steps], strictly falling from `left`, that divide the way to CLEAN_AT evenly."""

    @abc.abstractmethod
    def timestep(self, position: float) -> float:
        """What the network is told about a position."""

    @abc.abstractmethod
    def scales(self, position: float) -> tuple[float, float]:
        """Scales of signal and noise at a position."""

    @abc.abstractmethod
    def most_steps(self, position: float) -> int:
        """Into how many steps the way from a position can be divided."""


@dataclass(frozen=True, eq=False)
class Discrete(AbstractSchedule):
    """Variance-preserving noise at trained timesteps; position p is timestep p - 1.

    alphas: cumulative products of 1 - beta, float64[1000], strictly falling.
    """

    name: str
    alphas: np.ndarray
    prediction: Prediction = V
    samplers: tuple[str, ...] = ("ddim", "dpmpp")

    def __post_init__(self) -> None:
        fine = self.alphas.shape == (TRAIN_TIMESTEPS,) and (np.diff(self.alphas) < 0).all() and self.alphas[-1] > 0
        if not fine:
            raise InputError(
                f"a schedule needs {TRAIN_TIMESTEPS} cumulative alphas that fall and stay above 0 (a last one of 0, as with"
                " rescale_betas_zero_snr, is not supported): use the model with its betas as trained"
            )

    def spaced(self, left: float, steps: int) -> np.ndarray:
        # Ends (trailing) at the noisiest timestep. The sum that `arange` makes may fall short of 0 by rounding, which
        # gives one value too many.
        return np.round(np.arange(left, 0, -left / steps)[:steps])

    def timestep(self, position: float) -> float:
        return int(position) - 1

    def scales(self, position: float) -> tuple[float, float]:
        alpha = 1.0 if position == CLEAN_AT else self.alphas[int(position) - 1]
        return float(np.sqrt(alpha)), float(np.sqrt(1 - alpha))

    def most_steps(self, position: float) -> int:
        return int(position)  # each step needs a timestep of its own


@dataclass(frozen=True, eq=False)
class Flow(AbstractSchedule):
    """Straight lines: a latent is (1 - sigma) clean + sigma noise, and the network answers noise - clean.

    shift: > 1 spends more of the steps where there is much noise.
    """

    shift: float = 1.0
    prediction: Prediction = VELOCITY
    samplers: tuple[str, ...] = ("euler",)

    def __post_init__(self) -> None:
        if not 0 < self.shift <= 100:
            raise InputError(f"the shift of a flow must be above 0 and at most 100, got {self.shift}")

    @property
    def name(self) -> str:  # type: ignore[override]
        """Say the shift."""
        return f"flow, shift {self.shift:g}"

    def spaced(self, left: float, steps: int) -> np.ndarray:
        return left - left / steps * np.arange(steps)

    def timestep(self, position: float) -> float:
        return TRAIN_TIMESTEPS * self.scales(position)[1]

    def scales(self, position: float) -> tuple[float, float]:
        plain = position / WHOLE_WAY
        sigma = self.shift * plain / (1 + (self.shift - 1) * plain)
        return 1 - sigma, sigma

    def most_steps(self, position: float) -> int:
        return TRAIN_TIMESTEPS if position > CLEAN_AT else 0


def shifted_cosine_alphas() -> np.ndarray:
    """Cumulative alphas float64[1000]: squared cosine (Nichol and Dhariwal 2021, eq. 17), shifted towards noise.

    What a picture shows is decided where a latent is nearly all noise, because few plain objects fill many values. The
    shift divides the signal-to-noise ratio by SHIFT squared (Hoogeboom et al. 2023, arXiv:2301.11093, section 3.1), so that
    most of the steps, in training and in sampling, are spent there.
    """
    at = np.arange(TRAIN_TIMESTEPS + 1) / TRAIN_TIMESTEPS
    bar = np.cos((at + 0.008) / 1.008 * np.pi / 2) ** 2
    cosine = np.cumprod(1 - np.minimum(1 - bar[1:] / bar[:-1], MAX_BETA))
    ratio = cosine / (1 - cosine) / SHIFT**2
    return ratio / (1 + ratio)


ALPHAS = shifted_cosine_alphas()
SHIFTED_COSINE = Discrete("shifted cosine, v_prediction", ALPHAS)


def scaled_linear(prediction: str = "epsilon", beta_start: float = 0.00085, beta_end: float = 0.012) -> Discrete:
    """Stable Diffusion's schedule: betas whose square roots rise evenly."""
    if prediction not in PREDICTIONS:
        raise UnknownNameError("prediction of a network", prediction, PREDICTIONS)
    betas = np.linspace(beta_start**0.5, beta_end**0.5, TRAIN_TIMESTEPS) ** 2
    name = f"scaled linear {beta_start:g} to {beta_end:g}, {prediction}"
    return Discrete(name, np.cumprod(1 - betas), PREDICTIONS[prediction])
