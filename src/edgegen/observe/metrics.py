"""The gateway's figures in Prometheus' format, in a registry of their own."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_LATENCY_S = (0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0)
_PARTS = ("upload", "queue", "load", "generate", "download")
_DECISION_S = (0.0001, 0.0003, 0.001, 0.002, 0.003, 0.005, 0.01, 0.03, 0.1, 0.3, 1.0)
_RATIO = (0.5, 0.75, 0.9, 0.95, 1.05, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0)


class Metrics:
    """Everything that is counted."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter("edgegen_requests", "Pictures by how they ended.", ["outcome"], registry=registry)
        self.placed = Counter(
            "edgegen_placed", "Pictures by where they were started.", ["node", "model"], registry=registry
        )
        self.retargets = Counter(
            "edgegen_retargets",
            "Pictures whose number of steps was changed while they were made.",
            ["direction"],
            registry=registry,
        )
        self.migrations = Counter(
            "edgegen_migrations",
            "Pictures that a node was asked to give back, because another one can be in time.",
            ["node", "to"],
            registry=registry,
        )
        self.latency_s = Histogram(
            "edgegen_latency_seconds",
            "From the arrival to the picture on the device, as predicted and as it was.",
            ["kind"],
            buckets=_LATENCY_S,
            registry=registry,
        )
        self.part_s = Histogram(
            "edgegen_part_seconds",
            "Parts of the latency as they were.",
            ["part"],
            buckets=_LATENCY_S,
            registry=registry,
        )
        # Children that every picture needs are looked up once.
        self.predicted_s, self.actual_s = self.latency_s.labels("predicted"), self.latency_s.labels("actual")
        self.parts_s = {f"{part}_s": self.part_s.labels(part) for part in _PARTS}
        self.decision_s = Histogram(
            "edgegen_decision_seconds",
            "Time that the dispatcher took for one event.",
            buckets=_DECISION_S,
            registry=registry,
        )
        self.deadlines = Counter("edgegen_deadlines", "Finished pictures with a deadline.", ["met"], registry=registry)
        self.device_energy_j = Counter(
            "edgegen_device_energy_joules", "Taken from devices (declared power x time).", registry=registry
        )
        self.node_energy_j = Counter(
            "edgegen_node_energy_joules", "Taken by servers (declared power x time).", registry=registry
        )
        self.behind_s = Counter(
            "edgegen_behind_seconds",
            "Seconds by which workers were slower than the pace of the machine that they stand for.",
            ["node"],
            registry=registry,
        )
        self.spent_s = Counter(
            "edgegen_unfinished_seconds",
            "Computed for attempts that failed, were lost or went on elsewhere, per node.",
            ["node"],
            registry=registry,
        )
        self.spent_j = Counter(
            "edgegen_unfinished_energy_joules",
            "Taken by those attempts; part of what devices and servers took.",
            ["node"],
            registry=registry,
        )
        self.money_usd = Counter("edgegen_money_usd", "Price of the generation.", registry=registry)
        self.queue = Gauge("edgegen_queue", "Pictures that wait, per node.", ["node"], registry=registry)
        self.utilisation = Gauge(
            "edgegen_node_utilisation", "Busy share of the last 30 s.", ["node"], registry=registry
        )
        self.alive = Gauge("edgegen_node_alive", "1 while a node's worker is up.", ["node"], registry=registry)
        self.lost = Counter("edgegen_node_lost", "Workers that went away.", ["node"], registry=registry)
        self.subscribers = Gauge("edgegen_event_subscribers", "Who listens to /v1/events.", registry=registry)
        self.http = Counter("edgegen_http_responses", "HTTP responses.", ["status"], registry=registry)
        self._add_guards(registry)

    def _add_guards(self, registry: CollectorRegistry) -> None:
        """Add what tells who comes and goes, who is refused, and who pays."""
        self.joined = Counter("edgegen_node_joined", "Workers that came (back).", ["node"], registry=registry)
        self.waiting = Gauge("edgegen_waiting", "Pictures that wait for their start.", registry=registry)
        self.promised = Gauge(
            "edgegen_waiting_promised", "Places of the waiting queue kept for those who were told.", registry=registry
        )
        self.refused = Counter("edgegen_refused", "Pictures refused or failed, by code.", ["code"], registry=registry)
        self.throttled = Counter(
            "edgegen_throttled",
            "Requests answered with 429, by the scope of the address and the limit that was hit.",
            ["scope", "limit"],
            registry=registry,
        )
        self.error_ratio = Histogram(
            "edgegen_prediction_ratio",
            "Actual over predicted latency, per node; 1 is a perfect prediction.",
            ["node"],
            buckets=_RATIO,
            registry=registry,
        )
        self.key_pictures = Counter("edgegen_key_pictures", "Finished pictures per key.", ["key"], registry=registry)
        self.key_energy_j = Counter(
            "edgegen_key_energy_joules", "Energy of devices and nodes per key.", ["key"], registry=registry
        )
        self.key_money_usd = Counter("edgegen_key_money_usd", "Price per key.", ["key"], registry=registry)

    def count_key(self, key: str, *, energy_j: float, cost_usd: float) -> None:
        """Count a picture for the key that it was made for."""
        self.key_pictures.labels(key).inc()
        self.key_energy_j.labels(key).inc(energy_j)
        self.key_money_usd.labels(key).inc(cost_usd)

    def render(self) -> bytes:
        """Return the text that Prometheus reads."""
        return generate_latest(self.registry)
