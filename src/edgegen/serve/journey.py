"""The way of one picture: up to the node, through its worker, down to the device; and what it took."""

import abc
import asyncio
import base64
import dataclasses
import math
from collections.abc import Callable

from edgegen.dispatch.fleet import Fleet, NodeSpec
from edgegen.dispatch.messages import Kept, Request, Retarget, Split, Start
from edgegen.serve.emulate import Radio
from edgegen.serve.store import Record, Spent
from edgegen.serve.workers import patience
from edgegen.serve.workers.messages import Job, Pace, Progress, Report
from edgegen.serve.workers.protocol import AbstractWorker, OnProgress, ReleasedError


@dataclasses.dataclass(frozen=True)
class Carried:
    """A checkpoint that goes with a picture from node to node."""

    model: str
    step: int  # that are done in it
    data_b64: str
    steps: int = -1  # that it was to have in all; -1 where nobody knows any more

    @property
    def kept(self) -> Kept:
        """What the dispatcher knows of it."""
        return Kept(self.model, self.step, self.steps, bits=6.0 * len(self.data_b64))


class AbstractKeeper(abc.ABC):
    """Keeps what survives of a picture when whoever makes it does not. `every`: steps between checkpoints; 0: none."""

    every: int = 0

    @abc.abstractmethod
    def started(self, record: Record, start: Start) -> None:
        """A picture goes to a node."""

    @abc.abstractmethod
    def progressed(self, record: Record, progress: Progress) -> None:
        """A step is done; a checkpoint may have come with it."""

    @abc.abstractmethod
    def latest(self) -> Carried | None:
        """Return the checkpoint that an earlier life of the gateway left behind."""


@dataclasses.dataclass
class Ticket:
    """A picture that somebody waits for."""

    record: Record
    done: asyncio.Future[Record]
    partial_images: int = 0
    # PNG in base64; None at the end
    previews: asyncio.Queue[str | None] = dataclasses.field(default_factory=asyncio.Queue)
    travelling: asyncio.Task[None] | None = None
    changes: list[Retarget] = dataclasses.field(default_factory=list)  # of this attempt, in order
    keeper: AbstractKeeper | None = None
    carried: Carried | None = None  # its latest checkpoint
    uploaded_s: float = 0.0  # how long the upload of this attempt took; 0 until it is over
    step: int = 0  # the latest that is known to be done, in whichever attempt
    leaving: bool = False  # its worker was asked for it: the gateway is closing, and another one goes on with it

    @property
    def id(self) -> str:
        """The picture's id."""
        return self.record.id


@dataclasses.dataclass(frozen=True)
class Arrival:
    """A picture on the device, and where its time went. Waiting is what the gateway's total leaves over."""

    png: bytes
    report: Report
    upload_s: float
    download_s: float


