"""What is under way: which request runs where, how far it is, and what every node has promised."""

import collections
import dataclasses
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np

from edgegen.core.errors import InputError
from edgegen.core.state import LOCAL
from edgegen.dispatch.catalog import Catalog, NodeLoad, TaskRow
from edgegen.dispatch.fleet import NodeSpec, Speed
from edgegen.dispatch.messages import Kept, Progressed, Retarget, Split, Start
from edgegen.dispatch.slowness import Slowness

WINDOW_S = 30.0  # utilisation looks back this far


@dataclasses.dataclass
class Run:
    """A started request."""

    row: TaskRow
    start: Start  # with the number of steps that it will end with, as far as is known
    started_s: float
    air_s: float = 0.0  # how long its picture takes the downlink
    step: int = 0
    since_s: float = 0.0  # when the last thing happened: it got its turn after its upload, or finished a step
    slow: float = 1.0  # by which its node takes longer than the profile says
    kept: Kept | None = None  # the latest checkpoint, if any was made
    leaving: bool = False  # it was asked to leave the node
    asked: dict[int, Start] = dataclasses.field(default_factory=dict)  # whatever it was told to be, by steps

    @property
    def most_steps(self) -> int:
        """What it was first planned with: time that was not there when it started is better kept for who comes next."""
        return max(self.start.steps, *self.asked, 0)

    @property
    def step_s(self) -> float:
        """Predicted seconds of a step."""
        return self.start.step_s * self.slow

    @property
    def fixed_s(self) -> float:
        """Predicted seconds outside of the steps; half of them before, half after."""
        return self.start.fixed_s * self.slow

    @property
    def waits(self) -> bool:
        """Whether none of the steps that were asked of this node is done."""
        return self.step <= self.start.from_step

    @property
    def generated(self) -> bool:
        """Whether all steps are done; what is left is decoding and the way to the device."""
        return self.step >= self.start.steps

    def hear(self, step: int, steps: int) -> None:
        """A worker finished a step of so many: believe it, unless it may not yet have heard of the last change.

        It cannot obey any more once it has done as many steps as were asked for, or all of its own.
        """
        if steps != self.start.steps and step >= min(steps, self.start.steps):
            self.start = self.asked.get(steps) or dataclasses.replace(self.start, steps=steps)

    @property
    def ready_s(self) -> float:
        """When its upload is over."""
        return self.started_s + self.start.predicted.upload_s

    @property
    def work_s(self) -> float:
        """The predicted seconds of the node's time that it still needs; half of the fixed part comes last."""
        left_s = (self.start.steps - self.step) * self.step_s
        if self.waits:
            return self.start.predicted.load_s + self.fixed_s + left_s
        return self.fixed_s / 2 + left_s

    def free_s(self, free_s: float, now_s: float) -> float:
        """Return when the node is free again if it is free for this run at `free_s`."""
        if self.waits and (free_s > now_s or self.ready_s > now_s):
            return max(free_s, self.ready_s) + self.work_s
        spent_s = max(0.0, now_s - self.since_s)
        if not self.generated:
            # One that is late may end its step at any moment; the steps after that cannot have begun.
            left = max(0, self.start.steps - self.step - 1)
            return free_s + max(self.fixed_s / 2 + left * self.step_s, self.work_s - spent_s)
        return free_s + max(0.0, self.work_s - spent_s)


