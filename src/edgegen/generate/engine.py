"""A step-level engine: requests join and leave between steps, and one forward pass serves them all.

Requests with different step counts, samplers, prompts and guidance share a batch. Between two steps a request may join, leave, give way to
a more urgent one, change its number of steps, show what it looks like, or be given back as a checkpoint and continued by another
engine with the same model. Each row's arithmetic is its own, so that a picture does not depend on its company.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from edgegen.core.errors import InputError
from edgegen.generate.checkpoint import Checkpoint, CheckpointError, EngineRequest
from edgegen.generate.order import choose
from edgegen.generate.samplers import SamplerState, advance, check_steps
from edgegen.generate.schedules import AbstractSchedule
from edgegen.generate.spending import Account, Meter, Purse, Spent, unmetered

NO_GUIDANCE = 1.0
NOTHING_SPENT = Spent()
RECENT = 0.2  # weight of the last pass in the prediction of the next one's time

__all__ = ["NO_GUIDANCE", "Backend", "Engine", "EngineError", "EngineRequest", "StepEvent"]


class EngineError(InputError):
    """A request that the engine cannot take or does not have."""


class Backend(Protocol):
    """What the engine needs of a model; see ``OnnxBackend``."""

    latent_shape: tuple[int, int, int]

    @property
    def schedule(self) -> AbstractSchedule:
        """Return the noise schedule that the model was trained on."""
        ...

    @property
    def fingerprint(self) -> str:
        """Return what tells this model from any other, by the contents of its files."""
        ...

    def encode(self, prompts: Sequence[str]) -> np.ndarray:
        """Turn prompts into conditions float32[B, ...], whose form is the backend's own affair."""
        ...

    def denoise(self, latents: np.ndarray, timesteps: np.ndarray, text: np.ndarray) -> np.ndarray:
        """Predict float32[B, C, H, W], what the schedule's prediction says; every row has its own timestep."""
        ...

    def decode(self, latents: np.ndarray) -> np.ndarray:
        """Turn latents into pictures uint8[B, side, side, 3]."""
        ...


class StepEvent(NamedTuple):
    """One step of one request is done; the last one carries the picture, uint8[side, side, 3]."""

    id: str
    step: int
    steps: int
    seconds: float  # wall time of the pass that the step shared
    finished: bool
    picture: np.ndarray | None = None
    spent: Spent = NOTHING_SPENT  # by this request, here, so far


@dataclass(eq=False, slots=True)
class _Row:
    """A request that runs or waits: latent and clean guess float32[C, H, W], condition float32[...]."""

    request: EngineRequest
    state: SamplerState
    latent: np.ndarray
    text: np.ndarray
    number: int  # of its arrival
    due_s: float | None
    clean: np.ndarray | None = None
    spent: Spent = NOTHING_SPENT

    @property
    def remaining(self) -> int:
        """Steps that it still needs."""
        return self.state.steps - self.state.done

    @property
    def rows(self) -> int:
        """Rows that it puts into a pass of the network."""
        return 2 if self.request.guidance > NO_GUIDANCE else 1


@dataclass(frozen=True, eq=False)
class _Batch:
    """Rows that share a pass, and what stays the same as long as they are the same.

    text: conditions of the rows, and of nothing for each guided one, float32[B + G, ...]. guided: their places, int[G].
    strength: their guidance, float32[G, 1, 1, 1]. parts: share of each row in the cost of a pass, summing to 1.
    """

    rows: list[_Row]
    text: np.ndarray
    guided: np.ndarray
    strength: np.ndarray
    parts: list[float]

    @staticmethod
    def of(rows: list[_Row], nothing: np.ndarray) -> _Batch:
        """Put rows together."""
        guided = [at for at, row in enumerate(rows) if row.request.guidance > NO_GUIDANCE]
        strength = np.array([rows[at].request.guidance for at in guided], np.float32).reshape(-1, 1, 1, 1)
        text = np.array([row.text for row in rows] + [nothing] * len(guided))
        total = len(rows) + len(guided)
        return _Batch(rows, text, np.array(guided, int), strength, [row.rows / total for row in rows])