class Roads:
    """All links and workers of a fleet."""

    def __init__(self, fleet: Fleet, workers: dict[str, AbstractWorker], now_s: Callable[[], float]):
        self._now_s = now_s
        self.nodes: dict[str, NodeSpec] = {node.name: node for node in fleet.nodes}
        self.workers = workers
        self._radios = {name: Radio() for name in self.nodes}

    async def travel(self, ticket: Ticket, start: Start, on_progress: OnProgress) -> Arrival:
        """Make a picture as the dispatcher said. Cancelling stops the work at its next step."""
        request = ticket.record.request
        upload_s = download_s = 0.0
        radio, path = self._radios[start.node], None
        if start.node != request.origin:
            path = self.nodes[start.node].link.through(self.nodes[request.origin].link)
            bits = request.input_bits + (ticket.carried.kept.bits if start.from_step and ticket.carried else 0.0)
            upload_s = ticket.uploaded_s = await radio.upload(path, bits, start.uplink_share)
        if ticket.leaving:  # its worker has never heard of it
            raise ReleasedError(start.from_step, None)
        steps = ticket.changes[-1].steps if ticket.changes else start.steps
        job = self._job(ticket, dataclasses.replace(start, steps=steps))
        worker = self.workers[start.node]
        report = await patience.run(worker, job, on_progress, predicted_s=start.predicted.total_s)
        if path is not None:
            download_s = await radio.download(path, request.output_bits, start.downlink_share)
        return Arrival(base64.b64decode(report.png_b64), report, upload_s, download_s)

    def _left_s(self, request: Request) -> float | None:
        left_s = request.arrived_s + request.limits.deadline_s - self._now_s()
        return left_s if math.isfinite(left_s) else None

    def _job(self, ticket: Ticket, start: Start) -> Job:
        node, pace = self.nodes[start.node], Pace()
        if node.paced:
            pace = Pace(node.speeds[start.model].load_s, start.fixed_s, start.step_s)
        return Job(
            id=start.id,
            model=start.model,
            prompt=ticket.record.request.prompt,
            steps=start.steps,
            seed=start.seed,
            previews=preview_steps(ticket.partial_images, start.steps),
            pace=pace,
            request_id=ticket.record.group,
            traceparent=ticket.record.span.traceparent,
            keep_every=ticket.keeper.every if ticket.keeper else 0,
            checkpoint_b64=_checkpoint(ticket, start),
            due_s=self._left_s(ticket.record.request),
        )

    def know(self, fleet: Fleet) -> None:
        """Take over what nodes can run from now on; they are the same nodes."""
        self.nodes.update({node.name: node for node in fleet.nodes})

    def release(self, job_id: str, node: str) -> None:
        """Let a picture be given back by its node."""
        self.workers[node].release(job_id)

    def retarget(self, ticket: Ticket, change: Retarget) -> None:
        """Let a picture that is on its way finish with another number of steps; its progress tells whether it does."""
        ticket.changes.append(change)  # a picture that has not reached its worker begins with them
        self.workers[change.node].retarget(change.id, change.steps)

    def measured(self, start: Start, origin: str, arrival: Arrival, total_s: float) -> Split:
        """Return where time, energy and money went; energy is declared power times measured time."""
        report = arrival.report
        took = self._took(start, origin, report.generate_s, arrival.upload_s)
        spent_s = arrival.upload_s + report.load_s + report.generate_s + arrival.download_s
        return Split(
            upload_s=arrival.upload_s,
            queue_s=max(0.0, total_s - spent_s),
            load_s=report.load_s,
            generate_s=report.generate_s,
            download_s=arrival.download_s,
            device_energy_j=took.device_energy_j,
            node_energy_j=took.node_energy_j,
            money_usd=took.money_usd,
        )

    def spent(self, ticket: Ticket, slowness: float) -> Spent:
        """Return what the present attempt took so far: the steps that it told of, each as long as its profile says times the slowness.

        A worker that tells no steps is not known to have done any.
        """
        record = ticket.record
        assert record.start is not None
        start, steps = record.start, max(0, ticket.step - record.start.from_step)
        compute_s = slowness * (steps * start.step_s + start.fixed_s / 2) if steps else 0.0
        return self._took(start, record.request.origin, compute_s, ticket.uploaded_s)

    def _took(self, start: Start, origin: str, compute_s: float, upload_s: float) -> Spent:
        node, local = self.nodes[start.node], start.node == origin
        share = start.compute_share if start.compute_share > 0 else 1.0
        work_s = compute_s * share  # at full speed
        device_j = node.power_w * share**2 * work_s  # a clock at the fraction x takes x^3 of the power (DVFS)
        if not local:
            device_j = self.nodes[origin].transmit_power_w * upload_s
        return Spent(
            attempts=1,
            compute_s=compute_s,
            device_energy_j=device_j,
            node_energy_j=0.0 if local else node.power_w * work_s,
            money_usd=0.0 if local else node.price_usd_per_s * work_s,
        )


def _checkpoint(ticket: Ticket, start: Start) -> str | None:
    carried = ticket.carried if start.from_step else None
    return carried.data_b64 if carried and (carried.model, carried.step) == (start.model, start.from_step) else None


def preview_steps(wanted: int, steps: int) -> tuple[int, ...]:
    """Return after which steps to show the picture: spread evenly, the last step only where there are too few."""
    if wanted >= steps:
        return tuple(range(1, steps + 1)) if wanted else ()
    return tuple(max(1, round(steps * (index + 1) / (wanted + 1))) for index in range(wanted))
