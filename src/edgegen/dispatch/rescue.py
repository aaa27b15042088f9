"""Started requests that are going to be late: fewer steps, down to the quality that was asked for, or another node.

A plan is about whoever waits. Nobody waits when a machine becomes slow on an idle evening, and a plan that was right when
it was made is not any more. So whatever runs is looked at from time to time with the predictions of that moment.
"""

import abc
import math
from collections.abc import Callable, Iterator, Sequence

from edgegen.dispatch.books import NodeBook, Run
from edgegen.dispatch.catalog import Catalog, TaskRow
from edgegen.dispatch.choices import Option, Table
from edgegen.dispatch.deciding import Choice
from edgegen.dispatch.messages import Command, Kept, Migrate
from edgegen.dispatch.orders import Orders

LOOK_S = 0.1  # between two looks
LATE = 0.02  # of its deadline: later than this is late

Admission = Callable[[TaskRow, float], Table]  # the options of a request that came now
Tabulate = Callable[[Sequence[TaskRow], float, Sequence[str | None], Sequence[tuple[Run, int]]], Table]


class AbstractRescuer(abc.ABC):
    """Looks after what was started."""

    @property
    @abc.abstractmethod
    def watches(self) -> bool:
        """Whether there is anything to look at."""

    @abc.abstractmethod
    def look(self, now_s: float) -> Iterator[Command]:
        """Give orders for those that are going to be late."""


class NoRescuer(AbstractRescuer):
    """Leaves everything as the policy planned it."""

    @property
    def watches(self) -> bool:
        return False

    def look(self, now_s: float) -> Iterator[Command]:
        del now_s
        yield from ()


class Rescuer(AbstractRescuer):
    """Shortens what can be shortened, and moves what would be in time elsewhere."""

    def __init__(self, orders: Orders, admission: Admission, tabulate: Tabulate):
        self._orders, self._books = orders, orders.books
        self._admission, self._tabulate = admission, tabulate
        self._next_s = -math.inf

    @property
    def _catalog(self) -> Catalog:
        return self._books.catalog

    @property
    def watches(self) -> bool:
        return len(self._books) > 0

    def look(self, now_s: float) -> Iterator[Command]:
        if now_s < self._next_s:
            return
        self._next_s = now_s + LOOK_S
        for book in self._books.nodes.values():
            for run, late_s in self._late(book, now_s):
                rescue = list(self._shorten(run, late_s, now_s)) or self._move(book, run, now_s)
                yield from rescue
                if rescue:
                    break  # those behind it gain by it: they are looked at the next time

    def _late(self, book: NodeBook, now_s: float) -> list[tuple[Run, float]]:
        """Return the runs that can still be helped and the seconds by which they would miss their deadlines."""
        found = []
        for request_id, sent_s in book.ends_s(now_s).items() if book.alive and book.runs else ():
            run = book.runs[request_id]
            deadline_s = run.row.request.limits.deadline_s
            due_s = run.row.request.arrived_s + deadline_s
            late_s = sent_s + max(0.0, run.start.predicted.download_s - run.air_s) - due_s
            if late_s > LATE * deadline_s and not run.generated:
                found.append((run, late_s))
        return found

    def _shorten(self, run: Run, late_s: float, now_s: float) -> Iterator[Command]:
        """Finish with the most steps that are in time and keep the quality that was asked for."""
        request, start = run.row.request, run.start
        if request.wish.steps is not None:
            return
        begun = run.step if run.waits and run.since_s > now_s else run.step + 1
        most = start.steps - late_s / run.step_s if run.step_s > 0 else 0
        fitting = [steps for steps in self._catalog.fleet.steps if begun < steps <= most]
        if not fitting:
            return
        table = self._tabulate([], now_s, (), [(run, begun)])
        node, model = self._catalog.node_row(start.node), self._catalog.models[start.model]
        for steps in reversed(fitting):
            option = Option(node, model, self._catalog.step_rows[steps])
            if table.quality(0, option) >= request.limits.min_quality - 1e-9:
                yield from self._orders.retarget(table, 0, Choice(option), run, why=f"{start.node} is late")
                return

    def _move(self, book: NodeBook, run: Run, now_s: float) -> list[Command]:
        """Take it where it would be in time, once."""
        start, kept = run.start, run.kept
        if run.leaving or start.steps - run.step <= 1:
            return []
        row = self._catalog.without(run.row.anew or run.row, book.spec.name)
        if not row.permitted.any():
            return []
        if run.step > 0:
            kept = Kept(start.model, run.step, run.most_steps, kept.bits if kept else 0.0)
        table = self._admission(self._catalog.continued(row, kept) if kept else row, now_s)
        option = table.best(0) if table.feasible(0) else None
        if option is None:
            return []
        run.leaving = True
        to = table.names(0, option)[0]
        reason = f"it would be late on {start.node} and in time on {to}"
        return [Migrate(start.id, start.node, to, reason)]
