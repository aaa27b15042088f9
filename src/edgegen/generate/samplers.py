"""Samplers on plain arrays, for requests that are at different steps of different paths: DDIM, DPM-Solver++ (2M), Euler.

A step of any of them is linear in the latent, the network's answer and the last clean guess, so a path is a table of
weights, computed once in float64, and a batch of rows at different steps of different paths is one multiplication. What a request
must remember between steps is a small ``SamplerState``.

DDIM: Song et al. 2021, arXiv:2010.02502, eq. 12 with eta = 0; on a flow's straight lines it is Euler's method. DPM-Solver++ 2M: Lu
et al. 2022, arXiv:2211.01095, algorithm 2; the first and the last step are of first order, as its authors advise for few steps.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from edgegen.core.errors import InputError, UnknownNameError
from edgegen.generate.schedules import CLEAN_AT, SHIFTED_COSINE, WHOLE_WAY, AbstractSchedule

SAMPLERS = ("ddim", "dpmpp", "euler")
MAX_STEPS = 100
KEPT_PATHS = 4096


def check_steps(steps: int) -> None:
    """Refuse a number of steps that no request can have."""
    if not 1 <= steps <= MAX_STEPS:
        raise InputError(f"steps must be from 1 to {MAX_STEPS}, got {steps}", param="steps")


class Leg(NamedTuple):
    """The path from where the number of steps was last changed; from the start where it never was."""

    done: int = 0  # steps that were done by then
    left: float = WHOLE_WAY  # the latent's position then
    before: float | None = None  # position of the last step before it; None where there was none


WHOLE = Leg()


class Path(NamedTuple):
    """A leg divided into steps."""

    positions: tuple[float, ...]  # where each step begins, and CLEAN_AT
    timesteps: tuple[float, ...]  # what the network is told at each step
    weights: np.ndarray
    """float32[steps, 5]: of latent and answer in the clean guess; of latent, answer and last clean guess in what follows."""


@functools.lru_cache(KEPT_PATHS)
def path(schedule: AbstractSchedule, sampler: str, left: float, before: float | None, steps: int) -> Path:
    """Divide the way from a position into steps of a sampler; `before` is where the last step before it began."""
    positions = (*schedule.spaced(left, steps).tolist(), CLEAN_AT)
    begun = (before, *positions)  # where the step before each one began
    weights = [_weights(schedule, sampler, begun[at], positions[at], positions[at + 1]) for at in range(steps)]
    return Path(positions, tuple(map(schedule.timestep, positions[:-1])), np.array(weights, np.float32))


def _weights(schedule: AbstractSchedule, sampler: str, before: float | None, now: float, then: float) -> tuple:
    scales_now, scales_then = schedule.scales(now), schedule.scales(then)
    clean = schedule.prediction.clean(*scales_now)
    noise = schedule.prediction.noise(*scales_now)
    if sampler == "dpmpp" and before is not None and then != CLEAN_AT:
        return *clean, *_second_order(schedule.scales(before), scales_now, scales_then, clean)
    signal, rest = scales_then
    return *clean, signal * clean[0] + rest * noise[0], signal * clean[1] + rest * noise[1], 0.0


def _second_order(before: tuple, now: tuple, then: tuple, clean: tuple[float, float]) -> tuple[float, float, float]:
    times = [float(np.log(signal) - np.log(rest)) for signal, rest in (before, now, then)]
    width = times[2] - times[1]
    slope = width / (2 * (times[1] - times[0]))
    gain = -then[0] * np.expm1(-width)
    corrected = gain * (1 + slope)
    return then[1] / now[1] + corrected * clean[0], corrected * clean[1], -gain * slope


@dataclass(frozen=True)
class SamplerState:
    """Where one request is: its sampler, its steps, how many are done, and the last clean guess if it is needed."""

    sampler: str
    steps: int
    done: int = 0
    previous: np.ndarray | None = None  # float32[C, H, W], DPM-Solver++ only
    leg: Leg = WHOLE
    schedule: AbstractSchedule = SHIFTED_COSINE

    @staticmethod
    def start(sampler: str, steps: int, schedule: AbstractSchedule = SHIFTED_COSINE) -> SamplerState:
        """Begin; unknown names and impossible numbers of steps are refused."""
        if sampler not in schedule.samplers:
            raise UnknownNameError("sampler", sampler, schedule.samplers, param="sampler")
        check_steps(steps)
        return SamplerState(sampler, steps, schedule=schedule)

    @functools.cached_property
    def path(self) -> Path:
        """The leg that it is on."""
        return path(self.schedule, self.sampler, self.leg.left, self.leg.before, self.steps - self.leg.done)

    @property
    def timestep(self) -> float:
        """What the network must be told next."""
        return self.path.timesteps[self.done - self.leg.done]

    @property
    def weights(self) -> np.ndarray:
        """Of the next step, float32[5]; see `Path`."""
        return self.path.weights[self.done - self.leg.done]

    @property
    def finished(self) -> bool:
        """Whether no step is left."""
        return self.done >= self.steps

    def position_in(self, steps: int) -> float:
        """The position where the latent is in so many steps; in -1, where the last one began; CLEAN_AT after all of them."""
        at = self.done - self.leg.done + steps
        if at < 0 and self.leg.before is not None:
            return self.leg.before  # the last step before the number of steps was changed
        return self.path.positions[min(at, len(self.path.positions) - 1)]

    @property
    def reach(self) -> range:
        """The numbers of steps that it can still be changed to."""
        if self.finished:
            return range(0)
        most = self.done + self.schedule.most_steps(self.position_in(0))
        return range(self.done + 1, min(MAX_STEPS, most) + 1)

    def after_step(self, clean: np.ndarray | None) -> SamplerState:
        """One step further; `clean` is that step's clean guess, float32[C, H, W]."""
        # Its constructor would take a third of the engine's own time; the leg is the same, so the path is kept.
        following = object.__new__(SamplerState)
        following.__dict__.update(self.__dict__, done=self.done + 1, previous=clean)
        return following

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
        return replace(self, steps=steps, leg=Leg(self.done, self.position_in(0), self.position_in(-1)))

    def to_dict(self) -> dict[str, Any]:
        """Give plain values that JSON can hold, without the last clean guess."""
        return {"sampler": self.sampler, "steps": self.steps, "done": self.done, "leg": list(self.leg)}

    @staticmethod
    def from_dict(kept: dict[str, Any], previous: np.ndarray | None, schedule: AbstractSchedule) -> SamplerState:
        """Take back what ``to_dict`` gave, checking that it is a state that a request can be in."""
        done, leg = kept["done"], Leg(*kept["leg"])
        started = SamplerState.start(kept["sampler"], kept["steps"], schedule)
        if not 0 <= leg.done <= done < started.steps or not CLEAN_AT < leg.left <= WHOLE_WAY:
            raise InputError(f"no request is after {done} of {started.steps} steps, with {leg}")
        fresh = (leg.done == 0) == (leg.before is None) == (leg.left == WHOLE_WAY)
        if not fresh or (leg.before is not None and not leg.left < leg.before <= WHOLE_WAY):
            raise InputError(f"no request was changed at {leg}")
        if started.steps - leg.done > schedule.most_steps(leg.left):
            raise InputError(f"{started.steps - leg.done} steps do not fit into {leg}")
        state = replace(started, done=done, leg=leg)
        return replace(state, previous=previous) if state.remembers and done else state

    @property
    def remembers(self) -> bool:
        """Whether a step needs the last one's clean guess."""
        return self.sampler == "dpmpp"


