"""The loop around the pure dispatcher: real clocks, workers and waiting clients turn into events, commands into work."""

import asyncio
import collections
import math
import time
from typing import Any

import structlog

from edgegen.core.errors import BusyError, EdgegenError, InfeasibleError, WorkerError
from edgegen.dispatch.dispatcher import Dispatcher
from edgegen.dispatch.messages import (
    Abandoned,
    Arrived,
    Cancel,
    Command,
    Event,
    Evict,
    Failed,
    Finished,
    Load,
    Loaded,
    Migrate,
    ModelAdded,
    NodeJoined,
    NodeLost,
    Progressed,
    Reject,
    Released,
    Request,
    Retarget,
    Start,
    Tick,
)
from edgegen.observe.metrics import Metrics
from edgegen.observe.tracing import NO_SPAN, AbstractSpan
from edgegen.serve.bus import Bus
from edgegen.serve.chores import Chores
from edgegen.serve.chronicle import Chronicle
from edgegen.serve.journey import AbstractKeeper, Carried, Roads, Ticket
from edgegen.serve.store import MAX_RECORDS, Record, Status, Store
from edgegen.serve.teller import Teller
from edgegen.serve.workers.messages import Progress
from edgegen.serve.workers.protocol import AbstractWorker, JobError, ReleasedError, WorkerGoneError

log = structlog.get_logger(__name__)

NODES_EVERY_S = 1.0  # how often the subscribers hear about the nodes
LOADING_S = 60.0  # how long the start waits for models to be in memory


