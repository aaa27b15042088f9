"""What the dispatcher hears (events) and says (commands), and the request that both are about.

Everything is plain data with names instead of rows, so that a journal line can be read by people.
"""

import dataclasses
import math
from typing import Literal

from edgegen.dispatch.fleet import ModelSpec, Speed


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a request may cost at most and must give at least."""

    deadline_s: float = math.inf  # from arrival to the picture on the device
    min_quality: float = 0.0
    energy_j: float = math.inf  # from the device's battery
    money_usd: float = math.inf


@dataclasses.dataclass(frozen=True)
class Wish:
    """Where and how a request may run. Empty tuples mean: no restriction."""

    models: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    tiers: tuple[str, ...] = ()
    steps: int | None = None
    local_only: bool = False  # privacy: the prompt must not leave the device
    allow_degrade: bool = False  # rather fewer guarantees (late, below the floor) than a refusal


@dataclasses.dataclass(frozen=True)
class Request:
    """One wanted picture."""

    id: str
    number: int  # sequence number of the arrival, for policies that take turns
    prompt: str
    category: str
    origin: str  # name of the device that asks
    arrived_s: float
    input_bits: float
    output_bits: float
    seed: int
    limits: Limits = Limits()
    wish: Wish = Wish()
    weights: tuple[float, float, float, float] = (1.0, 0.3, 0.2, 0.0)  # quality, time, energy, money


@dataclasses.dataclass(frozen=True)
class Split:
    """Where the time, the energy and the money of one request went, predicted or measured."""

    upload_s: float = 0.0
    queue_s: float = 0.0
    load_s: float = 0.0
    generate_s: float = 0.0
    download_s: float = 0.0
    device_energy_j: float = 0.0
    node_energy_j: float = 0.0
    money_usd: float = 0.0

    @property
    def total_s(self) -> float:
        """From the arrival to the picture on the device."""
        return self.upload_s + self.queue_s + self.load_s + self.generate_s + self.download_s


@dataclasses.dataclass(frozen=True)
class Kept:
    """A checkpoint of a request: from it any node with the model can go on."""

    model: str
    step: int  # that are done in it
    steps: int = -1  # that it was to have in all; -1 where nobody knows any more
    bits: float = 0.0  # its size, which is sent to the next node


# Events


@dataclasses.dataclass(frozen=True)
class Arrived:
    """A request came in; one that an earlier life of the gateway began may have a checkpoint."""

    request: Request
    kept: Kept | None = None


@dataclasses.dataclass(frozen=True)
class Progressed:
    """A worker finished a denoising step of `steps` that it is going to do, as things stand."""

    id: str
    step: int
    steps: int
    kept_bits: float | None = None  # the size of the checkpoint after this step, if one was kept


@dataclasses.dataclass(frozen=True)
class Released:
    """A worker gave a request back (`Migrate`); without a checkpoint it starts anew elsewhere."""

    id: str
    kept: Kept | None = None


@dataclasses.dataclass(frozen=True)
class Finished:
    """The picture is on the device that asked."""

    id: str
    actual: Split


@dataclasses.dataclass(frozen=True)
class Failed:
    """A worker could not make the picture. `retry` says whether another node may do better."""

    id: str
    reason: str
    retry: bool


@dataclasses.dataclass(frozen=True)
class Abandoned:
    """Whoever asked went away."""

    id: str


@dataclasses.dataclass(frozen=True)
class NodeJoined:
    """A node can take work (again)."""

    node: str


@dataclasses.dataclass(frozen=True)
class NodeLost:
    """A node is gone; what it was working on is lost."""

    node: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Loaded:
    """A node has brought a model into memory."""

    node: str
    model: str
    seconds: float


@dataclasses.dataclass(frozen=True)
class ModelAdded:
    """There is one more model, behind the others."""

    spec: ModelSpec
    speeds: dict[str, Speed]  # of the nodes that can run it
    categories: tuple[str, ...]  # of prompts, from now on: those of before, and what came with it


@dataclasses.dataclass(frozen=True)
class Tick:
    """Time has passed."""


Event = (
    Arrived | Progressed | Released | Finished | Failed | Abandoned | NodeJoined | NodeLost | Loaded | ModelAdded | Tick
)


# Commands


@dataclasses.dataclass(frozen=True)
class Start:
    """Run a request on a node."""

    id: str
    node: str
    model: str
    steps: int
    seed: int
    attempt: int  # 1 for the first try, 2 after a failure elsewhere
    uplink_share: float
    downlink_share: float
    compute_share: float
    quality: float  # predicted
    predicted: Split  # from the arrival; waiting before the start is part of `queue_s`
    reason: str  # one sentence for people: why there, why so
    step_s: float = 0.0  # of one step at `compute_share`, as the profile says; a paced worker pads each step to this
    fixed_s: float = 0.0  # outside of the steps, as the profile says; a paced worker pads them to this
    from_step: int = 0  # steps that are done: it goes on from the checkpoint after them


@dataclasses.dataclass(frozen=True)
class Retarget:
    """Let a started request finish with another number of steps.

    It may come too late: a worker that has begun as many steps, or its last one, keeps its number. What really happens
    is told by `Progressed.steps`.
    """

    id: str
    node: str
    steps: int  # in all, those that are done included
    quality: float  # predicted
    predicted: Split  # from the arrival, as in `Start`
    reason: str  # one sentence for people


@dataclasses.dataclass(frozen=True)
class Migrate:
    """Take a request away from a node at its next step, with a checkpoint, because it cannot be in time there.

    The worker answers with `Released`, or finishes it where it is when it cannot give it back.
    """

    id: str
    node: str  # where it is
    to: str  # where it could be in time as things stand; where it goes is decided when it has been given back
    reason: str  # one sentence for people


@dataclasses.dataclass(frozen=True)
class Cancel:
    """Stop working on a request at the next step."""

    id: str
    node: str


@dataclasses.dataclass(frozen=True)
class Reject:
    """Refuse a request, or give it up. `offer` is the closest thing that could run (as in a `/v1/plan` answer), or
    None.
    """

    id: str
    code: Literal["infeasible", "busy", "failed"]
    reason: str
    offer: dict | None = None
    retry_after_s: float | None = None


@dataclasses.dataclass(frozen=True)
class Load:
    """Bring a model into a node's memory."""

    node: str
    model: str


@dataclasses.dataclass(frozen=True)
class Evict:
    """Take a model out of a node's memory."""

    node: str
    model: str


Command = Start | Retarget | Migrate | Cancel | Reject | Load | Evict
