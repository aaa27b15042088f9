"""The gateway's figures in Prometheus' format, in a registry of their own."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_LATENCY_S = (0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0)
_PARTS = ("upload", "queue", "load", "generate", "download")
_DECISION_S = (0.0001, 0.0003, 0.001, 0.002, 0.003, 0.005, 0.01, 0.03, 0.1, 0.3, 1.0)


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
        self.money_usd = Counter("edgegen_money_usd", "Price of the generation.", registry=registry)
        self.queue = Gauge("edgegen_queue", "Pictures that wait, per node.", ["node"], registry=registry)
        self.utilisation = Gauge(
            "edgegen_node_utilisation", "Busy share of the last 30 s.", ["node"], registry=registry
        )
        self.alive = Gauge("edgegen_node_alive", "1 while a node's worker is up.", ["node"], registry=registry)
        self.lost = Counter("edgegen_node_lost", "Workers that went away.", ["node"], registry=registry)
        self.subscribers = Gauge("edgegen_event_subscribers", "Who listens to /v1/events.", registry=registry)
        self.http = Counter("edgegen_http_responses", "HTTP responses.", ["status"], registry=registry)

    def render(self) -> bytes:
        """Return the text that Prometheus reads."""
        return generate_latest(self.registry)