class Runtime:
    """Owns the workers and everything that is under way."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        workers: dict[str, AbstractWorker],
        *,
        teller: Teller,
        write_first: bool = False,
        keep: int = MAX_RECORDS,
        tick_s: float = 0.1,
        tracing: bool = False,
    ):
        self.dispatcher, self.policy = dispatcher, dispatcher.policy_name
        self.store, self.bus, self.metrics = Store(max_records=keep), Bus(), Metrics()
        self.began = time.time()
        self._teller, self._tick_s, self._tracing = teller, tick_s, tracing
        teller.listen(self._decided)
        self._epoch_s = time.monotonic()
        self.roads = Roads(dispatcher.fleet, workers, self.now_s)
        self._tickets: dict[str, Ticket] = {}
        self._events: collections.deque[Event] = collections.deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._feeding = False
        self._write_first = write_first  # the journal's line, before anything is done about an event
        self.chores = Chores()  # telling and counting
        self._chronicle = Chronicle(self.metrics)
        self.accepting = False

    # life

    async def open(self) -> None:
        """Start all workers side by side and let the dispatcher know who is there."""
        opened = await asyncio.gather(*map(self._open_worker, self.roads.workers), return_exceptions=True)
        for failure in filter(None, opened):
            raise failure
        loading = [task for task in self._tasks if task.get_name().startswith("load ")]
        if loading:
            await asyncio.wait(loading, timeout=LOADING_S)
        self._spawn(self._tick(), "ticks")
        self._spawn(self._tell_nodes(), "nodes")
        self.accepting = True

    async def drain(self, grace_s: float) -> None:
        """Take nothing new, wait for what is under way, and fail what takes longer."""
        self.accepting = False
        waiting = [ticket.done for ticket in self._tickets.values()]
        if waiting:
            await asyncio.wait(waiting, timeout=grace_s)
        for ticket in list(self._tickets.values()):
            self._end(ticket, "failed", WorkerError("the gateway is closing"))
        self.bus.close()

    async def close(self) -> None:
        """End everything: nobody waits any more, no task and no worker is left."""
        await self.drain(0.0)
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await asyncio.gather(*(worker.close() for worker in self.roads.workers.values()))
        self.chores.catch_up()
        self._teller.close()

    def now_s(self) -> float:
        """Return the seconds since the gateway began, on a clock that never jumps."""
        return time.monotonic() - self._epoch_s

    # what the outside asks for

    def submit(
        self,
        request: Request,
        *,
        group: str,
        side: int,
        partial_images: int = 0,
        keeper: AbstractKeeper | None = None,
        span: AbstractSpan = NO_SPAN,
    ) -> Ticket:
        """Hand a request to the dispatcher and return the ticket to wait with. `span` is of what it belongs to.

        **Raises** `InputError` when it names what does not exist; every other refusal is the ticket's result.
        """
        if not self.accepting:
            raise WorkerError("the gateway is closing; ask another one")
        record = Record(request, group, self.policy, side)
        if self._tracing:
            record.span = span.child("picture", record.created)
        carried = keeper.latest() if keeper else None
        ticket = Ticket(
            record, asyncio.get_running_loop().create_future(), partial_images, keeper=keeper, carried=carried
        )
        self._tickets[request.id] = ticket
        try:
            self.feed(Arrived(request, carried.kept if carried else None))
        except EdgegenError:
            del self._tickets[request.id]
            raise
        self.store.add(record)
        return ticket

    def abandon(self, ticket: Ticket) -> None:
        """Stop the work for somebody who went away."""
        if ticket.id in self._tickets:
            self.feed(Abandoned(ticket.id))
            self._end(ticket, "cancelled", WorkerError("whoever asked went away"))

    def left_s(self, ticket: Ticket) -> float:
        """Return in how many seconds a picture will be there, as things stand; infinity where nobody has begun it."""
        books, now_s = self.dispatcher.books, self.now_s()
        return books.node_of(ticket.id).ends_s(now_s)[ticket.id] - now_s if ticket.id in books else math.inf

    def ask_back(self, ticket: Ticket) -> None:
        """Take a picture from its worker after its next step, so that its keeper has a checkpoint, and end it.

        One that no worker has is ended at once. Nothing happens where the worker cannot give back.
        """
        start = ticket.record.start
        if start is None or ticket.travelling is None:
            self.abandon(ticket)
        elif ticket.id in self._tickets and not ticket.leaving:
            ticket.leaving = True
            self.roads.release(ticket.id, start.node)

    def ready(self) -> bool:
        """Tell whether a picture could be made now."""
        return self.accepting and any(worker.alive for worker in self.roads.workers.values())

    def add(self, event: ModelAdded, folder: str) -> None:
        """Serve one more model from a folder of this machine, from now on. **Raises** `WorkerError` or `InputError`."""
        if not self.accepting:
            raise WorkerError("the gateway is closing; ask another one")
        fleet = self.dispatcher.fleet.with_model(event.spec, event.speeds, event.categories)
        for node in event.speeds:
            self.roads.workers[node].learn(event.spec.name, folder)
        self.roads.know(fleet)
        self.feed(event)

    # events in, commands out

    def feed(self, event: Event) -> None:
        """Let the dispatcher handle an event and obey what it says; events that follow are handled in turn."""
        self._events.append(event)
        if self._feeding:
            return
        self._feeding = True
        try:
            while self._events:
                self._handle(self._events.popleft())
        finally:
            self._feeding = False

    def _handle(self, event: Event) -> None:
        """Let the dispatcher decide, send the orders out, and write the journal while the workers work."""
        began_s = time.perf_counter()
        commands = self.dispatcher.react(event, self.now_s())
        took_s = time.perf_counter() - began_s
        if self._write_first:
            self.dispatcher.note()
        else:
            self.chores.add(self.dispatcher.note)
        self.chores.add(lambda: self.metrics.decision_s.observe(took_s))
        for command in commands:
            self._obey(command)

    def _obey(self, command: Command) -> None:
        match command:
            case Start():
                self._start(command)
            case Retarget():
                self._retarget(command)
            case Migrate():
                self._migrate(command)
            case Cancel():
                self._cancel(command)
            case Reject():
                self._reject(command)
            case Load():
                self._spawn(self._load(command), f"load {command.model} on {command.node}")
            case Evict():
                self._spawn(self.roads.workers[command.node].evict(command.model), f"evict {command.model}")

    def _start(self, start: Start) -> None:
        ticket = self._tickets.get(start.id)
        if ticket is None:
            return
        if ticket.travelling is not None:  # lost elsewhere; this is the next attempt
            ticket.travelling.cancel()
        self._book_attempt(ticket)
        ticket.changes.clear()
        ticket.uploaded_s, ticket.step = 0.0, start.from_step
        record, node = ticket.record, self.roads.nodes[start.node]
        record.start, record.tier, record.status = start, node.tier, "running"
        record.emulated = node.emulated if node.name != record.request.origin else _local(node.emulated)
        if ticket.keeper is not None:
            ticket.keeper.started(record, start)
        ticket.travelling = self._spawn(self._travel(ticket, start), f"journey of {start.id}")
        now_s = self.now_s()
        # The loop sends the order first, then it comes to this, and so to the journal.
        self.chores.add(lambda: self._chronicle.started(record, start, now_s), soon=True)
        self._publish("decided", record)

    def _retarget(self, change: Retarget) -> None:
        ticket = self._tickets.get(change.id)
        start = ticket.record.start if ticket is not None and ticket.travelling is not None else None
        if ticket is not None and start is not None and start.node == change.node:
            self.roads.retarget(ticket, change)

    def _migrate(self, move: Migrate) -> None:
        ticket = self._tickets.get(move.id)
        if ticket is None or ticket.travelling is None:
            return
        told = {"node": move.node, "to": move.to, "reason": move.reason}
        now_s = self.now_s()
        self.chores.add(lambda: self._chronicle.migrated(ticket.record, told, now_s))
        if self.bus.listeners:
            self.bus.publish("migrated", {**ticket.record.listed(), **told})
        self.roads.release(move.id, move.node)

    def _cancel(self, cancel: Cancel) -> None:
        ticket = self._tickets.get(cancel.id)
        if ticket is not None and ticket.travelling is not None:
            ticket.travelling.cancel()
            ticket.travelling = None

    def _reject(self, reject: Reject) -> None:
        ticket = self._tickets.get(reject.id)
        if ticket is None:
            return
        ticket.record.offer = reject.offer
        self.metrics.refused.labels(reject.code).inc()
        if reject.code == "infeasible":
            self._end(ticket, "refused", InfeasibleError(reject.reason, offer=reject.offer))
        elif reject.code == "busy":
            self._end(ticket, "refused", BusyError(reject.reason, retry_after_s=reject.retry_after_s or 1.0))
        else:
            self._end(ticket, "failed", WorkerError(reject.reason))

    async def _travel(self, ticket: Ticket, start: Start) -> None:
        """Carry one picture through, and tell the dispatcher how it went."""
        request = ticket.record.request
        try:
            arrival = await self.roads.travel(ticket, start, lambda progress: self._progress(ticket, progress))
        except JobError as error:
            self._tell(ticket, "failed", start, error)
            self.feed(Failed(start.id, str(error), retry=error.retry))
            return
        except ReleasedError as error:
            self._released(ticket, start, error)
            return
        except WorkerGoneError as error:  # NodeLost was fed before; what happens next is the dispatcher's to say
            self._tell(ticket, "lost", start, error)
            return
        now_s, record, report = self.now_s(), ticket.record, arrival.report
        actual = self.roads.measured(start, request.origin, arrival, now_s - request.arrived_s)
        record.actual, record.compute_s, record.behind_s = actual, report.compute_s, report.behind_s
        self.store.keep_picture(record, arrival.png)
        self._end(ticket, "finished", None)
        self.feed(Finished(start.id, actual))

    def _released(self, ticket: Ticket, start: Start, given: ReleasedError) -> None:
        """A worker gave a picture back: the dispatcher says where it goes on, unless that is for another gateway."""
        if given.checkpoint_b64:
            self._carry(ticket, Progress(start.id, given.step, start.steps, checkpoint_b64=given.checkpoint_b64))
        ticket.step = max(ticket.step, given.step)
        if ticket.leaving:
            ticket.travelling = None  # it ends with this
            self.abandon(ticket)
            return
        kept = ticket.carried.kept if given.checkpoint_b64 and ticket.carried else None
        self.feed(Released(start.id, kept))

    def _carry(self, ticket: Ticket, progress: Progress) -> None:
        start = ticket.record.start
        if progress.checkpoint_b64 and start is not None:
            ticket.carried = Carried(start.model, progress.step, progress.checkpoint_b64, progress.steps)
        if ticket.keeper is not None:
            ticket.keeper.progressed(ticket.record, progress)

    def _tell(self, ticket: Ticket, what: str, start: Start, error: EdgegenError) -> None:
        now_s, reason = self.now_s(), str(error)
        log.warning("attempt failed", request_id=ticket.record.group, id=ticket.id, node=start.node, reason=reason)
        self.chores.add(lambda: ticket.record.tell(now_s, what, node=start.node, reason=reason))

    def _progress(self, ticket: Ticket, progress: Progress) -> None:
        ticket.step = max(ticket.step, progress.step)
        if progress.preview_b64:
            ticket.previews.put_nowait(progress.preview_b64)
        if ticket.record.start is not None and progress.steps != ticket.record.start.steps:
            self._retargeted(ticket, ticket.record.start.steps, progress)
        if self._tracing:
            ticket.record.steps.append((self.now_s() - ticket.record.request.arrived_s, progress.step))
        self._carry(ticket, progress)
        kept_bits = ticket.carried.kept.bits if progress.checkpoint_b64 and ticket.carried else None
        self.feed(Progressed(progress.id, progress.step, progress.steps, kept_bits))
        if self.bus.listeners:
            shown: dict[str, Any] = {**ticket.record.item(), "step": progress.step, "steps": progress.steps}
            if progress.preview_b64:
                shown["preview_b64"] = progress.preview_b64
            self.bus.publish("progress", shown)

    def _retargeted(self, ticket: Ticket, before: int, progress: Progress) -> None:
        """A worker does another number of steps than it did: from here on the record tells the new one."""
        record, now_s = ticket.record, self.now_s()
        change = next((change for change in reversed(ticket.changes) if change.steps == progress.steps), None)
        record.retarget(progress.steps, change)
        told = {"steps_before": before, "steps": progress.steps, "reason": change.reason if change else None}
        self.chores.add(lambda: self._chronicle.retargeted(record, told, now_s))
        if self.bus.listeners:
            self.bus.publish("retargeted", {**record.listed(), **told, "step": progress.step})

    def _end(self, ticket: Ticket, status: Status, error: EdgegenError | None) -> None:
        """Settle a ticket once and for all."""
        if self._tickets.pop(ticket.id, None) is None:
            return
        record = ticket.record
        if status != "finished":
            self._book_attempt(ticket)
        record.status, record.error = status, str(error) if error else None
        if ticket.travelling is not None and status != "finished":
            ticket.travelling.cancel()
        ticket.previews.put_nowait(None)
        if not ticket.done.done():
            if error is None:
                ticket.done.set_result(record)
            else:
                ticket.done.set_exception(error)
                ticket.done.exception()  # whoever waits gets it; nobody waiting is no mistake
        now_s = self.now_s()
        self.chores.add(lambda: self._chronicle.ended(record, status, now_s))
        self._publish({"cancelled": "failed"}.get(status, status), record)

    def _book_attempt(self, ticket: Ticket) -> None:
        """Count what the attempt that is over took, if there was one, though it brought no picture."""
        start = ticket.record.start
        if start is None:
            return
        spent = self.roads.spent(ticket, self.dispatcher.books.nodes[start.node].slowness.factor)
        ticket.record.before += spent
        self.chores.add(lambda: self._chronicle.spent(start, spent))

    def _publish(self, kind: str, record: Record) -> None:
        if self.bus.listeners:
            self.bus.publish(kind, record.listed())

    # workers

    async def _open_worker(self, name: str) -> None:
        await self.roads.workers[name].open(
            on_lost=lambda reason: self._lost(name, reason), on_joined=lambda: self._joined(name)
        )
        if self.roads.workers[name].alive:  # else it joins later
            self._joined(name)

    def _joined(self, name: str) -> None:
        self.metrics.joined.labels(name).inc()
        self._tell_node("joined", name)
        self.feed(NodeJoined(name))

    def _lost(self, name: str, reason: str) -> None:
        self.metrics.lost.labels(name).inc()
        self._tell_node("lost", name, reason=reason)
        self.feed(NodeLost(name, reason))

    def _tell_node(self, kind: str, name: str, **details: str) -> None:
        if self.bus.listeners:
            self.bus.publish(kind, {"node": name, **details})

    async def _load(self, load: Load) -> None:
        node = self.roads.nodes[load.node]
        pad_s = node.speeds[load.model].load_s if node.paced else 0.0
        try:
            seconds = await self.roads.workers[load.node].load(load.model, pad_s=pad_s)
        except WorkerGoneError:
            return  # NodeLost says it all
        except JobError as error:
            log.error("a model cannot be loaded", node=load.node, model=load.model, reason=str(error))
            return
        self.feed(Loaded(load.node, load.model, seconds))

    async def _tick(self) -> None:
        """Let time pass where it may change something."""
        while True:
            await asyncio.sleep(self._tick_s)
            if self.dispatcher.watches:
                try:
                    self.feed(Tick())
                except Exception as error:  # whoever waits must not wait for ever because of one moment's mistake
                    log.error("a tick failed", exc_info=error)

    async def _tell_nodes(self) -> None:
        while True:
            await asyncio.sleep(NODES_EVERY_S)
            if self.bus.listeners:
                self.bus.publish("nodes", self.nodes())

    def _spawn(self, work, name: str) -> asyncio.Task[None]:
        """Run a coroutine of ours; one that fails unexpectedly says so in the log."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a task of the gateway failed", task=task.get_name(), exc_info=task.exception())

    def nodes(self) -> dict[str, Any]:
        """Return what `/v1/nodes` shows."""
        nodes = self.dispatcher.snapshot(self.now_s())
        return {"data": [{**node, "worker": self.roads.workers[node["name"]].told()} for node in nodes]}

    def _decided(self, now_s: float, decided: dict[str, Any], digest: str) -> None:
        ticket = self._tickets.get(decided["id"])  # it may have ended since
        record = ticket.record if ticket else self.store.get(decided["id"])
        if record is not None:
            shown = {key: value for key, value in decided.items() if key != "id"}
            record.tell_decision(now_s, shown, digest)


def _local(emulated: tuple[str, ...]) -> tuple[str, ...]:
    """Return what is emulated when nothing leaves the device."""
    return tuple(part for part in emulated if part not in ("radio", "wide-area link"))
