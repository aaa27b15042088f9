"""What is said about jobs, between the tables and those who work with them."""

import dataclasses
from typing import Any, Literal

from edgegen.core.errors import EdgegenError

JobStatus = Literal["waiting", "running", "done", "refused", "failed", "cancelled"]
UNHURRIED_S = 3600.0  # a job without a deadline takes its turn as if it had this one, which is the longest


class KeyReusedError(EdgegenError):
    """An idempotency key came again with another body."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """All that a worker with the same model needs to go on."""

    model: str
    step: int  # steps that are done
    blob: str
    sha256: str


@dataclasses.dataclass(frozen=True)
class Wanted:
    """One picture of a job. Its id and its seed are settled on acceptance."""

    number: int
    id: str
    seed: int
    checkpoint: Checkpoint | None = None
    made: bool = False  # its result is kept


@dataclasses.dataclass(frozen=True)
class Job:
    """An accepted job, as whoever works on it needs it."""

    id: str
    account: str
    body: dict[str, Any]
    created_s: float  # Unix time
    pictures: tuple[Wanted, ...]
    webhook: str | None = None
    takings: int = 0


@dataclasses.dataclass(frozen=True)
class Once:
    """What makes two requests the same: the client's key, and the hash of what it asked for."""

    key: str
    body_sha256: str


@dataclasses.dataclass(frozen=True)
class Attempt:
    """A start of a picture."""

    picture: int
    node: str
    model: str
    steps: int
    done_steps: int
    decision: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Result:
    """A picture that is made and kept."""

    picture: int
    blob: str
    sha256: str
    item: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class End:
    """How a job ends. `told` is what its webhook is told, without its id and time."""

    status: JobStatus
    error: dict[str, Any] | None = None


@dataclasses.dataclass(frozen=True)
class Change:
    """One step in a job's life, written in one transaction or not at all, and told as one event."""

    kind: str
    data: dict[str, Any] = dataclasses.field(default_factory=dict)
    attempt: Attempt | None = None
    checkpoint: tuple[int, Checkpoint] | None = None  # picture, and what is kept of it
    result: Result | None = None
    end: End | None = None


@dataclasses.dataclass(frozen=True)
class Event:
    """A line of a job's story."""

    number: int  # from 1, without gaps
    kind: str
    at_s: float
    data: dict[str, Any]
