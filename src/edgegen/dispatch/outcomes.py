"""How requests ended in virtual time, and the figures that policies are compared by."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

from edgegen.dispatch.messages import Request, Split, Start


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How one request ended."""

    request: Request
    status: Literal["finished", "infeasible", "busy", "failed", "cancelled"]
    ended_s: float
    start: Start | None = None  # of the attempt that finished, with the steps that were done
    actual: Split | None = None
    reason: str = ""

    @property
    def met_deadline(self) -> bool:
        """Whether the picture was there in time."""
        return self.actual is not None and self.actual.total_s <= self.request.limits.deadline_s * (1 + 1e-6)

    @property
    def met_limits(self) -> bool:
        """Whether the picture kept every limit that was asked for."""
        limits, start, actual = self.request.limits, self.start, self.actual
        if start is None or actual is None or not self.met_deadline:
            return False
        affordable = actual.device_energy_j <= limits.energy_j * (1 + 1e-6)
        return affordable and actual.money_usd <= limits.money_usd and start.quality >= limits.min_quality - 1e-6


def summary(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Return the figures that policies are compared by.

    attainment: share of requests that kept every limit. quality: mean expected quality, 0 for what was not made.
    quality_made: mean expected quality of what was made. p50_s, p95_s, p99_s: latency of what was made. joules_per_good:
    device and node energy of everything over the pictures that kept their limits, weighted by their expected quality.
    """
    made = [outcome for outcome in outcomes if outcome.actual is not None and outcome.start is not None]
    totals = sorted(outcome.actual.total_s for outcome in made if outcome.actual)
    joules = sum(o.actual.device_energy_j + o.actual.node_energy_j for o in made if o.actual)
    good = sum(o.start.quality for o in made if o.start and o.met_limits)
    count = max(len(outcomes), 1)

    def at(share: float) -> float:
        return totals[min(len(totals) - 1, int(share * len(totals)))] if totals else float("nan")

    return {
        "requests": len(outcomes),
        "made": len(made),
        "attainment": sum(o.met_limits for o in made) / count,
        "quality": sum(o.start.quality for o in made if o.start) / count,
        "quality_in_time": good / count,
        "p50_s": at(0.5),
        "p95_s": at(0.95),
        "p99_s": at(0.99),
        "quality_made": sum(o.start.quality for o in made if o.start) / len(made) if made else float("nan"),
        "refused": sum(o.status in ("infeasible", "busy") for o in outcomes) / count,
        "energy_j": joules,
        "money_usd": sum(o.actual.money_usd for o in made if o.actual),
        "device_j": sum(o.actual.device_energy_j for o in made if o.actual),
        "joules_per_good": joules / good if good else float("inf"),
    }
