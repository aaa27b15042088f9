"""The order of work inside a worker: who runs, who waits, and until when the machine it stands for would be busy.

A picture with a pace, and the loading of a model, is a generator that computes and then yields the moment until which it has to
last; `slots` of them run side by side. Pictures without a pace share their passes; see `together`. Where more wait than there is
room for, those with the least time to spare come first.
"""

import dataclasses
import math
import time
from collections.abc import Iterator

from edgegen.serve.workers.aim import Aim
from edgegen.serve.workers.complaint import failed
from edgegen.serve.workers.makers import AbstractMaker
from edgegen.serve.workers.making import Making, released_at
from edgegen.serve.workers.messages import Job, Pace, encode, load_id
from edgegen.serve.workers.paced import Clock, Send, picture
from edgegen.serve.workers.together import Together

TURN_S = 0.0005


@dataclasses.dataclass
class _Piece:
    """Work that has a place at the desk, or waits for one."""

    id: str
    work: Iterator[float]
    making: Making | None = None  # None: the loading of a model
    due_s: float = 0.0  # until when what it computed last has to last

    def slack_s(self, now_s: float) -> float:
        """Seconds to spare if it began now; loading goes first, for whatever needs the model waits for it."""
        if self.making is None:
            return -math.inf
        due_s, job = self.making.due_s, self.making.job
        return math.inf if due_s is None else due_s - now_s - job.pace.fixed_s - job.steps * job.pace.step_s


class Desk:
    """Runs up to `slots` pieces of work side by side, and lets as many pictures share a pass as its maker does."""

    def __init__(self, maker: AbstractMaker, send: Send, *, slots: int = 1, clock: Clock = time.monotonic):
        self._maker, self._send, self._clock = maker, send, clock
        self._slots = slots
        self._waiting: list[_Piece] = []  # in the order in which they came
        self._running: list[_Piece] = []
        self._makings: dict[str, Making] = {}
        self._together = Together(maker, send, clock)

    def start(self, job: Job) -> None:
        """Put a picture at the end of the queue."""
        making = Making(job, self._clock(), Aim(job.steps))
        if job.pace == Pace():
            self._together.add(making)
            return
        self._makings[job.id] = making
        self._waiting.append(_Piece(job.id, picture(making, self._maker, self._send, self._clock), making))

    def retarget(self, job_id: str, steps: int) -> None:
        """Let a picture finish with another number of steps; one that is not here or too far on keeps its own."""
        making = self._makings.get(job_id)
        if making is None:
            self._together.retarget(job_id, steps)
        elif making.token is None:
            making.wanted = steps
        elif making.aim.may_become(steps) and self._maker.retarget(making.token, steps):
            making.aim.steps = steps

    def release(self, job_id: str) -> None:
        """Give a picture back after the step that it is in; one that waits, now; one in its last step is finished."""
        making = self._makings.get(job_id)
        if making is None:
            self._together.release(job_id)
        elif any(piece.id == job_id for piece in self._running):
            making.released = True
        else:
            self._send(released_at(self._maker, making))
            self.cancel(job_id)

    def learn(self, model: str, folder: str) -> None:
        """Note where the files of a new model are."""
        self._maker.learn(model, folder)

    def load(self, model: str, pad_s: float) -> None:
        """Load a model as soon as there is room."""
        self._waiting.append(_Piece(load_id(model), self._load_alone(model, pad_s)))

    def evict(self, model: str) -> None:
        """Take a model out of memory now."""
        self._maker.evict(model)

    def cancel(self, job_id: str) -> None:
        """Stop a piece of work; what is not there needs no stopping."""
        self._together.cancel(job_id)
        self._makings.pop(job_id, None)
        self._waiting = [piece for piece in self._waiting if piece.id != job_id]
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
            if not self._running and not self._together:
                return None
            now_s = self._clock()
            due = [piece for piece in self._running if piece.due_s <= now_s]
            if not due and not self._together:
                return min(piece.due_s for piece in self._running) - now_s
            if now_s >= until_s:
                return 0.0
            for piece in due:
                self._advance(piece)
            self._together.step()

    def _admit(self) -> None:
        while self._waiting and len(self._running) < self._slots:
            now_s = self._clock()
            piece = min(self._waiting, key=lambda waits: waits.slack_s(now_s))  # the first of several
            self._waiting.remove(piece)
            piece.due_s = now_s
            self._running.append(piece)

    def _advance(self, piece: _Piece) -> None:
        try:
            piece.due_s = next(piece.work)
        except StopIteration:
            self._leave(piece)
        except Exception as error:  # whatever a model raises is that picture's failure, not the worker's end
            making = self._makings.get(piece.id)
            self._leave(piece)
            self._send(failed(error, picture=piece.id, request_id=making.job.request_id if making else ""))

    def _leave(self, piece: _Piece) -> None:
        self._running.remove(piece)
        self._makings.pop(piece.id, None)

    def _load_alone(self, model: str, pad_s: float) -> Iterator[float]:
        began_s = self._clock()
        self._maker.load(model)
        yield began_s + pad_s
        self._send(encode("loaded", model=model, seconds=self._clock() - began_s))
