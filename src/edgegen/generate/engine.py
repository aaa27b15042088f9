"""A step-level engine: requests join and leave between steps, and one forward pass serves them all.

Requests with different step counts, samplers, prompts and guidance share a batch, and a request may change its number of steps
on the way. Each row's arithmetic is its own, so that a picture does not depend on its company.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from edgegen.core.errors import InputError
from edgegen.generate.samplers import SamplerState, advance, timesteps

NO_GUIDANCE = 1.0


class EngineError(InputError):
    """A request that the engine cannot take or does not have."""


class Backend(Protocol):
    """What the engine needs of a model; see ``OnnxBackend``."""

    latent_shape: tuple[int, int, int]

    def encode(self, prompts: list[str]) -> np.ndarray:
        """Turn prompts into text states float32[B, T, D]."""
        ...

    def denoise(self, latents: np.ndarray, timesteps: np.ndarray, text: np.ndarray) -> np.ndarray:
        """Predict v float32[B, C, H, W]."""
        ...

    def decode(self, latents: np.ndarray) -> np.ndarray:
        """Turn latents into pictures uint8[B, side, side, 3]."""
        ...


@dataclass(frozen=True)
class EngineRequest:
    """One picture to make."""

    id: str
    prompt: str
    steps: int
    seed: int = 0
    sampler: str = "ddim"
    guidance: float = NO_GUIDANCE


@dataclass(frozen=True)
class StepEvent:
    """One step of one request is done; the last one carries the picture, uint8[side, side, 3]."""

    id: str
    step: int
    steps: int
    seconds: float  # wall time of the pass that the step shared
    finished: bool
    picture: np.ndarray | None = None


@dataclass
class _Row:
    """A running request: latent and clean guess float32[C, H, W], text states float32[T, D]."""

    request: EngineRequest
    state: SamplerState
    latent: np.ndarray
    text: np.ndarray
    clean: np.ndarray | None = field(default=None)


class Engine:
    """Denoises up to ``max_batch`` requests together; the rest wait in order of arrival."""

    def __init__(self, backend: Backend, max_batch: int = 8) -> None:
        if max_batch < 1:
            raise EngineError(f"max_batch must be >= 1, got {max_batch}")
        self._backend = backend
        self._max_batch = max_batch
        self._rows: OrderedDict[str, _Row] = OrderedDict()
        self._nothing = backend.encode([""])[0]

    def __len__(self) -> int:
        """Count the requests that are running or waiting."""
        return len(self._rows)

    def submit(self, request: EngineRequest) -> None:
        """Take a request; it joins at the next step that has room."""
        if request.id in self._rows:
            raise EngineError(f"request {request.id!r} is already running; ids must differ")
        if not request.guidance >= NO_GUIDANCE:
            raise EngineError(f"guidance must be >= 1, got {request.guidance}")
        state = SamplerState.start(request.sampler, request.steps)
        text = self._backend.encode([request.prompt])[0]
        latent = np.random.default_rng(request.seed).standard_normal(self._backend.latent_shape, np.float32)
        self._rows[request.id] = _Row(request, state, latent, text)

    def cancel(self, name: str) -> bool:
        """Drop a request, by its id, before its next step; tell whether it was there."""
        return self._rows.pop(name, None) is not None

    def retarget(self, name: str, steps: int) -> bool:
        """Let a request finish with another number of steps in all; its next step is the first that differs.

        Tells whether it will: a request that is unknown or too far on keeps its steps. **Raises** `InputError` for a
        number that no request can have.
        """
        timesteps(steps)
        row = self._rows.get(name)
        if row is None or steps not in row.state.reach:
            return False
        row.state = row.state.retarget(steps)
        return True

    def preview(self, name: str) -> np.ndarray:
        """Decode what a request's picture looks like so far, uint8[side, side, 3]."""
        row = self._rows.get(name)
        if row is None:
            raise EngineError(f"no request {name!r} is running")
        guess = row.latent if row.clean is None else row.clean
        return self._backend.decode(guess[None])[0]

    def step(self) -> list[StepEvent]:
        """Do one step of the first ``max_batch`` requests in one forward pass."""
        rows = list(self._rows.values())[: self._max_batch]
        if not rows:
            return []
        began = time.perf_counter()
        latents = np.stack([row.latent for row in rows])
        guess = self._guess(rows, latents)
        latents, clean, states = advance(latents, guess, [row.state for row in rows])
        for row, latent, guessed, state in zip(rows, latents, clean, states, strict=True):
            row.latent, row.clean, row.state = latent, guessed, state
        done = [row for row in rows if row.state.finished]
        pictures = self._backend.decode(np.stack([row.latent for row in done])) if done else ()
        finished = {row.request.id: picture for row, picture in zip(done, pictures, strict=True)}
        for name in finished:
            del self._rows[name]
        seconds = time.perf_counter() - began
        return [_event(row, seconds, finished) for row in rows]

    def _guess(self, rows: list[_Row], latents: np.ndarray) -> np.ndarray:
        """Predict v for every row; guided rows ask a second time, without their prompt, in the same pass."""
        guided = [at for at, row in enumerate(rows) if row.request.guidance > NO_GUIDANCE]
        text = [row.text for row in rows] + [self._nothing] * len(guided)
        steps = np.array([row.state.timestep for row in rows], np.int64)
        both = self._backend.denoise(
            np.concatenate([latents, latents[guided]]), np.concatenate([steps, steps[guided]]), np.stack(text)
        )
        guess, free = both[: len(rows)].copy(), both[len(rows) :]
        for at, plain in zip(guided, free, strict=True):
            guess[at] = plain + rows[at].request.guidance * (guess[at] - plain)
        return guess


def _event(row: _Row, seconds: float, finished: dict[str, np.ndarray]) -> StepEvent:
    name = row.request.id
    return StepEvent(name, row.state.done, row.state.steps, seconds, name in finished, finished.get(name))
