"""The pure dispatcher: events in, commands out, no clock, no socket, no file.

Late binding: a request waits here until the node that its plan names has room (fewer than `1 + ahead` unfinished
requests); until then the most urgent of those that could start are planned again, together, at every event that
matters. What no option can deliver within its limits is refused at once, with the closest offer. Admission does not ask
the policy; it only counts running pictures with the fewest steps that they could finish with, where the policy may
shorten them.
"""

import collections
import math
from collections.abc import Iterator, Sequence

import numpy as np

from edgegen.core.errors import InputError
from edgegen.core.policy import AbstractPolicy
from edgegen.dispatch.books import Books, Run
from edgegen.dispatch.catalog import Catalog, TaskRow
from edgegen.dispatch.choices import Option, Table
from edgegen.dispatch.deciding import Answer, Choice, Decider, builtin_choice
from edgegen.dispatch.explaining import refusal, verdict
from edgegen.dispatch.fleet import Fleet
from edgegen.dispatch.journal import AbstractJournal, NoJournal, entry
from edgegen.dispatch.messages import (
    Abandoned,
    Arrived,
    Cancel,
    Command,
    Event,
    Failed,
    Finished,
    Kept,
    Load,
    Loaded,
    ModelAdded,
    NodeJoined,
    NodeLost,
    Progressed,
    Reject,
    Released,
    Request,
    Tick,
)
from edgegen.dispatch.orders import Orders
from edgegen.dispatch.rescue import NoRescuer, Rescuer
from edgegen.dispatch.waiting import PATIENCE, REVIEW_S, Waiting, count_overtaken, in_reach

MAX_ATTEMPTS = 3
GRACE = 0.02  # a waiting request is given up when every option breaks its limits by more than this share
HOLD_LIMIT_S = 2.0  # a policy may leave a request waiting for this long
STRANDED_LIMIT_S = 5.0  # how long a request waits for a node that is gone to come back


