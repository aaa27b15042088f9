"""Who may join the waiting queue when it is full: those who were told to come back now, before everybody else.

A 429 with `Retry-After` is true when a place is free at the told moment. Places free up at the pace of the dispatcher's
backlog; each caller who is refused is promised the next ones, in order, and newcomers find the queue full as long as the
free places are promised. Half of the queue can be promised; who is refused past that is told the moment after the last
promise, and may be told again. Pure: the clock is given.
"""

import collections
import dataclasses
import math

from edgegen.core.errors import BusyError
from edgegen.serve.quotas import KEPT_S, whole_s

CAUTION = 1.25  # times the pace is taken to be slower than it looks
SAMPLE_S = 0.25  # between two looks at the pace
SAMPLES = 16  # looks that are remembered
FEWEST = 4  # places that must have become free before the pace is believed


@dataclasses.dataclass(frozen=True)
class _Promise:
    caller: str
    due_s: float
    places: int


class Door:
    """Keeps the promises of one waiting queue. Its memory is bounded by the queue's length."""

    def __init__(self, max_waiting: int):
        self._max_waiting = max_waiting
        self._promises: list[_Promise] = []  # their moments rise
        self._entered = 0
        self._seen: collections.deque[tuple[float, int]] = collections.deque(maxlen=SAMPLES)  # (when, left by then)

    @property
    def promised(self) -> int:
        """Places that are promised."""
        return sum(promise.places for promise in self._promises)

    def enter(self, caller: str, places: int, waiting: int, now_s: float) -> None:
        """Let pictures of a caller go on to the dispatcher, which may still find the queue full.

        **Raises** `BusyError` when what is free is promised to others.
        """
        if self._promises:
            self._promises = [promise for promise in self._promises if promise.due_s + KEPT_S >= now_s]
            own = next((p for p in self._promises if p.caller == caller and p.due_s <= now_s + 1e-6), None)
            if own is not None:
                self._promises.remove(own)
            elif waiting + self.promised + min(places, 1) > self._max_waiting:
                self._watch(waiting, now_s)
                raise self._busy(caller, places, waiting, now_s, math.inf)
        self._entered += places

    def full(self, caller: str, places: int, waiting: int, now_s: float, half_s: float) -> BusyError:
        """Return the refusal for pictures that entered and found the queue full.

        `half_s` is when, by the dispatcher's backlog, half of what waits will have been started.
        """
        self._entered -= places
        self._watch(waiting, now_s)
        return self._busy(caller, places, waiting, now_s, half_s)

    def _busy(self, caller: str, places: int, waiting: int, now_s: float, half_s: float) -> BusyError:
        each_s = CAUTION * self._each_s(waiting, half_s)
        free = max(0, self._max_waiting - waiting)
        missing = max(1, self.promised + places - free)
        last_s = self._promises[-1].due_s if self._promises else -math.inf
        wait_s = whole_s(max(now_s + missing * each_s, last_s) - now_s)
        if self.promised + places <= max(1, self._max_waiting // 2):
            self._promises.append(_Promise(caller, now_s + wait_s, places))
        text = f"{waiting} pictures are waiting" + (
            f" and {self.promised} places are promised" if self.promised else ""
        )
        return BusyError(f"{text}; the limit is {self._max_waiting}, try again later", retry_after_s=float(wait_s))

    def _each_s(self, waiting: int, half_s: float) -> float:
        """Return after how many seconds one more place is free: by the backlog, or as it was lately if that is slower."""
        planned_s = half_s / max(1.0, waiting / 2) if math.isfinite(half_s) else 0.0
        measured_s = 0.0
        if self._seen:
            span_s, left = self._seen[-1][0] - self._seen[0][0], self._seen[-1][1] - self._seen[0][1]
            if left >= FEWEST:
                measured_s = span_s / left
        return max(planned_s, measured_s) or 1.0 / max(1.0, waiting / 2)

    def _watch(self, waiting: int, now_s: float) -> None:
        if not self._seen or now_s - self._seen[-1][0] >= SAMPLE_S:
            self._seen.append((now_s, self._entered - waiting))