def advance(
    latents: np.ndarray, guess: np.ndarray, states: Sequence[SamplerState]
) -> tuple[np.ndarray, np.ndarray, list[SamplerState]]:
    """Do one step of every row: next latents, clean guesses (both float32[B, C, H, W]), and next states."""
    weights = np.array([state.weights for state in states]).T.reshape(5, len(states), 1, 1, 1)
    clean = weights[0] * latents + weights[1] * guess
    following = weights[2] * latents + weights[3] * guess
    if any(state.previous is not None for state in states):
        nothing = np.zeros_like(latents[0])  # the weight of what a row does not have is 0
        following += weights[4] * np.array([nothing if state.previous is None else state.previous for state in states])
    after = [state.after_step(mine if state.remembers else None) for state, mine in zip(states, clean, strict=True)]
    return following, clean, after


def split(
    latent: np.ndarray, guess: np.ndarray, position: float, schedule: AbstractSchedule = SHIFTED_COSINE
) -> tuple[np.ndarray, np.ndarray]:
    """Turn a network's answer at a position into the clean latent and the noise that it implies."""
    scales = schedule.scales(position)
    of_clean, of_noise = schedule.prediction.clean(*scales), schedule.prediction.noise(*scales)
    return tuple((a * latent + b * guess).astype(np.float32) for a, b in (of_clean, of_noise))  # type: ignore[return-value]
