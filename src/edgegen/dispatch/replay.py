"""The same dispatcher in virtual time: what a fleet would make of a list of arrivals, before it is live.

Nodes behave as their fleet says: transfers take turns on each link, a node works on one picture at a time in the order
in which they reach it, every step takes its predicted time. Nothing sleeps and nothing is drawn, so the same arrivals
give the same outcomes.
"""

import collections
import dataclasses
import heapq
import itertools
from collections.abc import Callable, Iterable, Sequence

from edgegen.core.policy import AbstractPolicy
from edgegen.dispatch.catalog import Catalog
from edgegen.dispatch.dispatcher import Dispatcher
from edgegen.dispatch.journal import AbstractJournal
from edgegen.dispatch.messages import (
    Abandoned,
    Arrived,
    Cancel,
    Command,
    Event,
    Evict,
    Finished,
    Kept,
    Load,
    Loaded,
    Migrate,
    NodeJoined,
    NodeLost,
    Progressed,
    Reject,
    Released,
    Request,
    Retarget,
    Split,
    Start,
    Tick,
)
from edgegen.dispatch.outcomes import Outcome, summary

__all__ = ["Outcome", "simulate", "summary"]

TICK_S = 0.1


def simulate(
    catalog: Catalog,
    policy: AbstractPolicy,
    arrivals: Iterable[Request],
    *,
    policy_name: str = "policy",
    max_waiting: int = 64,
    ahead: int = 1,
    events: Sequence[tuple[float, Event]] = (),
    journal: AbstractJournal | None = None,
    machines: "Machines | None" = None,
) -> list[Outcome]:
    """Return how every arrival ended, in the order of arrival.

    `events` are what else happens, such as lost nodes; `machines` are not as their profiles say, where that is given.
    """
    dispatcher = Dispatcher(
        catalog, policy, policy_name=policy_name, max_waiting=max_waiting, ahead=ahead, journal=journal
    )
    return _World(dispatcher, list(arrivals), events, machines or Machines()).run()


@dataclasses.dataclass(frozen=True)
class Machines:
    """How the machines differ from what the dispatcher was told: by default in nothing."""

    slowness: Callable[[str, float], float] = lambda node, now_s: 1.0  # of a node at a moment, over its profile
    keep_every: int = 0  # steps between checkpoints that outlive a lost node; 0: none
    checkpoint_bits: float = 4e5


@dataclasses.dataclass
class _Job:
    """A started request on its way through a node."""

    start: Start  # with the number of steps that it is going to do
    request: Request
    began_s: float
    uploaded_s: float = 0.0
    load_s: float = 0.0
    begun: int = 0  # steps, the one in work included
    generated_s: float = 0.0  # spent on it by the node
    leaving: bool = False
    gone: bool = False


@dataclasses.dataclass
class _Node:
    """One machine and its link."""

    resident: set[str] = dataclasses.field(default_factory=set)
    queue: collections.deque[_Job] = dataclasses.field(default_factory=collections.deque)
    working: _Job | None = None
    uplink_free_s: float = 0.0
    downlink_free_s: float = 0.0


