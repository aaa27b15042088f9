"""Samplers on plain arrays: DDIM and DPM-Solver++ (2M), for requests that are at different steps of different schedules.

Both follow a v-prediction model on one schedule. Updates are pure functions over a batch, one row per request, each
with its own timestep; what a request must remember between steps is a small ``SamplerState``.

DDIM: Song et al. 2021, arXiv:2010.02502, eq. 12 with eta = 0. DPM-Solver++ 2M: Lu et al. 2022, arXiv:2211.01095,
algorithm 2; the first and the last step are of first order, as its authors advise for few steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from edgegen.core.errors import InputError, UnknownNameError

TRAIN_TIMESTEPS = 1000
MAX_BETA = 0.999
SHIFT = 4.0
SAMPLERS = ("ddim", "dpmpp")
MAX_STEPS = 100
CLEAN = -1  # in the place of a timestep: no noise is left


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
    return _spaced(TRAIN_TIMESTEPS, steps)


def _spaced(left: int, steps: int) -> np.ndarray:
    """Timesteps int[steps], strictly falling, that divide the `left` cleanest ones evenly; the first is left - 1."""
    # The sum that `arange` makes may fall short of 0 by rounding, which gives one value too many.
    return np.round(np.arange(left, 0, -left / steps)[:steps]).astype(int) - 1


class Leg(NamedTuple):
    """The schedule from where the number of steps was last changed; from the start where it never was."""

    done: int = 0  # steps that were done by then
    left: int = TRAIN_TIMESTEPS  # timesteps down to the clean picture, the latent's own included
    before: int | None = None  # timestep of the last step before it; None where there was none


WHOLE = Leg()


@dataclass(frozen=True)
class SamplerState:
    """Where one request is: its sampler, its steps, how many are done, and the last clean guess if it is needed."""

    sampler: str
    steps: int
    done: int = 0
    previous: np.ndarray | None = None  # float32[C, H, W], DPM-Solver++ only
    leg: Leg = WHOLE

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
        return self.timestep_in(0)

    @property
    def finished(self) -> bool:
        """Whether no step is left."""
        return self.done >= self.steps

    def timestep_in(self, steps: int) -> int:
        """The timestep where the latent is in so many steps; in -1, where the last one began; CLEAN after all of them."""
        at = self.done - self.leg.done + steps
        if at < 0 and self.leg.before is not None:
            return self.leg.before  # the last step before the number of steps was changed
        grid = _spaced(self.leg.left, self.steps - self.leg.done)
        return int(grid[at]) if at < len(grid) else CLEAN

    @property
    def reach(self) -> range:
        """The numbers of steps that it can still be changed to: each further step needs a timestep of its own."""
        if self.finished:
            return range(0)
        return range(self.done + 1, min(MAX_STEPS, self.done + self.timestep + 1) + 1)

    def retarget(self, steps: int) -> SamplerState:
        """Finish with another number of steps in all: those that are left divide what is left of the way evenly.

        What is done stays as it is, the last clean guess included, so DPM-Solver++ keeps its second order. The same
        number changes nothing. **Raises** `InputError` for a number out of `reach`.
        """
        if steps not in self.reach:
            raise InputError(
                f"steps must be from {self.done + 1} to {MAX_STEPS} after {self.done} of {self.steps}, and each of those"
                f" that are left needs a timestep of its own; got {steps}",
                param="steps",
            )
        if steps == self.steps:
            return self
        if self.done == 0:
            return replace(self, steps=steps)
        return replace(self, steps=steps, leg=Leg(self.done, self.timestep + 1, self.timestep_in(-1)))

    def to_dict(self) -> dict[str, Any]:
        """Give plain values that JSON can hold."""
        previous = None if self.previous is None else self.previous.tolist()
        plain = {"sampler": self.sampler, "steps": self.steps, "done": self.done, "previous": previous}
        return {**plain, "leg": list(self.leg)}

    @staticmethod
    def from_dict(kept: dict[str, Any]) -> SamplerState:
        """Take back what ``to_dict`` gave."""
        previous = None if kept["previous"] is None else np.asarray(kept["previous"], np.float32)
        return SamplerState(kept["sampler"], kept["steps"], kept["done"], previous, Leg(*kept["leg"]))


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
        after.append(replace(state, done=state.done + 1, previous=previous))
    return following, clean, after


def split(latent: np.ndarray, guess: np.ndarray, timestep: int) -> tuple[np.ndarray, np.ndarray]:
    """Turn a v-prediction into the clean latent and the noise that it implies."""
    signal, noise = _signal_noise(timestep)
    return (signal * latent - noise * guess).astype(np.float32), (signal * guess + noise * latent).astype(np.float32)


def _signal_noise(timestep: int) -> tuple[float, float]:
    """Scales of signal and noise; CLEAN is a picture without noise."""
    alpha = 1.0 if timestep == CLEAN else ALPHAS[timestep]
    return float(np.sqrt(alpha)), float(np.sqrt(1 - alpha))


def _ddim(latent: np.ndarray, clean: np.ndarray, noise: np.ndarray, state: SamplerState) -> np.ndarray:
    del latent
    signal, rest = _signal_noise(state.timestep_in(1))
    return signal * clean + rest * noise


def _dpmpp(latent: np.ndarray, clean: np.ndarray, noise: np.ndarray, state: SamplerState) -> np.ndarray:
    if state.done + 1 == state.steps or state.previous is None:
        return _ddim(latent, clean, noise, state)  # of first order both are the same
    grid = [state.timestep_in(steps) for steps in (-1, 0, 1)]
    before, now, then = map(_log_snr, grid)
    ratio = (now - before) / (then - now)
    corrected = clean + (clean - state.previous) / (2 * ratio)
    _, rest_now = _signal_noise(grid[1])
    signal, rest = _signal_noise(grid[2])
    return (rest / rest_now) * latent - signal * np.expm1(-(then - now)) * corrected


def _log_snr(timestep: int) -> float:
    signal, noise = _signal_noise(timestep)
    return float(np.log(signal) - np.log(noise))


_UPDATES = {"ddim": _ddim, "dpmpp": _dpmpp}
