"""The last requests and their pictures, bounded in number and in bytes."""

import collections
import dataclasses
import itertools
import math
import time
from collections.abc import Iterator
from typing import Any, Literal

from edgegen.dispatch.messages import Request, Retarget, Split, Start
from edgegen.observe.tracing import NO_SPAN, AbstractSpan

Status = Literal["waiting", "running", "finished", "failed", "refused", "cancelled"]
ENDED: frozenset[str] = frozenset({"finished", "failed", "refused", "cancelled"})
MAX_RECORDS = 500
MAX_PICTURE_BYTES = 64 * 2**20
MAX_STORY = 200  # lines of one request's story


@dataclasses.dataclass(frozen=True)
class Spent:
    """What attempts took that brought no picture: they failed, were lost with their node, or went on elsewhere."""

    attempts: int = 0
    compute_s: float = 0.0  # of the nodes, for the steps that they told of
    device_energy_j: float = 0.0
    node_energy_j: float = 0.0
    money_usd: float = 0.0

    @property
    def energy_j(self) -> float:
        """Of devices and nodes together."""
        return self.device_energy_j + self.node_energy_j

    def __add__(self, other: "Spent") -> "Spent":
        sums = {name: value + getattr(other, name) for name, value in vars(self).items()}
        return Spent(**sums)


@dataclasses.dataclass
class Record:
    """What is known about one wanted picture."""

    request: Request
    group: str  # id of the HTTP request that it belongs to
    policy: str
    side: int
    created: float = dataclasses.field(default_factory=time.time)  # Unix time
    status: Status = "waiting"
    start: Start | None = None
    tier: str | None = None
    emulated: tuple[str, ...] = ()
    actual: Split | None = None  # of the attempt that brought the picture
    before: Spent = Spent()  # by the attempts before it
    error: str | None = None
    offer: dict[str, Any] | None = None
    png: bytes | None = None
    compute_s: float | None = None  # of this machine's processor
    behind_s: float | None = None  # by which the worker was slower than its pace says
    decision: dict[str, Any] | None = None  # the latest, by name
    digest: str | None = None  # of the State that it was taken on
    story: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    span: AbstractSpan = NO_SPAN  # of the picture, in its request's trace
    steps: list[tuple[float, int]] = dataclasses.field(default_factory=list)  # (s after arrival, step), when traced

    @property
    def id(self) -> str:
        """The picture's id."""
        return self.request.id

    def tell(self, now_s: float, what: str, **details: Any) -> None:
        """Add a line to the story; a story that is too long loses what comes last."""
        if len(self.story) < MAX_STORY:
            self.story.append({"after_s": round(now_s - self.request.arrived_s, 6), "what": what, **details})

    def retarget(self, steps: int, change: Retarget | None) -> None:
        """Note that the picture is going to have another number of steps; `change` is the order behind it, if any."""
        assert self.start is not None
        told = {"quality": change.quality, "predicted": change.predicted} if change else {}
        reason = f"{self.start.reason} {change.reason}" if change else self.start.reason
        self.start = dataclasses.replace(self.start, steps=steps, reason=reason, **told)

    def tell_decision(self, now_s: float, decided: dict[str, Any], digest: str) -> None:
        """Note what was decided and the digest of the State behind it; the same decision again is no news."""
        if self.decision != decided:
            self.decision = decided
            self.tell(now_s, "decided", **decided, state=digest)
        self.digest = digest

    def item(self) -> dict[str, Any]:
        """Return the picture as `Item` of the API."""
        request, start, actual = self.request, self.start, self.actual
        deadline_s = finite(request.limits.deadline_s)
        met = None
        if actual is not None and deadline_s is not None:
            met = actual.total_s <= deadline_s
        return {
            "id": request.id,
            "prompt": request.prompt,
            "category": request.category,
            "node": start.node if start else None,
            "tier": self.tier,
            "model": start.model if start else None,
            "steps": start.steps if start else None,
            "seed": request.seed,
            "origin": request.origin,
            "reason": start.reason if start else self.error,
            "policy": self.policy,
            "predicted": split_dict(start.predicted) if start else None,
            "actual": split_dict(actual) if actual else None,
            "quality_estimate": start.quality if start else None,
            "deadline_s": deadline_s,
            "met_deadline": met,
            "image_url": f"/v1/images/{request.id}.png" if self.png else None,
            "emulated": list(self.emulated),
        }

    def listed(self) -> dict[str, Any]:
        """Return the picture as it stands in the list of requests."""
        return {**self.item(), "status": self.status, "created": self.created, "error": self.error}


class Store:
    """Records by id, the newest last; whoever falls out of the bounds is forgotten, the running ones never."""

    def __init__(self, *, max_records: int = MAX_RECORDS, max_bytes: int = MAX_PICTURE_BYTES):
        self._records: collections.OrderedDict[str, Record] = collections.OrderedDict()
        self._pictures: collections.deque[str] = collections.deque()
        self._bytes = 0
        self._max_records, self._max_bytes = max_records, max_bytes

    def __len__(self) -> int:
        return len(self._records)

    def add(self, record: Record) -> None:
        """Keep a record, and forget the oldest that has ended when there are too many."""
        self._records[record.id] = record
        if len(self._records) <= self._max_records:
            return
        oldest = next((r for r in self._records.values() if r.status in ENDED), None)
        if oldest is not None:
            self._forget_picture(oldest)
            del self._records[oldest.id]

    def keep_picture(self, record: Record, png: bytes) -> None:
        """Keep a picture, and forget the oldest pictures when there are too many bytes."""
        record.png = png
        self._bytes += len(png)
        self._pictures.append(record.id)
        while self._bytes > self._max_bytes and len(self._pictures) > 1:
            oldest = self._records.get(self._pictures.popleft())
            if oldest is not None:
                self._forget_picture(oldest)

    def get(self, identifier: str) -> Record | None:
        """Return a record, or None when it is not known (any more)."""
        return self._records.get(identifier)

    def newest(self, limit: int) -> Iterator[Record]:
        """Yield records, the newest first."""
        return itertools.islice(reversed(self._records.values()), limit)

    def _forget_picture(self, record: Record) -> None:
        if record.png is not None:
            self._bytes -= len(record.png)
            record.png = None


def split_dict(split: Split) -> dict[str, float | None]:
    """Return a Split as the API shows it, with its sum."""
    return {
        "upload_s": finite(split.upload_s),
        "queue_s": finite(split.queue_s),
        "load_s": finite(split.load_s),
        "generate_s": finite(split.generate_s),
        "download_s": finite(split.download_s),
        "total_s": finite(split.total_s),
        "device_energy_j": finite(split.device_energy_j),
        "node_energy_j": finite(split.node_energy_j),
        "money_usd": finite(split.money_usd),
    }


def finite(value: float) -> float | None:
    """Return a number that JSON can hold: no limit is null."""
    return float(value) if math.isfinite(value) else None