@dataclasses.dataclass
class NodeBook:
    """One node: alive or not, its models in memory, its runs in the order of their starts."""

    spec: NodeSpec
    alive: bool = False
    resident: set[str] = dataclasses.field(default_factory=set)
    loading: set[str] = dataclasses.field(default_factory=set)
    runs: dict[str, Run] = dataclasses.field(default_factory=dict)
    finished: int = 0
    energy_j: float = 0.0
    spans: collections.deque[tuple[float, float]] = dataclasses.field(default_factory=collections.deque)
    slowness: Slowness = dataclasses.field(default_factory=Slowness)

    def has_room(self, ahead: int) -> bool:
        """Whether another request may be started: few wait for the node's time, and few for its downlink."""
        return self.room(ahead) > 0

    def room(self, ahead: int) -> int:
        """Return how many more requests may be started."""
        if not self.runs:
            return 1 + ahead
        sending = sum(run.generated for run in self.runs.values())
        return 1 + ahead - (len(self.runs) - sending) if sending <= 1 + ahead else 0

    def in_turn(self) -> list[Run]:
        """Return the runs in the order in which the node's compute takes them: what it has begun, then as they were started.

        A worker may take a more urgent one first, so one that was started later may have been begun.
        """
        runs = list(self.runs.values())
        return [run for run in runs if not run.waits] + [run for run in runs if run.waits] if len(runs) > 1 else runs

    def backlog_s(self, now_s: float) -> float:
        """Return when, counted from now, the node's compute will be free of everything that was started on it."""
        free_s = now_s
        for run in self.in_turn():
            free_s = run.free_s(free_s, now_s)
        return free_s - now_s

    def downlink_s(self, now_s: float) -> float:
        """Return when, counted from now, everything that was started will have left the node's downlink."""
        free_s, made_s = 0.0, now_s
        for run in self.in_turn():
            if run.generated:
                free_s = max(free_s, run.since_s + run.fixed_s / 2) + run.air_s
            else:
                made_s = run.free_s(made_s, now_s)
                free_s = max(free_s, made_s) + run.air_s
        return max(0.0, free_s - now_s)

    def still_open(self, now_s: float) -> tuple[float, float, list[tuple[Run, int]]]:
        """Return what a plan can still change about the runs, and when the rest is over.

        (seconds until the compute is free of all else, until the downlink is, open runs); every open run comes with the
        number of its steps that are done or under way.
        """
        free_s, sent_s, busy, found = now_s, now_s, False, []
        for run in self.in_turn():
            begun = run.step + 1 if not run.waits or (not busy and run.since_s <= now_s) else 0
            if run.generated or begun >= run.start.steps or run.row.request.wish.steps is not None:
                made_s = run.since_s + run.fixed_s / 2 if run.generated else run.free_s(free_s, now_s)
                free_s = max(free_s, run.free_s(free_s, now_s))
                sent_s = max(sent_s, made_s) + run.air_s
                busy |= not run.generated
                continue
            if begun:
                first_s = run.start.predicted.load_s + run.fixed_s / 2 if run.waits else 0.0
                free_s += max(0.0, first_s + run.step_s - (now_s - run.since_s))
            busy = True
            found.append((run, begun))
        return free_s - now_s, max(0.0, sent_s - now_s), found

    def squeezed_s(self, now_s: float, offered: Sequence[int]) -> tuple[float, float]:
        """Return until when compute and downlink are busy if every open run finishes as soon as the offered steps let it."""
        free_s, sent_s, found = self.still_open(now_s)
        for run, begun in found:
            first_s = run.fixed_s / 2 if begun else run.start.predicted.load_s + run.fixed_s
            done = max(begun, run.start.from_step)
            fewest = min((steps for steps in offered if steps > done), default=run.start.steps)
            free_s += first_s + (min(fewest, run.start.steps) - done) * run.step_s
            sent_s = max(free_s, sent_s) + run.air_s
        return free_s, sent_s

    def turn_after(self, ended_s: float) -> None:
        """The run in front has left the node's compute: the next one gets its turn now."""
        for run in self.in_turn():
            if not run.generated:
                if run.waits:
                    run.since_s = max(ended_s, run.ready_s)
                return

    def ends_s(self, now_s: float) -> dict[str, float]:
        """Return, by request, the moment at which its picture will have left the downlink, as things stand."""
        free_s, sent_s, ends = now_s, now_s, {}
        for run in self.in_turn():
            made_s = run.since_s + run.fixed_s / 2 if run.generated else run.free_s(free_s, now_s)
            free_s = run.free_s(free_s, now_s)
            ends[run.start.id] = sent_s = max(made_s, sent_s) + run.air_s
        return ends

    def measure(self, run: Run, step: int, now_s: float) -> bool:
        """Learn from a step that is done how fast the node is; return whether predictions change."""
        start, steps = run.start, step - run.step
        expected_s = steps * start.step_s
        if run.waits:  # the time until now holds more than steps
            if start.predicted.load_s > 0 or start.model not in self.resident:
                return False
            expected_s += start.fixed_s / 2
        if not self.slowness.observe(expected_s, now_s - run.since_s, steps=steps):
            return False
        for other in self.runs.values():
            other.slow = self.slowness.factor
        return True

    def book_finished(self, run: Run, actual: Split, now_s: float) -> None:
        """Count what a finished run took."""
        local = self.spec.name == run.row.request.origin
        self.finished += 1
        self.energy_j += actual.device_energy_j if local else actual.node_energy_j
        end_s = now_s - actual.download_s
        self.spans.append((end_s - actual.generate_s, end_s))

    def utilisation(self, now_s: float) -> float:
        """Return the share of the last `WINDOW_S` in which the node generated."""
        begin_s = max(0.0, now_s - WINDOW_S)
        while self.spans and self.spans[0][1] < begin_s:
            self.spans.popleft()
        busy_s = sum(end_s - max(start_s, begin_s) for start_s, end_s in self.spans)
        for run in self.runs.values():
            if not run.waits and not run.generated:
                busy_s += (run.step - run.start.from_step) * run.step_s
        window_s = max(now_s - begin_s, 1e-9)
        return min(1.0, busy_s / window_s)


