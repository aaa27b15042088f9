"""What is told and counted about each picture: its story, the metrics, the log."""

import math
from typing import Any

import structlog

from edgegen.dispatch.messages import Start
from edgegen.observe.metrics import Metrics
from edgegen.observe.tracing import NO_SPAN
from edgegen.serve import trail
from edgegen.serve.store import Record, Spent, Status


class Chronicle:
    """Writes down what happened to pictures; it decides nothing, and nobody waits for it."""

    def __init__(self, metrics: Metrics):
        self._metrics = metrics
        self._log = structlog.get_logger(__name__).bind()  # knows its level: what is not logged costs nothing

    def started(self, record: Record, start: Start, now_s: float) -> None:
        """A picture was sent to a node."""
        record.tell(now_s, "started", node=start.node, model=start.model, steps=start.steps,
                    attempt=start.attempt, reason=start.reason)  # fmt: skip
        self._metrics.placed.labels(start.node, start.model).inc()
        self._log.debug("picture", request_id=record.group, id=record.id, status="started", node=start.node,
                        model=start.model, steps=start.steps, attempt=start.attempt)  # fmt: skip

    def retargeted(self, record: Record, told: dict[str, Any], now_s: float) -> None:
        """A picture is going to have another number of steps than before."""
        record.tell(now_s, "retargeted", **told)
        direction = "fewer" if told["steps"] < told["steps_before"] else "more"
        self._metrics.retargets.labels(direction).inc()
        self._log.debug("picture", request_id=record.group, id=record.id, status="retargeted", **told)

    def migrated(self, record: Record, told: dict[str, Any], now_s: float) -> None:
        """A node was asked to give a picture back, because another one can be in time."""
        record.tell(now_s, "migrated", **told)
        self._metrics.migrations.labels(told["node"], told["to"]).inc()
        self._log.debug("picture", request_id=record.group, id=record.id, status="migrated", **told)

    def spent(self, start: Start, spent: Spent) -> None:
        """An attempt is over that brought no picture."""
        metrics = self._metrics
        metrics.spent_s.labels(start.node).inc(spent.compute_s)
        metrics.spent_j.labels(start.node).inc(spent.energy_j)
        metrics.device_energy_j.inc(spent.device_energy_j)
        metrics.node_energy_j.inc(spent.node_energy_j)
        metrics.money_usd.inc(spent.money_usd)

    def ended(self, record: Record, status: Status, now_s: float) -> None:
        """A picture is there, or will never be."""
        record.tell(now_s, status, **({"reason": record.error} if record.error else {}))
        self._count(record)
        tell = self._log.debug if status in ("finished", "cancelled") else self._log.info
        node = record.start.node if record.start else None
        tell("picture", request_id=record.group, id=record.id, status=status, node=node)
        if record.span is not NO_SPAN:
            trail.leave(record, now_s - record.request.arrived_s)

    def _count(self, record: Record) -> None:
        metrics, actual = self._metrics, record.actual
        metrics.requests.labels(record.status).inc()
        if actual is None or record.start is None:
            return
        metrics.actual_s.observe(actual.total_s)
        predicted_s = record.start.predicted.total_s
        metrics.predicted_s.observe(predicted_s)
        if predicted_s > 0 and math.isfinite(predicted_s):
            metrics.error_ratio.labels(record.start.node).observe(actual.total_s / predicted_s)
        for part, histogram in metrics.parts_s.items():
            histogram.observe(getattr(actual, part))
        if math.isfinite(record.request.limits.deadline_s):
            metrics.deadlines.labels(str(actual.total_s <= record.request.limits.deadline_s).lower()).inc()
        if record.behind_s:
            metrics.behind_s.labels(record.start.node).inc(record.behind_s)
        metrics.device_energy_j.inc(actual.device_energy_j)
        metrics.node_energy_j.inc(actual.node_energy_j)
        metrics.money_usd.inc(actual.money_usd)
