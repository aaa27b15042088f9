"""The words between the gateway and a worker process: one JSON object per line.

Gateway to worker: `learn`, `load`, `evict`, `start`, `retarget`, `release`, `cancel`, `bye`. Worker to gateway: `hello`, `alive`,
`progress`, `finished`, `failed`, `released`, `loaded`. Imports nothing but the standard library, because a worker has to start quickly.
"""

import base64
import binascii
import dataclasses
import json
from typing import Any

PROTOCOL = 2
_to_json = json.JSONEncoder(separators=(",", ":")).encode  # made once; `json.dumps` would make one per message

MAX_TO_WORKER_BYTES = 4 * 1024 * 1024  # a job may bring its checkpoint, of 2.5 MiB at most
MAX_TO_GATEWAY_BYTES = 12 * 1024 * 1024  # a picture of 1024 pixels, or a preview of it with a checkpoint
MAX_STEPS = 1000  # as many as the HTTP interface takes; a model may take fewer


class LineError(ValueError):
    """What came over the line is no message."""


@dataclasses.dataclass(frozen=True)
class Pace:
    """How long things last on the machine that a worker stands for; 0 means as fast as this machine can."""

    load_s: float = 0.0  # to bring the model into memory
    fixed_s: float = 0.0  # outside of the steps, per picture
    step_s: float = 0.0  # one denoising step


@dataclasses.dataclass(frozen=True)
class Job:
    """One picture to make."""

    id: str
    model: str
    prompt: str
    steps: int
    seed: int
    previews: tuple[int, ...] = ()  # after which steps to send a picture of what is there so far
    pace: Pace = Pace()
    due_s: float | None = None  # from now; those with the least time to spare come first where several wait
    keep_every: int = 0  # steps between the checkpoints that come with progress; 0: none
    checkpoint_b64: str | None = None  # go on from here: what a worker with the same model gave
    request_id: str = ""  # of the HTTP request that it belongs to, for logs
    traceparent: str = ""  # W3C Trace Context, for engines that trace, too; "" when nothing is traced


_JOB_FIELDS = tuple(field.name for field in dataclasses.fields(Job))


@dataclasses.dataclass(frozen=True)
class Progress:
    """A step is done."""

    id: str
    step: int
    steps: int  # in all, as things stand: a picture may be told to finish with another number
    preview_b64: str | None = None  # PNG
    checkpoint_b64: str | None = None  # all that another worker needs to go on after this step


@dataclasses.dataclass(frozen=True)
class Report:
    """A picture is done, and where the time went on the worker."""

    id: str
    png_b64: str
    queue_s: float  # behind other work of this worker
    load_s: float
    generate_s: float
    compute_s: float  # of this machine's processor; less than `generate_s` where the worker is paced
    behind_s: float  # by which it ended later than its pace says: this machine is slower than the declared one


def encode(kind: str, **fields: Any) -> bytes:
    """Return one message as a line."""
    return (_to_json({"type": kind, **fields}) + "\n").encode()


def decode(line: bytes) -> dict[str, Any]:
    """Return the message of a line.

    **Raises** `LineError` for anything but one JSON object with a `type`.
    """
    try:
        message = json.loads(line)
    except ValueError as error:
        raise LineError(f"expected one JSON object per line, got {line[:80]!r}") from error
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise LineError(f"expected a JSON object with a 'type', got {line[:80]!r}")
    return message


def encode_job(job: Job) -> bytes:
    """Return the `start` message of a job."""
    fields = {name: getattr(job, name) for name in _JOB_FIELDS}
    return encode("start", job={**fields, "pace": job.pace.__dict__})


def decode_job(message: dict[str, Any]) -> Job:
    """Return the job of a `start` message."""
    fields = dict(message["job"])
    pace = Pace(**fields.pop("pace"))
    return Job(pace=pace, previews=tuple(fields.pop("previews")), **fields)


def encode_retarget(job_id: str, steps: int) -> bytes:
    """Return the message that lets a picture finish with another number of steps."""
    return encode("retarget", id=job_id, steps=steps)


def decode_retarget(message: dict[str, Any]) -> tuple[str, int]:
    """Return the id and the steps of a `retarget` message.

    **Raises** `LineError` when they are none.
    """
    job_id, steps = message.get("id"), message.get("steps")
    if not isinstance(job_id, str) or type(steps) is not int or not 1 <= steps <= MAX_STEPS:
        raise LineError(f"expected a retarget with an id and steps from 1 to {MAX_STEPS}, got {job_id!r}, {steps!r}")
    return job_id, steps


def decode_release(message: dict[str, Any]) -> str:
    """Return the id of a `release` message. **Raises** `LineError` when there is none."""
    job_id = message.get("id")
    if not isinstance(job_id, str):
        raise LineError(f"expected a release with an id, got {job_id!r}")
    return job_id


def pack(data: bytes) -> str:
    """Return bytes as the text that messages carry."""
    return base64.b64encode(data).decode()


def unpack(text: str | None) -> bytes | None:
    """Return the bytes of such a text; None for none, and for what is none."""
    try:
        return None if text is None else base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def load_id(model: str) -> str:
    """Return the id under which the loading of a model fails; ids of pictures have no blanks."""
    return f"load {model}"
