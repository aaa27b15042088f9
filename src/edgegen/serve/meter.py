"""What a node has done: how busy it was lately, how much energy it took, what it is working on."""

import collections
import dataclasses
from typing import Any

WINDOW_S = 30.0


@dataclasses.dataclass
class _Running:
    model: str
    began_s: float
    step: int
    steps: int


class Meter:
    """Counts one node's work from what its worker reports."""

    def __init__(self, now_s: float):
        self._since_s = now_s
        self._spans: collections.deque[tuple[float, float]] = collections.deque()  # began, ended
        self._running: dict[str, _Running] = {}
        self.energy_j = 0.0
        self.finished = 0

    def progressed(self, identifier: str, model: str, step: int, steps: int, *, now_s: float, step_s: float) -> None:
        """Note a finished step; the first one tells that the work had begun a step earlier."""
        running = self._running.get(identifier)
        if running is None:
            running = self._running[identifier] = _Running(model, now_s - step_s, step, steps)
        running.step = step

    def ended(self, identifier: str, *, now_s: float, busy_s: float | None = None, energy_j: float = 0.0) -> None:
        """Note the end of a piece of work; `busy_s` is None when it did not finish."""
        running = self._running.pop(identifier, None)
        if busy_s is not None:
            self._spans.append((now_s - busy_s, now_s))
            self.finished += 1
            self.energy_j += energy_j
        elif running is not None:
            self._spans.append((running.began_s, now_s))

    def utilisation(self, now_s: float) -> float:
        """Return the busy share of the last half minute, in [0, 1]."""
        from_s = max(now_s - WINDOW_S, self._since_s)
        while self._spans and self._spans[0][1] < from_s:
            self._spans.popleft()
        spans = [*self._spans, *((work.began_s, now_s) for work in self._running.values())]
        busy_s = sum(max(0.0, ended_s - max(began_s, from_s)) for began_s, ended_s in spans)
        return min(1.0, busy_s / (now_s - from_s)) if now_s > from_s else 0.0

    def running(self) -> list[dict[str, Any]]:
        """Return what is worked on now, as the API shows it."""
        return [
            {"id": identifier, "model": work.model, "step": work.step, "steps": work.steps}
            for identifier, work in self._running.items()
        ]
