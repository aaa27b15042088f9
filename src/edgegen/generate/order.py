"""Who takes part in the next pass when there are more requests than places: those with the least time to spare.

Slack is the time until a request is due less the time that its remaining steps are predicted to take. What waits loses slack while what
runs keeps it, so an order by slack alone would change places at every pass and finish everything late; what runs is therefore
displaced only by what has less slack by a margin of some passes. Without deadlines it is the order of arrival.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

MARGIN_PASSES = 4.0


class Orderly(Protocol):
    """What has a place in the order."""

    due_s: float | None  # on the engine's clock
    number: int  # of its arrival

    @property
    def remaining(self) -> int:
        """Steps that it still needs."""
        ...


R = TypeVar("R", bound=Orderly)


def slack_s(row: Orderly, now_s: float, pass_s: float) -> float:
    """Seconds to spare if it takes part in every pass from now on; infinite without a deadline."""
    return math.inf if row.due_s is None else row.due_s - now_s - row.remaining * pass_s


def choose(rows: Iterable[R], running: Sequence[R], places: int, now_s: float, pass_s: float) -> list[R]:
    """Choose who takes part in the next pass, in the order of arrival.

    running: those of the last pass that are still there. pass_s: what a pass is predicted to take.
    """
    rows = list(rows)
    if len(rows) <= places:
        return rows
    holders = {row.number for row in running}
    margin_s = MARGIN_PASSES * pass_s

    def rank(row: R) -> tuple[float, bool, int]:
        """Sort by slack, what runs as if it had less; among equals what runs, and then by arrival."""
        holds = row.number in holders
        return slack_s(row, now_s, pass_s) - (margin_s if holds else 0.0), not holds, row.number

    return sorted(sorted(rows, key=rank)[:places], key=lambda row: row.number)