class _World:
    """A heap of what happens next."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        arrivals: list[Request],
        events: Sequence[tuple[float, Event]],
        machines: Machines,
    ):
        self.machines = machines
        self.dispatcher = dispatcher
        self.nodes = {name: _Node() for name in self.catalog.nodes}
        self.jobs: dict[str, _Job] = {}
        self.open: dict[str, Request] = {request.id: request for request in arrivals}
        self.order = [request.id for request in arrivals]
        self.outcomes: dict[str, Outcome] = {}
        self.now_s, self.ticking = 0.0, False
        self._heap: list[tuple[float, int, object]] = []
        self._count = itertools.count()
        for name in self.nodes:
            self._at(0.0, NodeJoined(name))
        for request in arrivals:
            self._at(request.arrived_s, Arrived(request))
        for at_s, event in events:
            self._at(at_s, event)

    @property
    def catalog(self) -> Catalog:
        return self.dispatcher.catalog

    def run(self) -> list[Outcome]:
        while self._heap:
            self.now_s, _, happening = heapq.heappop(self._heap)
            if callable(happening):
                happening()
            else:
                self._tell(happening)
            if self.dispatcher.watches and not self.ticking:
                self.ticking = True
                self._at(self.now_s + TICK_S, self._tick)
        return [self.outcomes[request_id] for request_id in self.order]

    def _at(self, when_s: float, happening: object) -> None:
        heapq.heappush(self._heap, (max(when_s, self.now_s), next(self._count), happening))

    def _tick(self) -> None:
        self.ticking = False
        self._tell(Tick())

    def _tell(self, event) -> None:
        if isinstance(event, NodeLost):
            self.nodes[event.node] = _Node()
            for job in self.jobs.values():
                job.gone = job.gone or job.start.node == event.node
        commands = self.dispatcher.handle(event, self.now_s)
        if isinstance(event, Abandoned) and event.id in self.open:
            self._end(event.id, "cancelled", reason="whoever asked went away")
        for command in commands:
            self._obey(command)

    def _obey(self, command: Command) -> None:
        match command:
            case Start():
                self._start(command)
            case Retarget():
                self._retarget(command)
            case Migrate(id):
                self._migrate(self.jobs[id])
            case Cancel(id):
                self.jobs.pop(id).gone = True
            case Reject(id, code, reason):
                self._end(id, code, reason=reason)
            case Load(node, model):
                load_s = self.catalog.nodes[node].speeds[model].load_s
                self._at(self.now_s + load_s, lambda: self._loaded(node, model, load_s))
            case Evict(node, model):
                self.nodes[node].resident.discard(model)

    def _end(self, request_id: str, status, *, job: _Job | None = None, actual=None, reason: str = "") -> None:
        request = self.open.pop(request_id)
        start = job.start if job else None
        self.outcomes[request_id] = Outcome(request, status, self.now_s, start, actual, reason)

    def _loaded(self, node: str, model: str, load_s: float) -> None:
        self.nodes[node].resident.add(model)
        self._tell(Loaded(node, model, load_s))

    # one picture

    def _start(self, start: Start) -> None:
        request, node = self.open[start.id], self.nodes[start.node]
        job = self.jobs[start.id] = _Job(start, request, self.now_s)
        upload_s = start.predicted.upload_s
        begin_s = max(self.now_s, node.uplink_free_s) if upload_s > 0 else self.now_s
        job.uploaded_s = begin_s + upload_s
        if upload_s > 0:
            node.uplink_free_s = job.uploaded_s - self.catalog.path(request.origin, start.node).rtt_s / 2
        self._at(job.uploaded_s, lambda: self._queued(job))

    def _retarget(self, command: Retarget) -> None:
        """Change the steps of a picture as a worker does: neither once as many are begun, nor in the last one."""
        job = self.jobs.get(command.id)
        if job is None or job.start.node != command.node:
            return
        if job.begun < min(job.start.steps, command.steps):
            changed = {"steps": command.steps, "quality": command.quality, "predicted": command.predicted}
            job.start = dataclasses.replace(job.start, **changed)

    def _migrate(self, job: _Job) -> None:
        """Give a picture back: at its next step, or at once where none has begun."""
        job.leaving = True
        if job.begun == 0:
            self._at(self.now_s, lambda: self._released(job, job.start.from_step))

    def _released(self, job: _Job, step: int) -> None:
        if job.gone or job.begun > max(step, 0):
            return
        job.gone, start = True, job.start
        del self.jobs[start.id]
        kept = Kept(start.model, step, start.steps, self.machines.checkpoint_bits) if step else None
        self._tell(Released(start.id, kept))

    def _queued(self, job: _Job) -> None:
        if not job.gone:
            self.nodes[job.start.node].queue.append(job)
            self._next(job.start.node)

    def _next(self, name: str) -> None:
        node = self.nodes[name]
        while node.queue and node.working is None:
            job = node.queue.popleft()
            if not job.gone:
                self._work(node, job)

    def _work(self, node: _Node, job: _Job) -> None:
        start = job.start
        node.working, job.begun = job, start.from_step + 1
        if start.model not in node.resident:
            job.load_s = self.catalog.nodes[start.node].speeds[start.model].load_s
        first_s = job.load_s + self._takes_s(job, start.fixed_s / 2 + start.step_s)
        self._at(self.now_s + first_s, lambda: self._stepped(node, job, job.begun))

    def _takes_s(self, job: _Job, declared_s: float) -> float:
        """Return how long the node takes now for what its profile gives so many seconds, and count it."""
        takes_s = declared_s * self.machines.slowness(job.start.node, self.now_s)
        job.generated_s += takes_s
        return takes_s

    def _stepped(self, node: _Node, job: _Job, step: int) -> None:
        if job.gone:
            self._leave(node, job)
            return
        start, every = job.start, self.machines.keep_every
        node.resident.add(start.model)
        if step < start.steps and job.leaving:
            self._leave(node, job)
            self._released(job, step)
            return
        if step < start.steps:
            job.begun = step + 1
            self._at(self.now_s + self._takes_s(job, start.step_s), lambda: self._stepped(node, job, step + 1))
        else:
            self._at(self.now_s + self._takes_s(job, start.fixed_s / 2), lambda: self._generated(node, job))
        kept_bits = self.machines.checkpoint_bits if every and step % every == 0 else None
        self._tell(Progressed(start.id, step, start.steps, kept_bits))

    def _leave(self, node: _Node, job: _Job) -> None:
        if node.working is job:
            node.working = None
            self._next(job.start.node)

    def _generated(self, node: _Node, job: _Job) -> None:
        self._leave(node, job)
        if job.gone:
            return
        download_s = job.start.predicted.download_s
        begin_s = max(self.now_s, node.downlink_free_s) if download_s > 0 else self.now_s
        if download_s > 0:
            half_rtt_s = self.catalog.path(job.request.origin, job.start.node).rtt_s / 2
            node.downlink_free_s = begin_s + download_s - half_rtt_s
        self._at(begin_s + download_s, lambda: self._arrived(job))

    def _arrived(self, job: _Job) -> None:
        if job.gone:
            return
        del self.jobs[job.start.id]
        actual = self._account(job)
        self._end(job.start.id, "finished", job=job, actual=actual)
        self._tell(Finished(job.start.id, actual))

    def _account(self, job: _Job) -> Split:
        """Return where a picture's time, energy and money went; waiting is what the rest leaves over."""
        start, predicted = job.start, job.start.predicted
        spent_s = predicted.upload_s + job.load_s + job.generated_s + predicted.download_s
        more = job.generated_s / predicted.generate_s if predicted.generate_s > 0 else 1.0
        local = start.node == job.request.origin
        return dataclasses.replace(
            predicted,
            device_energy_j=predicted.device_energy_j * (more if local else 1.0),
            node_energy_j=predicted.node_energy_j * more,
            money_usd=predicted.money_usd * more,
            queue_s=max(0.0, self.now_s - job.request.arrived_s - spent_s),
            load_s=job.load_s,
            generate_s=job.generated_s,
        )
