"""The order of work inside a worker: who runs, who waits, and until when the machine it stands for would be busy.

Every piece of work is a generator that computes and then yields the moment until which it has to last. So a paced worker
computes at the speed of this machine and answers at the speed of the declared one, and between any two yields work may
join, leave or be cancelled.
"""

import base64
import collections
import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

from edgegen.core.errors import EdgegenError
from edgegen.serve.workers.aim import Aim
from edgegen.serve.workers.complaint import complain
from edgegen.serve.workers.makers import AbstractMaker
from edgegen.serve.workers.messages import Job, encode, load_id

TURN_S = 0.0005
PROGRESS_S = 0.01  # steps that follow each other faster than this are not all told

Clock = Callable[[], float]
Send = Callable[[bytes], None]


@dataclasses.dataclass
class _Piece:
    """Work that has a place at the desk."""

    id: str
    work: Iterator[float]
    due_s: float


@dataclasses.dataclass
class _Making:
    """A picture from its order on; its token is None until its prompt was read, and `wanted` is kept until then."""

    job: Job
    queued_s: float
    aim: Aim
    token: Any = None
    wanted: int | None = None


class Desk:
    """Runs up to `slots` pieces of work side by side, the others wait in the order in which they came."""

    def __init__(self, maker: AbstractMaker, send: Send, *, slots: int = 1, clock: Clock = time.monotonic):
        self._maker, self._send, self._clock = maker, send, clock
        self._slots = slots
        self._waiting: collections.deque[tuple[str, Iterator[float]]] = collections.deque()
        self._running: list[_Piece] = []
        self._makings: dict[str, _Making] = {}

    def start(self, job: Job) -> None:
        """Put a picture at the end of the queue."""
        making = self._makings[job.id] = _Making(job, self._clock(), Aim(job.steps))
        self._waiting.append((job.id, self._picture(making)))

    def retarget(self, job_id: str, steps: int) -> None:
        """Let a picture finish with another number of steps; one that is not here or too far on keeps its own."""
        making = self._makings.get(job_id)
        if making is None:
            return
        if making.token is None:
            making.wanted = steps
        elif making.aim.may_become(steps) and self._maker.retarget(making.token, steps):
            making.aim.steps = steps

    def load(self, model: str, pad_s: float) -> None:
        """Put the loading of a model at the end of the queue."""
        self._waiting.append((load_id(model), self._load_alone(model, pad_s)))

    def evict(self, model: str) -> None:
        """Take a model out of memory now."""
        self._maker.evict(model)

    def cancel(self, job_id: str) -> None:
        """Stop a piece of work; what is not there needs no stopping."""
        self._makings.pop(job_id, None)
        self._waiting = collections.deque(entry for entry in self._waiting if entry[0] != job_id)
        for piece in [piece for piece in self._running if piece.id == job_id]:
            piece.work.close()  # type: ignore[attr-defined]
            self._running.remove(piece)

    def advance(self) -> float | None:
        """Do what is due and return how many seconds there is nothing to do, or None for nothing at all.

        Work that is always due is left after `TURN_S`, so that whoever gives the orders is heard between steps.
        """
        until_s = self._clock() + TURN_S
        while True:
            self._admit()
            if not self._running:
                return None
            now_s = self._clock()
            due = [piece for piece in self._running if piece.due_s <= now_s]
            if not due:
                return min(piece.due_s for piece in self._running) - now_s
            if now_s >= until_s:
                return 0.0
            for piece in due:
                self._advance(piece)

    def _admit(self) -> None:
        while self._waiting and len(self._running) < self._slots:
            job_id, work = self._waiting.popleft()
            self._running.append(_Piece(job_id, work, self._clock()))

    def _advance(self, piece: _Piece) -> None:
        try:
            piece.due_s = next(piece.work)
        except StopIteration:
            self._leave(piece)
        except Exception as error:  # whatever a model raises is that picture's failure, not the worker's end
            making = self._makings.get(piece.id)
            self._leave(piece)
            if not isinstance(error, EdgegenError):
                complain(error, picture=piece.id, request_id=making.job.request_id if making else "")
            reason = str(error) if isinstance(error, EdgegenError) else f"{type(error).__name__}: {error}"
            self._send(encode("failed", id=piece.id, reason=reason, retry=False))

    def _leave(self, piece: _Piece) -> None:
        self._running.remove(piece)
        self._makings.pop(piece.id, None)

    def _load_alone(self, model: str, pad_s: float) -> Iterator[float]:
        began_s = self._clock()
        self._maker.load(model)
        yield began_s + pad_s
        self._send(encode("loaded", model=model, seconds=self._clock() - began_s))

    def _picture(self, making: _Making) -> Iterator[float]:
        """Make one picture: load, read the prompt, step by step, decode; every part lasts as its pace says."""
        maker, clock, job, aim = self._maker, self._clock, making.job, making.aim
        pace = job.pace
        began_s = due_s = clock()
        if not maker.loaded(job.model):
            maker.load(job.model)
            due_s += pace.load_s
            yield due_s
        loaded_s = clock()
        due_s = cursor_s = max(due_s, loaded_s)
        making.token = token = maker.begin(job)
        told_s = loaded_s
        if making.wanted is not None:
            self.retarget(job.id, making.wanted)
        compute_s = clock() - loaded_s
        try:
            cursor_s += pace.fixed_s / 2  # the prompt is read before the steps, the picture decoded after them
            yield cursor_s
            while step := aim.next():
                part_s = clock()
                maker.step(token)
                preview = _text(maker.picture(token)) if step in job.previews else None
                compute_s += clock() - part_s
                cursor_s += pace.step_s
                yield cursor_s
                if preview or step == aim.steps or clock() - told_s >= PROGRESS_S:
                    told_s = clock()
                    self._send(encode("progress", id=job.id, step=step, steps=aim.steps, preview_b64=preview))
            part_s = clock()
            png_b64 = _text(maker.picture(token))
            compute_s += clock() - part_s
            cursor_s += pace.fixed_s / 2
            yield cursor_s
        finally:
            maker.drop(token)
        ended_s, paced_s = clock(), cursor_s - due_s
        behind_s = max(0.0, ended_s - due_s - paced_s) if paced_s else 0.0
        self._send(
            encode(
                "finished",
                id=job.id,
                png_b64=png_b64,
                queue_s=began_s - making.queued_s,
                load_s=loaded_s - began_s,
                generate_s=ended_s - loaded_s,
                compute_s=compute_s,
                behind_s=behind_s,
            )
        )


def _text(png: bytes) -> str:
    return base64.b64encode(png).decode()
