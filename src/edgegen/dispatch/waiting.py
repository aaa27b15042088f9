"""The requests that wait for their start, and which of them a plan is about."""

import dataclasses
import math
from collections.abc import Collection, Iterable

from edgegen.dispatch.catalog import TaskRow

PATIENCE = 8  # so often others may overtake a request that waits for a full node; then it goes where there is room
REVIEW_S = 0.25  # the limits of those that no plan is about are looked at this often


@dataclasses.dataclass(eq=False)
class Waiting:
    """An admitted request that has not been started."""

    row: TaskRow
    nodes: frozenset[str]  # that it may run on
    attempt: int = 1
    node: str | None = None  # of the latest plan, or where it was admitted for
    work_s: float = 0.0  # likewise
    held_since_s: float | None = None  # the policy leaves it waiting
    stranded_since_s: float | None = None  # no node that may run it is there
    review_s: float = -math.inf  # when time alone may have changed what is right for it
    overtaken: int = 0  # starts of less urgent requests while it could have been started, too

    @property
    def due_s(self) -> float:
        """The moment of its deadline."""
        return self.row.request.arrived_s + self.row.request.limits.deadline_s

    @property
    def urgency(self) -> tuple[float, int]:
        """What comes first is sorted first: the earlier deadline, then the earlier arrival."""
        return self.due_s, self.row.request.number


def in_reach(waiting: Collection[Waiting], rooms: dict[str, int], least: int) -> list[Waiting]:
    """Return those that a plan is about, in the order given: the most urgent that may run where there is room now.

    `rooms` says how many more requests each node takes; a plan is about `least` requests, or about twice as many as
    could start if those are more. Whoever could not start in any case needs no plan yet.
    """
    reach = max(least, 2 * sum(rooms.values()))
    able = [entry for entry in waiting if not entry.nodes.isdisjoint(rooms)]
    if len(able) <= reach:
        return able
    last = sorted(entry.urgency for entry in able)[reach - 1]
    return [entry for entry in able if entry.urgency <= last]


def count_overtaken(waiting: Iterable[Waiting], started: list[Waiting]) -> None:
    """Note how many less urgent requests were started instead of these."""
    for entry in waiting:
        entry.overtaken += sum(entry.urgency < other.urgency for other in started)