class Books:
    """The books of all nodes."""

    def __init__(self, catalog: Catalog):
        self.catalog = catalog
        self.nodes = {spec.name: NodeBook(spec) for spec in catalog.fleet.nodes}
        self._servers = [self.nodes[spec.name] for spec in catalog.servers]
        self._devices = [self.nodes[spec.name] for spec in catalog.devices]
        self._where: dict[str, str] = {}

    def turn_to(self, catalog: Catalog) -> None:
        """Go on with a catalog that has more models; what runs goes on as it is."""
        self.catalog = catalog
        for name, book in self.nodes.items():
            book.spec = catalog.nodes[name]
            for run in book.runs.values():
                run.row = catalog.carried_over(run.row)

    def fits(self, node: str, model: str) -> bool:
        """Tell whether a node has memory for a model beside those that it holds or loads."""
        book = self.nodes[node]
        held = {*book.resident, *book.loading, model}
        return sum(self.catalog.model(name).memory_bytes for name in held) <= book.spec.memory_bytes

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._where

    def __len__(self) -> int:
        return len(self._where)

    def node_of(self, request_id: str) -> NodeBook:
        """Return the node that a request was started on."""
        return self.nodes[self._where[request_id]]

    def rooms(self, ahead: int) -> dict[str, int]:
        """Return how many more requests may be started on each node that takes any."""
        rooms = {name: book.room(ahead) for name, book in self.nodes.items() if book.alive}
        return {name: room for name, room in rooms.items() if room > 0}

    def begin(self, row: TaskRow, start: Start, now_s: float) -> None:
        """Book a start."""
        book = self.nodes[start.node]
        half_rtt_s = self.catalog.path(row.request.origin, start.node).rtt_s / 2
        air_s = max(0.0, start.predicted.download_s - half_rtt_s)
        run = Run(row, start, now_s, air_s=air_s, step=start.from_step, slow=book.slowness.factor)
        run.since_s = run.ready_s
        book.runs[start.id] = run
        self._where[start.id] = start.node

    def retarget(self, request_id: str, command: Retarget) -> None:
        """Book that a run is to finish with another number of steps.

        **Raises** `InputError` when it is elsewhere, or has done as many.
        """
        run = self.node_of(request_id).runs[request_id]
        start = run.start
        if command.node != start.node:
            raise InputError(f"{request_id} runs on {start.node!r}, not on {command.node!r}", param="node")
        if run.generated or command.steps <= run.step:
            raise InputError(
                f"expected more than the {run.step} of {start.steps} steps that {request_id} has done and one that has"
                f" not done all of them, got {command.steps}",
                param="steps",
            )
        run.asked[start.steps] = start
        changed = {"steps": command.steps, "quality": command.quality, "predicted": command.predicted}
        run.asked[command.steps] = run.start = dataclasses.replace(start, **changed)

    def progress(self, done: Progressed, now_s: float) -> bool:
        """Note a finished step; return whether the node's compute became free for the next request.

        The steps that the worker says it is going to do tell whether it obeyed a change.
        """
        book, step = self.node_of(done.id), done.step
        run = book.runs[done.id]
        if done.kept_bits is not None and step >= run.step:
            run.kept = Kept(run.start.model, step, run.most_steps, done.kept_bits)
        if step <= run.step:
            return False
        run.hear(step, done.steps)
        book.measure(run, step, now_s)
        run.step, run.since_s = step, now_s
        book.resident.add(run.start.model)
        book.loading.discard(run.start.model)
        if run.generated:
            book.turn_after(now_s)
        return run.generated

    def end(self, request_id: str, now_s: float) -> Run:
        """Take a request out of the books."""
        book = self.node_of(request_id)
        del self._where[request_id]
        run = book.runs.pop(request_id)
        if not run.generated:
            book.turn_after(now_s)
        return run

    def lose(self, node: str) -> list[Run]:
        """Mark a node as gone and return what it was working on."""
        book = self.nodes[node]
        lost = list(book.runs.values())
        for run in lost:
            del self._where[run.start.id]
        book.runs.clear()
        book.resident.clear()
        book.loading.clear()
        book.alive = False
        return lost

    def started(self, now_s: float) -> list[tuple[Run, int]]:
        """Return the runs on servers whose steps a plan can still change, in the order in which each node takes them."""
        return [found for book in self._servers if book.alive for found in book.still_open(now_s)[2]]

    def load(
        self,
        now_s: float,
        ahead: Iterable[tuple[str, float]] = (),
        *,
        runs: Literal["planned", "squeezed", "apart"] = "planned",
    ) -> NodeLoad:
        """Return the nodes' columns of a State.

        ahead: seconds of waiting work by node to count as promised. runs: those whose steps can still change count with
        the steps that they have, with the fewest that they could finish with, or not at all.
        """
        catalog = self.catalog
        live = np.zeros(catalog.node_count, dtype=bool)
        backlog, downlink = np.zeros((2, catalog.node_count))
        resident = np.zeros((catalog.node_count, catalog.model_count), dtype=bool)
        live[LOCAL] = True
        for row, book in enumerate(self._servers, start=1):
            live[row] = book.alive
            if runs == "apart":
                backlog[row], downlink[row], _ = book.still_open(now_s)
            elif runs == "squeezed":
                backlog[row], downlink[row] = book.squeezed_s(now_s, catalog.fleet.steps)
            else:
                backlog[row], downlink[row] = book.backlog_s(now_s), book.downlink_s(now_s)
            for model in book.resident:
                resident[row, catalog.models[model]] = True
        # Row LOCAL speaks for every device: a model counts as loaded there when all devices that have it hold it.
        for name, row in catalog.models.items():
            having = [book for book in self._devices if name in book.spec.speeds]
            resident[LOCAL, row] = bool(having) and all(name in book.resident for book in having)
        slowness = [book.slowness.factor for book in self._servers]
        device_backlog = np.array([book.backlog_s(now_s) for book in self._devices])
        device_live = np.array([book.alive for book in self._devices])
        for node, seconds in ahead:
            if self.nodes[node].spec.tier == "device":
                device_backlog[catalog.device_row(node)] += seconds
            else:
                backlog[catalog.node_row(node)] += seconds
        return NodeLoad(
            live=live,
            backlog_s=backlog,
            downlink_backlog_s=downlink,
            resident=resident,
            device_live=device_live,
            device_backlog_s=device_backlog,
            slowness=(1.0, *slowness, *([1.0] * (catalog.node_count - 1 - len(slowness)))),
            device_slowness=np.array([book.slowness.factor for book in self._devices]),
        )

    def initial_models(self, node: str) -> list[str]:
        """Return the models that a node should hold from the beginning: in its order, as far as its memory goes."""
        spec, free = self.nodes[node].spec, self.nodes[node].spec.memory_bytes
        chosen = []
        for name in spec.speeds:
            needed = self.catalog.model(name).memory_bytes
            if needed <= free:
                chosen.append(name)
                free -= needed
        return chosen

    def room_for(self, node: str, model: str) -> list[str]:
        """Return the models to evict so that another one fits; the largest idle ones first."""
        book = self.nodes[node]
        size = {name: self.catalog.model(name).memory_bytes for name in {*book.resident, model}}
        missing = size[model] + sum(size[name] for name in book.resident) - book.spec.memory_bytes
        in_use = {run.start.model for run in book.runs.values()}
        evicted = []
        for name in sorted(book.resident - in_use - {model}, key=lambda name: (-size[name], name)):
            if missing <= 0:
                break
            evicted.append(name)
            missing -= size[name]
        return evicted

    def snapshot(self, now_s: float, waiting: Iterable[str | None]) -> list[dict]:
        """Return one entry per node, as `/v1/nodes` shows it; `waiting` are the nodes planned for waiting requests."""
        planned = collections.Counter(waiting)
        return [self._entry(book, now_s, planned[name]) for name, book in self.nodes.items()]

    def _entry(self, book: NodeBook, now_s: float, planned: int) -> dict:
        spec = book.spec
        begun = [run for run in book.runs.values() if not run.waits and not run.generated]
        running = [{"id": r.start.id, "model": r.start.model, "step": r.step, "steps": r.start.steps} for r in begun]
        link = {"uplink_bps": spec.link.uplink_bps, "downlink_bps": spec.link.downlink_bps, "rtt_s": spec.link.rtt_s}
        return {
            "name": spec.name,
            "tier": spec.tier,
            "models": list(spec.speeds),
            "resident": sorted(book.resident),
            "queue": sum(not run.generated for run in book.runs.values()) - len(begun) + planned,
            "running": running,
            "backlog_s": book.backlog_s(now_s),
            "utilisation": book.utilisation(now_s),
            "slowness": book.slowness.factor,
            "alive": book.alive,
            "paced": spec.paced,
            "emulated": list(spec.emulated),
            "energy_j": book.energy_j,
            "finished": book.finished,
            "link": {key: value if value < float("inf") else None for key, value in link.items()},
        }


def idle(catalog: Catalog) -> NodeLoad:
    """Return the load of a fleet whose nodes are all there and idle, with the models that they hold from the beginning."""
    books = Books(catalog)
    for name, book in books.nodes.items():
        book.alive = True
        book.resident.update(books.initial_models(name))
    return books.load(0.0)


def speed_at(spec: NodeSpec, model: str, clock: float) -> Speed:
    """Return the times that the profile gives a model on a node whose clock runs at a fraction of its full clock."""
    speed = spec.speeds[model]
    return Speed(speed.step_s / clock, speed.fixed_s / clock, speed.load_s)