class Engine:
    """Denoises up to `max_batch` requests together; the rest wait, and those with the least time to spare go first.

    clock: seconds; deadlines are moments on it. meter: joules; see `generate.spending`. nothing: the condition of the empty prompt,
    float32[...], where it is known already.
    """

    def __init__(
        self,
        backend: Backend,
        max_batch: int = 8,
        *,
        clock: Callable[[], float] = time.monotonic,
        meter: Meter = unmetered,
        nothing: np.ndarray | None = None,
    ) -> None:
        if max_batch < 1:
            raise EngineError(f"max_batch must be >= 1, got {max_batch}")
        self._backend = backend
        self._max_batch = max_batch
        self._rows: dict[str, _Row] = {}
        self._running: list[_Row] = []
        self._batch: _Batch | None = None
        self._latents = np.empty(
            (0, *backend.latent_shape), np.float32
        )  # of the last pass, while its rows are the same
        self._arrived = 0
        self._nothing = backend.encode([""])[0] if nothing is None else nothing
        self._clock, self._meter = clock, meter
        self._pass_s = 0.0  # predicted; nothing is known before the first pass
        self._purse = Purse(clock, meter)

    def __len__(self) -> int:
        """Count the requests that are running or waiting."""
        return len(self._rows)

    @property
    def account(self) -> Account:
        """Where time and energy went: busy is the sum of what requests spent, finished, running and given up."""
        return self._purse.account

    @property
    def pass_s(self) -> float:
        """Seconds that the next pass is predicted to take; 0 before the first one."""
        return self._pass_s

    def another(self, max_batch: int) -> Engine:
        """Return an empty engine on the same model that shares no passes with this one."""
        return Engine(self._backend, max_batch, clock=self._clock, meter=self._meter, nothing=self._nothing)

    def submit(self, request: EngineRequest, *, due_s: float | None = None) -> None:
        """Take a request; it joins at the next step that has room. `due_s` is a moment on the engine's clock."""
        state = SamplerState.start(request.sampler, request.steps, self._backend.schedule)
        latent = np.random.default_rng(request.seed).standard_normal(self._backend.latent_shape, np.float32)
        self._take(request, state, latent, None, due_s)

    def resume(self, checkpoint: Checkpoint, *, name: str | None = None, due_s: float | None = None) -> None:
        """Go on with a request where another engine stopped; `name` is its id here.

        **Raises** `CheckpointError` for another model's, and for a state that no request of this model can be in.
        """
        if checkpoint.model != self._backend.fingerprint:
            raise CheckpointError(
                f"a checkpoint of model {checkpoint.model!r} cannot be continued with {self._backend.fingerprint!r}:"
                " give it to an engine with the same weights, or start the picture anew"
            )
        if checkpoint.latent.shape != tuple(self._backend.latent_shape):
            raise CheckpointError(
                f"latents of shape {checkpoint.latent.shape} do not fit; this model's are {self._backend.latent_shape}"
            )
        try:
            state = SamplerState.from_dict(checkpoint.state, checkpoint.clean, self._backend.schedule)
        except InputError as error:
            raise CheckpointError(f"a checkpoint that no request can have left: {error}") from error
        if (checkpoint.clean is None) != (state.done == 0):
            raise CheckpointError("a clean guess is kept after the first step, and only then")
        request = checkpoint.request
        if name is not None:
            request = EngineRequest(
                name, request.prompt, request.steps, request.seed, request.sampler, request.guidance
            )
        self._take(request, state, checkpoint.latent, checkpoint.clean, due_s)

    def cancel(self, name: str) -> bool:
        """Drop a request, by its id, before its next step; tell whether it was there."""
        row = self._rows.pop(name, None)
        if row is None:
            return False
        self._purse.give_up(row.spent)
        self._running = [other for other in self._running if other is not row]
        return True

    def retarget(self, name: str, steps: int) -> bool:
        """Let a request finish with another number of steps in all; its next step is the first that differs.

        Tells whether it will: a request that is unknown or too far on keeps its steps. **Raises** `InputError` for a
        number that no request can have.
        """
        check_steps(steps)
        row = self._rows.get(name)
        if row is None or steps not in row.state.reach:
            return False
        row.state = row.state.retarget(steps)
        return True

    def progress(self, name: str) -> tuple[int, int]:
        """Return how many steps of a request are done, and how many it has in all."""
        state = self._row(name).state
        return state.done, state.steps

    def preview(self, name: str) -> np.ndarray:
        """Decode what a request's picture looks like so far, uint8[side, side, 3]."""
        row = self._row(name)
        self._purse.begin()
        guess = row.latent if row.clean is None else row.clean
        picture = self._backend.decode(guess[None])[0]
        row.spent = row.spent.plus(self._purse.lap())
        return picture

    def checkpoint(self, name: str) -> Checkpoint:
        """Return all that another engine with the same model needs to go on with a request; it stays here, too."""
        row = self._row(name)
        return Checkpoint(self._backend.fingerprint, row.request, row.state.to_dict(), row.latent, row.clean)

    def step(self) -> list[StepEvent]:
        """Do one step of those who have a place, in one forward pass."""
        if not self._rows:
            return []
        purse = self._purse
        purse.begin()
        rows = choose(self._rows.values(), self._running, self._max_batch, self._clock(), self._pass_s)
        batch = self._batch
        if batch is None or batch.rows != rows:
            batch = self._batch = _Batch.of(rows, self._nothing)
            self._latents = np.array([row.latent for row in rows])
        latents = self._latents
        guess = self._guess(batch, latents)
        latents, clean, states = advance(latents, guess, [row.state for row in rows])
        done = []
        for row, latent, guessed, state in zip(rows, latents, clean, states, strict=True):
            row.latent, row.clean, row.state = latent, guessed, state
            if state.done == state.steps:
                done.append(row)
        self._latents = latents
        passed = purse.lap()
        for row, part in zip(rows, batch.parts, strict=True):
            row.spent = Spent(row.spent[0] + passed[0] * part, row.spent[1] + passed[1] * part)
        pictures = self._finish(done) if done else {}
        self._running = [row for row in rows if row.request.id not in pictures] if done else rows
        self._pass_s += (passed.seconds - self._pass_s) * (RECENT if self._pass_s else 1.0)
        return [_event(row, passed.seconds, pictures) for row in rows]

    def _take(
        self,
        request: EngineRequest,
        state: SamplerState,
        latent: np.ndarray,
        clean: np.ndarray | None,
        due_s: float | None,
    ) -> None:
        if request.id in self._rows:
            raise EngineError(f"request {request.id!r} is already running; ids must differ")
        if not request.guidance >= NO_GUIDANCE:
            raise EngineError(f"guidance must be >= 1, got {request.guidance}")
        self._purse.begin()
        text = self._backend.encode([request.prompt])[0]
        spent = self._purse.lap()
        self._rows[request.id] = _Row(request, state, latent, text, self._arrived, due_s, clean, spent)
        self._arrived += 1

    def _row(self, name: str) -> _Row:
        row = self._rows.get(name)
        if row is None:
            raise EngineError(f"no request {name!r} is running")
        return row

    def _guess(self, batch: _Batch, latents: np.ndarray) -> np.ndarray:
        """Ask the network about every row; guided rows ask a second time, without their prompt, in the same pass."""
        times, guided = np.array([row.state.timestep for row in batch.rows]), batch.guided
        if not len(guided):
            return self._backend.denoise(latents, times, batch.text)
        both = self._backend.denoise(
            np.concatenate([latents, latents[guided]]), np.concatenate([times, times[guided]]), batch.text
        )
        guess, free = both[: len(latents)], both[len(latents) :]
        if len(free) == len(guess):
            return free + batch.strength * (guess - free)
        guess = guess.copy()
        guess[guided] = free + batch.strength * (guess[guided] - free)
        return guess

    def _finish(self, done: list[_Row]) -> dict[str, np.ndarray]:
        """Decode finished rows and let them go; return their pictures by id."""
        pictures = self._backend.decode(np.array([row.latent for row in done]))
        decoded = self._purse.lap().share(1 / len(done))
        for row in done:
            row.spent = row.spent.plus(decoded)
            del self._rows[row.request.id]
        return {row.request.id: picture for row, picture in zip(done, pictures, strict=True)}


def _event(row: _Row, seconds: float, finished: dict[str, np.ndarray]) -> StepEvent:
    name, state = row.request.id, row.state
    return StepEvent(name, state.done, state.steps, seconds, name in finished, finished.get(name), row.spent)