class Dispatcher:
    """Decide for all waiting requests, and keep the books. Nodes are there once they joined."""

    def __init__(
        self,
        catalog: Catalog,
        policy: AbstractPolicy,
        *,
        policy_name: str = "policy",
        max_waiting: int = 64,
        ahead: int = 1,
        journal: AbstractJournal | None = None,
    ):
        if max_waiting < 1 or ahead < 0:
            raise InputError(f"expected max_waiting >= 1 and ahead >= 0, got {max_waiting} and {ahead}")
        self.books = Books(catalog)
        self.max_waiting, self.ahead = max_waiting, ahead
        self.journal = journal or NoJournal()
        self._orders = Orders(self.books)
        self._rescuer = Rescuer(self._orders, self._admission_table, self._table) if policy.retargets else NoRescuer()
        self._decider = Decider(policy, policy_name)
        self._waiting: dict[str, Waiting] = {}
        self._plan: tuple[Table, Answer] | None = None  # of the event being handled, for the journal
        self._left: dict[str, int] = {}  # how many more requests the nodes took after the last plan
        self._seq = 0
        self._unwritten: collections.deque[tuple] = collections.deque()  # what `entry` takes, one for each event

    @property
    def catalog(self) -> Catalog:
        """The names and rows of this moment."""
        return self.books.catalog

    @property
    def fleet(self) -> Fleet:
        """The machines and models of this moment."""
        return self.catalog.fleet

    @property
    def waiting(self) -> tuple[str, ...]:
        """Ids of the requests that wait for their start, in the order of their arrival."""
        return tuple(self._waiting)

    @property
    def watches(self) -> bool:
        """Whether time alone may change something: somebody waits, or what runs may come to be late."""
        return bool(self._waiting) or self._rescuer.watches

    @property
    def policy_name(self) -> str:
        """The policy that decides."""
        return self._decider.name

    def handle(self, event: Event, now_s: float) -> list[Command]:
        """Take note of an event and return what is to be done, in this order.

        **Raises** `InputError` for an `Arrived` that names what does not exist; nothing has changed then. Events about
        requests that are no longer under way are ignored: they crossed a cancellation.
        """
        commands = self.react(event, now_s)
        self.note()
        return commands

    def react(self, event: Event, now_s: float) -> list[Command]:
        """Do as `handle`, but leave the journal's line to `note`: whoever obeys need not wait for it to be written."""
        self._plan = None
        commands = list(self._react(event, now_s))
        self._seq += 1
        if self.journal.keeps:
            self._unwritten.append((self._seq, now_s, event, commands, self._plan))
        return commands

    def note(self) -> None:
        """Write the lines of all events since the last time, in order. Nothing in them has changed meanwhile."""
        while self._unwritten:
            self.journal.write(entry(*self._unwritten.popleft()))

    def snapshot(self, now_s: float) -> list[dict]:
        """Return one entry per node, as `/v1/nodes` shows it."""
        return self.books.snapshot(now_s, (waiting.node for waiting in self._waiting.values()))

    def explain(
        self, request: Request, now_s: float, *, policy: AbstractPolicy | None = None, policy_name: str = "policy"
    ) -> dict:
        """Return what would be decided for a request that came now, why, and the alternatives; change nothing."""
        decider = self._decider if policy is None else Decider(policy, policy_name)
        row = self.catalog.row(request)
        table = self._admission_table(row, now_s)
        answer = {"policy": decider.name}
        if self._refuses(table):
            option, told = None, {"decision": None, "reason": refusal(table), "offer": table.offer(0)}
        else:
            near, runs = self._reach(), self._open_runs(decider, now_s)
            rows = [waiting.row for waiting in near] + [row]
            full = (
                self._table(rows, now_s, [waiting.node for waiting in near] + [None], runs) if near or runs else table
            )
            choice = decider.choose(full).choices[len(near)]
            if not choice.refused or request.wish.allow_degrade:
                choice = self._unheld(full, len(near), choice, 0.0)
            option, told = choice.option, verdict(table, choice, decider.name)
        return {**answer, **told, "alternatives": table.alternatives(0, option)}

    # events

    def _react(self, event: Event, now_s: float) -> Iterator[Command]:
        match event:
            case Arrived(request, kept):
                yield from self._arrived(request, kept, now_s)
            case Abandoned(id):
                yield from self._abandoned(id, now_s)
            case Progressed(id) | Released(id) | Finished(id) | Failed(id):
                if id in self.books:
                    yield from self._ran(event, now_s)
            case NodeJoined() | NodeLost() | Loaded() | ModelAdded():
                yield from self._changed(event)
                for entry in self._waiting.values():
                    entry.review_s = -math.inf  # this may change what is right for any of them
                yield from self._replan(now_s)
            case Tick():
                yield from self._rescuer.look(now_s)
                if now_s >= min((entry.review_s for entry in self._waiting.values()), default=math.inf):
                    yield from self._replan(now_s)

    def _ran(self, event: Progressed | Released | Finished | Failed, now_s: float) -> Iterator[Command]:
        """Hear about a request that was started; plan when it leaves the node's compute."""
        match event:
            case Progressed():
                if self.books.progress(event, now_s):
                    yield from self._resume(now_s)
            case Released(id, kept):
                node = self.books.node_of(id).spec.name
                run = self.books.end(id, now_s)
                self._wait(self.catalog.without(run.row, node), kept or run.kept, run.start.attempt)
                yield from self._replan(now_s)
            case Finished(id, actual):
                book = self.books.node_of(id)
                book.book_finished(self.books.end(id, now_s), actual, now_s)
                yield from self._resume(now_s)
            case Failed(id, reason, retry):
                node = self.books.node_of(id).spec.name
                yield from self._again(self.books.end(id, now_s), node, reason, retry=retry)
                yield from self._replan(now_s)

    def _changed(self, event: NodeJoined | NodeLost | Loaded | ModelAdded) -> Iterator[Command]:
        """Hear about a node, or about a model on some of them."""
        if isinstance(event, ModelAdded):
            yield from self._added(event)
            return
        book = self.books.nodes[self.catalog.node(event.node).name]
        match event:
            case NodeJoined(node):
                yield from self._joined(node)
            case NodeLost(node, reason):
                for run in self.books.lose(node):
                    yield from self._again(run, node, f"{node} is gone: {reason}", retry=True)
            case Loaded(_, model):
                book.resident.add(self.catalog.model(model).name)
                book.loading.discard(model)

    def _arrived(self, request: Request, kept: Kept | None, now_s: float) -> Iterator[Command]:
        if request.id in self._waiting or request.id in self.books:
            raise InputError(f"a request with the id {request.id!r} is under way already", param="id")
        row = self.catalog.row(request)
        if len(self._waiting) >= self.max_waiting:
            yield Reject(
                request.id,
                "busy",
                f"{len(self._waiting)} requests are waiting, which is the limit; try again later",
                retry_after_s=self._retry_after_s(),
            )
            return
        row = self.catalog.continued(row, kept) if kept else row
        table = self._admission_table(row, now_s)
        if row.anew and self._refuses(table):
            row = row.anew
            table = self._admission_table(row, now_s)
        if self._refuses(table):
            yield self._refusal(table)
            return
        alone = not self._waiting
        entry = self._waiting[request.id] = Waiting(row, self.catalog.nodes_of(row))
        if entry in self._reach():
            yield from self._replan(now_s, table if alone else None)
            return
        # For the others it changes nothing that it waits behind them.
        option = table.best(0)
        assert option is not None
        self._expect(table, 0, entry, option)
        entry.review_s = now_s + min(table.slack_s(0), REVIEW_S)

    def _refusal(self, table: Table) -> Reject:
        request_id = table.rows[0].request.id
        if not table.possible(0):
            return Reject(request_id, "failed", "no node that may run this request is up; try again in a moment")
        return Reject(request_id, "infeasible", refusal(table), offer=table.offer(0))

    def _refuses(self, table: Table) -> bool:
        return not table.possible(0) or not (table.feasible(0) or table.rows[0].request.wish.allow_degrade)

    def _abandoned(self, request_id: str, now_s: float) -> Iterator[Command]:
        if request_id in self.books:
            yield Cancel(request_id, self.books.node_of(request_id).spec.name)
            self.books.end(request_id, now_s)
            yield from self._resume(now_s)
        else:
            self._waiting.pop(request_id, None)

    def _joined(self, node: str) -> Iterator[Command]:
        book = self.books.nodes[node]
        book.alive = True
        for model in self.books.initial_models(node):
            if model not in book.resident and model not in book.loading:
                book.loading.add(model)
                yield Load(node, model)

    def _added(self, event: ModelAdded) -> Iterator[Command]:
        """Go on with one more model; nodes that have room for it load it before somebody asks."""
        self.books.turn_to(Catalog(self.fleet.with_model(event.spec, event.speeds, event.categories)))
        for waits in self._waiting.values():
            waits.row = self.catalog.carried_over(waits.row)
            waits.nodes = self.catalog.nodes_of(waits.row)
        for node in event.speeds:
            book = self.books.nodes[node]
            if book.alive and self.books.fits(node, event.spec.name):
                book.loading.add(event.spec.name)
                yield Load(node, event.spec.name)

    def _again(self, run: Run, node: str, reason: str, *, retry: bool) -> Iterator[Command]:
        """Put a request whose node failed back among the waiting ones, away from that node, or give it up."""
        request, attempt = run.row.request, run.start.attempt
        row = self.catalog.without(run.row, node)
        row = row if row.permitted.any() else row.anew or row
        if not retry or attempt >= MAX_ATTEMPTS or not row.permitted.any():
            tries = "" if attempt == 1 else f" (attempt {attempt})"
            yield Reject(request.id, "failed", f"{node} could not make the picture{tries}: {reason}")
            return
        self._wait(row, run.kept, attempt + 1)

    def _wait(self, row: TaskRow, kept: Kept | None, attempt: int) -> None:
        """Put a request that was started back among the waiting ones, to go on from its checkpoint where it has one."""
        row = self.catalog.continued(row, kept) if kept else row
        self._waiting[row.request.id] = Waiting(row, self.catalog.nodes_of(row), attempt)

    # planning

    def _table(
        self,
        rows: Sequence[TaskRow],
        now_s: float,
        planned: Sequence[str | None] = (),
        runs: Sequence[tuple[Run, int]] = (),
    ) -> Table:
        """Tabulate waiting requests, and after them the started ones whose steps may change."""
        for run, begun in runs:
            left = 0.0 if begun else max(0.0, run.ready_s - now_s) / max(run.start.predicted.upload_s, 1e-9)
            rows = [
                *rows,
                self.catalog.under_way(run.row, run.start, run.most_steps, left * run.row.request.input_bits),
            ]
        planned = [*planned, *(run.start.node for run, _ in runs)]
        load = self.books.load(now_s, runs="apart" if runs else "planned")
        state = self.catalog.state(rows, now_s, load, planned, [float(begun) for _, begun in runs])
        return Table.of(self.catalog, rows, state)

    def _open_runs(self, decider: Decider, now_s: float) -> list[tuple[Run, int]]:
        return self.books.started(now_s) if decider.retargets else []

    def _admission_table(self, row: TaskRow, now_s: float) -> Table:
        """Tabulate the options of a request that just came, behind everything that is more urgent."""
        due_s = row.request.arrived_s + row.request.limits.deadline_s
        ahead = [(w.node, w.work_s) for w in self._waiting.values() if w.node is not None and w.due_s <= due_s]
        runs = "squeezed" if self._decider.retargets else "planned"
        return Table.of(self.catalog, [row], self.catalog.state([row], now_s, self.books.load(now_s, ahead, runs=runs)))

    def _reach(self) -> list[Waiting]:
        """Return those that a plan is about now."""
        rooms = self.books.rooms(self.ahead)
        return in_reach(self._waiting.values(), rooms, self._decider.plans_at_once) if self._waiting else []

    def _resume(self, now_s: float) -> Iterator[Command]:
        """Plan if any node takes more than it did after the last plan, or the policy holds somebody back.

        Nobody else could be started.
        """
        if not self._waiting:
            return
        more = any(room > self._left.get(node, 0) for node, room in self.books.rooms(self.ahead).items())
        if more or any(entry.held_since_s is not None for entry in self._waiting.values()):
            yield from self._replan(now_s)
        else:
            yield from self._look_after(set(), now_s)

    def _replan(self, now_s: float, table: Table | None = None) -> Iterator[Command]:
        """Plan those together that could start, and start what finds room, the most urgent first."""
        near = self._reach()
        if near:
            runs = self._open_runs(self._decider, now_s)
            if table is None or runs:
                table = self._table([entry.row for entry in near], now_s, [entry.node for entry in near], runs)
            answer = self._decider.choose(table)
            self._plan = (table, answer)
            for at, (run, _) in enumerate(runs, start=len(near)):
                yield from self._orders.retarget(table, at, answer.choices[at], run)
            if answer.resident is not None:
                yield from self._orders.keep(table, answer.resident)
            for at in sorted(range(len(near)), key=lambda at: near[at].urgency):
                yield from self._settle(table, at, near[at], answer.choices[at], now_s)
            started = [entry for entry in near if entry.row.request.id in self.books]
            count_overtaken((entry for entry in near if entry.row.request.id in self._waiting), started)
        if self._waiting:
            self._left = self.books.rooms(self.ahead)
            yield from self._look_after({entry.row.request.id for entry in near}, now_s)
        else:
            self._left = {}  # whoever comes next is planned in any case

    def _look_after(self, planned: set[str], now_s: float) -> Iterator[Command]:
        """Give up those that no plan was about and whose limits cannot be met any more."""
        due = [entry for key, entry in self._waiting.items() if key not in planned and entry.review_s <= now_s]
        if due:
            table = self._table([entry.row for entry in due], now_s)
            for at, entry in enumerate(due):
                yield from self._outlive(table, at, entry, now_s)
                entry.review_s = min(entry.review_s, now_s + REVIEW_S)

    def _outlive(self, table: Table, at: int, entry: Waiting, now_s: float) -> Iterator[Command]:
        """Give a waiting request up when its time is over, and note when to look again otherwise."""
        request, entry.review_s = entry.row.request, now_s
        if entry.row.anew and (not table.possible(at) or table.hopeless(at, GRACE)):
            # Going on does not help, wherever it could: what is left is to begin again, at the next look.
            entry.row = entry.row.anew
            entry.nodes = self.catalog.nodes_of(entry.row)
            return
        if not table.possible(at):
            entry.node, entry.work_s = None, 0.0
            entry.stranded_since_s = now_s if entry.stranded_since_s is None else entry.stranded_since_s
            if now_s >= min(entry.stranded_since_s + STRANDED_LIMIT_S, entry.due_s):
                yield self._give_up(request, "failed", "no node that may run this request is up any more")
            return
        entry.stranded_since_s = None
        if table.hopeless(at, GRACE) and not request.wish.allow_degrade:
            yield self._give_up(request, "infeasible", refusal(table, at), offer=table.offer(at))
            return
        entry.review_s = now_s + table.slack_s(at)

    def _settle(self, table: Table, at: int, entry: Waiting, choice: Choice, now_s: float) -> Iterator[Command]:
        """Start, keep or give up one waiting request that was planned."""
        request = entry.row.request
        yield from self._outlive(table, at, entry, now_s)
        if request.id not in self._waiting or not table.possible(at) or entry.row is not table.rows[at]:
            return
        if table.hopeless(at, GRACE):
            choice = builtin_choice(table, at, "its limits cannot be met, so this is the closest that can run")
        elif choice.refused and not request.wish.allow_degrade:
            reason = f"the policy {self.policy_name} refuses it"
            yield self._give_up(request, "infeasible", reason, offer=table.offer(at))
            return
        held_since_s = now_s if entry.held_since_s is None else entry.held_since_s
        entry.held_since_s = held_since_s if choice.option is None else None
        choice = self._unheld(table, at, choice, now_s - held_since_s)
        if entry.overtaken >= PATIENCE:
            choice = self._anywhere(table, at, entry, choice)
        if choice.option is None:
            entry.node, entry.work_s, entry.review_s = None, 0.0, now_s
            return
        self._expect(table, at, entry, choice.option)
        if self._has_room(entry.node):
            del self._waiting[request.id]
            yield from self._orders.start(
                table, at, choice, attempt=entry.attempt, policy=self.policy_name, now_s=now_s
            )

    def _expect(self, table: Table, at: int, entry: Waiting, option: Option) -> None:
        """Note where a waiting request will run, so that those who come count it."""
        entry.node, entry.work_s = table.names(at, option)[0], table.options.work_s.item(at, *option)

    def _has_room(self, node: str | None) -> bool:
        return node is not None and self.books.nodes[node].has_room(self.ahead)

    def _anywhere(self, table: Table, at: int, entry: Waiting, choice: Choice) -> Choice:
        """Choose among the nodes with room for a request that others have overtaken too often.

        A node that is late with its work looks free, and a plan may wait for it again and again.
        """
        if choice.option is not None and self._has_room(table.names(at, choice.option)[0]):
            return choice
        origin = entry.row.request.origin
        names = [origin, *(spec.name for spec in self.catalog.servers)]
        free = np.zeros(table.options.feasible.shape[1], dtype=bool)
        free[: len(names)] = [self._has_room(name) for name in names]
        within = table.options.feasible[at] & free[:, None, None]
        option = table.best(at, within=within)
        if option is None:
            return choice
        note = f"others were started before it {entry.overtaken} times, so it takes what is free"
        return Choice(option, clock=table.options.clock.item(at, *option), note=note)

    def _unheld(self, table: Table, at: int, choice: Choice, held_s: float) -> Choice:
        """Let a policy hold a request for a while; afterwards, and instead of a refusal, choose for it.

        While nothing is under way only time would change, so there is nothing to wait for.
        """
        if choice.option is not None or (not choice.refused and len(self.books) and held_s < HOLD_LIMIT_S):
            return choice
        verb = "refused it" if choice.refused else "left it waiting"
        return builtin_choice(table, at, f"{self.policy_name} {verb}, so the cheapest option was taken")

    def _give_up(self, request: Request, code, reason: str, offer: dict | None = None) -> Reject:
        del self._waiting[request.id]
        return Reject(request.id, code, reason, offer=offer)

    def _retry_after_s(self) -> float:
        """Return when, at the planned pace, half of what waits will have been started."""
        alive = max(1, sum(book.alive for book in self.books.nodes.values()))
        return max(0.5, math.ceil(sum(w.work_s for w in self._waiting.values()) / alive / 2 * 10) / 10)
