"""Samplers on plain arrays: DDIM and DPM-Solver++ (2M), for requests that are at different steps of different schedules.

Both follow a v-prediction model on one schedule. Updates are pure functions over a batch, one row per request, each
with its own timestep; what a request must remember between steps is a small ``SamplerState``.

DDIM: Song et al. 2021, arXiv:2010.02502, eq. 12 with eta = 0. DPM-Solver++ 2M: Lu et al. 2022, arXiv:2211.01095,
algorithm 2; the first and the last step are of first order, as its authors advise for few steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgegen.core.errors import InputError, UnknownNameError

TRAIN_TIMESTEPS = 1000
MAX_BETA = 0.999
SHIFT = 4.0
SAMPLERS = ("ddim", "dpmpp")
MAX_STEPS = 100


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


def timesteps(steps: int) -> np.ndarray:
    """Timesteps int[steps] from noisy to clean, evenly spaced and ending (trailing) at the noisiest."""
    if not 1 <= steps <= MAX_STEPS:
        raise InputError(f"steps must be from 1 to {MAX_STEPS}, got {steps}", param="steps")
    spaced = np.arange(TRAIN_TIMESTEPS, 0, -TRAIN_TIMESTEPS / steps)
    return np.round(spaced).astype(int) - 1


@dataclass(frozen=True)
class SamplerState:
    """Where one request is: its sampler, its steps, how many are done, and the last clean guess if it is needed."""

    sampler: str
    steps: int
    done: int = 0
    previous: np.ndarray | None = None  # float32[C, H, W], DPM-Solver++ only

    @staticmethod
    def start(sampler: str, steps: int) -> SamplerState:
        """Begin; unknown names and impossible numbers of steps are refused."""
        if sampler not in SAMPLERS:
            raise UnknownNameError("sampler", sampler, SAMPLERS, param="sampler")
        timesteps(steps)
        return SamplerState(sampler, steps)

    @property
    def timestep(self) -> int:
        """The timestep that the network must be asked about next."""
        return int(timesteps(self.steps)[self.done])

    @property
    def finished(self) -> bool:
        """Whether no step is left."""
        return self.done >= self.steps

    def to_dict(self) -> dict[str, Any]:
        """Give plain values that JSON can hold."""
        previous = None if self.previous is None else self.previous.tolist()
        return {"sampler": self.sampler, "steps": self.steps, "done": self.done, "previous": previous}

    @staticmethod
    def from_dict(kept: dict[str, Any]) -> SamplerState:
        """Take back what ``to_dict`` gave."""
        previous = None if kept["previous"] is None else np.asarray(kept["previous"], np.float32)
        return SamplerState(kept["sampler"], kept["steps"], kept["done"], previous)


def advance(
    latents: np.ndarray, guess: np.ndarray, states: Sequence[SamplerState]
) -> tuple[np.ndarray, np.ndarray, list[SamplerState]]:
    """Do one step of every row: next latents, clean guesses (both float32[B, C, H, W]), and next states."""
    following = np.empty_like(latents)
    clean = np.empty_like(latents)
    after = []
    for row, state in enumerate(states):
        clean[row], noise = split(latents[row], guess[row], state.timestep)
        following[row] = _UPDATES[state.sampler](latents[row], clean[row], noise, state)
        previous = clean[row].copy() if state.sampler == "dpmpp" else None
        after.append(SamplerState(state.sampler, state.steps, state.done + 1, previous))
    return following, clean, after


def split(latent: np.ndarray, guess: np.ndarray, timestep: int) -> tuple[np.ndarray, np.ndarray]:
    """Turn a v-prediction into the clean latent and the noise that it implies."""
    signal, noise = _signal_noise(timestep)
    return (signal * latent - noise * guess).astype(np.float32), (signal * guess + noise * latent).astype(np.float32)


def _signal_noise(timestep: int) -> tuple[float, float]:
    """Scales of signal and noise; a timestep before the first is a clean picture."""
    alpha = ALPHAS[timestep] if timestep >= 0 else 1.0
    return float(np.sqrt(alpha)), float(np.sqrt(1 - alpha))


def _next_timestep(state: SamplerState) -> int:
    grid = timesteps(state.steps)
    return int(grid[state.done + 1]) if state.done + 1 < state.steps else -1


def _ddim(latent: np.ndarray, clean: np.ndarray, noise: np.ndarray, state: SamplerState) -> np.ndarray:
    del latent
    signal, rest = _signal_noise(_next_timestep(state))
    return signal * clean + rest * noise


def _dpmpp(latent: np.ndarray, clean: np.ndarray, noise: np.ndarray, state: SamplerState) -> np.ndarray:
    if state.done + 1 == state.steps or state.previous is None:
        return _ddim(latent, clean, noise, state)  # of first order both are the same
    grid = timesteps(state.steps)
    before, now, then = (_log_snr(int(grid[state.done + shift])) for shift in (-1, 0, 1))
    ratio = (now - before) / (then - now)
    corrected = clean + (clean - state.previous) / (2 * ratio)
    _, rest_now = _signal_noise(int(grid[state.done]))
    signal, rest = _signal_noise(int(grid[state.done + 1]))
    return (rest / rest_now) * latent - signal * np.expm1(-(then - now)) * corrected


def _log_snr(timestep: int) -> float:
    signal, noise = _signal_noise(timestep)
    return float(np.log(signal) - np.log(noise))


_UPDATES = {"ddim": _ddim, "dpmpp": _dpmpp}
