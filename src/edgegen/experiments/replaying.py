"""A trace in virtual time: the same dispatcher, policies and fleet as live, on what profiles say about the machines."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgegen.config import Config
from edgegen.core.errors import InputError
from edgegen.core.result import interval
from edgegen.dispatch.catalog import Catalog
from edgegen.dispatch.journal import read
from edgegen.dispatch.messages import Request
from edgegen.dispatch.outcomes import Outcome, summary
from edgegen.dispatch.records import request_from
from edgegen.dispatch.replay import simulate
from edgegen.experiments.arrivals import Ask, Mix, asks_at, to_requests
from edgegen.experiments.foresight import ORACLE, best_possible
from edgegen.experiments.traces import open_arrivals
from edgegen.physics.arrivals import AbstractArrivals
from edgegen.registry import load_policy

DEFAULT_S = 60.0  # of a process that has no end of its own
JOURNAL = ".jsonl"
MOST_REQUESTS = 200_000
FIGURES = (
    "attainment",
    "goodput_hz",
    "quality_in_time",
    "quality_made",
    "p50_s",
    "p95_s",
    "p99_s",
    "joules_per_good",
    "energy_j",
    "money_usd",
    "refused",
)


@dataclasses.dataclass(frozen=True)
class Traffic:
    """What comes: drawn requests at the moments of an arrival process, or those of a journal."""

    config: Config
    arrivals: AbstractArrivals | None
    seconds: float
    mix: Mix | None = None  # None: as the demo
    recorded: tuple[Request, ...] = ()  # instead of arrivals
    factor: float = 1.0  # so many times as often as they came, of what is recorded

    def scaled(self, factor: float) -> "Traffic":
        """Return the same traffic, `factor` times as dense."""
        if self.arrivals is None:
            return dataclasses.replace(self, factor=self.factor * factor)
        return dataclasses.replace(self, arrivals=self.arrivals.scaled(factor))

    @property
    def rate_hz(self) -> float:
        """The mean rate."""
        if self.arrivals is None:
            span_s = self.recorded[-1].arrived_s - self.recorded[0].arrived_s
            return self.factor * len(self.recorded) / max(span_s, 1e-9)
        return self.arrivals.mean_hz

    def requests(self, seed: int) -> list[Request]:
        """Return the requests of a seed, in the order of their arrival."""
        if self.arrivals is None:
            begin_s = self.recorded[0].arrived_s
            moved = [dataclasses.replace(r, arrived_s=(r.arrived_s - begin_s) / self.factor) for r in self.recorded]
            return [request for request in moved if request.arrived_s < self.seconds]
        return to_requests(self.config, self.asks(seed))

    def asks(self, seed: int) -> list[Ask]:
        """Return what clients send, for the same requests live.

        **Raises** `InputError` for a journal: it does not say what else the clients sent.
        """
        if self.arrivals is None:
            raise InputError("recorded requests cannot be sent again; give a process or a trace", param="trace")
        rng = np.random.default_rng(seed)
        times = self.arrivals.times(self.seconds, rng)
        if not 0 < len(times) <= MOST_REQUESTS:
            raise InputError(
                f"{len(times)} requests come in {self.seconds:g} s, expected 1 to {MOST_REQUESTS}; change --rate or --duration"
            )
        origins = [node.name for node in self.config.nodes if node.tier == "device"]
        return asks_at(times, origins=origins, rng=rng, mix=self.mix)


def traffic(
    source: str,
    config: Config,
    *,
    rate_hz: float | None = None,
    scale: float = 1.0,
    seconds: float | None = None,
    mix: Mix | None = None,
) -> Traffic:
    """Return the traffic of a named process, a packaged trace, a trace file or a journal.

    `rate_hz` is the mean rate that it is scaled to, `scale` a further factor. A process without an end lasts a minute.
    **Raises** `InputError` for what is none of these, or a journal whose requests the fleet cannot have.
    """
    if Path(source).suffix == JOURNAL:
        recorded = _recorded(Path(source), config)
        found = Traffic(config, None, np.inf if seconds is None else seconds, recorded=recorded)
        return found.scaled(scale * (rate_hz / found.rate_hz if rate_hz else 1.0))
    arrivals = open_arrivals(source)
    arrivals = (arrivals.at_rate(rate_hz) if rate_hz else arrivals).scaled(scale)
    length_s = arrivals.length_s if arrivals.length_s < np.inf else DEFAULT_S
    return Traffic(config, arrivals, length_s if seconds is None else seconds, mix)


def _recorded(path: Path, config: Config) -> tuple[Request, ...]:
    events = [entry["event"] for entry in read(path)[1] if entry["event"]["kind"] == "Arrived"]
    found = sorted((request_from(event["request"]) for event in events), key=lambda request: request.arrived_s)
    if not found:
        raise InputError(f"the journal {path} has no arrivals", param="trace")
    devices = [node.name for node in config.nodes if node.tier == "device"]
    if strange := sorted({request.origin for request in found} - set(devices)):
        raise InputError(
            f"requests of {path} come from {', '.join(strange)}, but the fleet's devices are {', '.join(devices)}; "
            "give the configuration that the journal was written with, or one with the same devices",
            param="trace",
        )
    return tuple(dataclasses.replace(request, number=at) for at, request in enumerate(found))


@dataclasses.dataclass(frozen=True)
class Replay:
    """Policies on the same traffic with the same seeds."""

    catalog: Catalog
    traffic: Traffic
    policies: Sequence[str]
    seeds: Sequence[int]

    def rows(self, told: Callable[[str], None] = lambda policy: None) -> Iterator[dict[str, Any]]:
        """Yield the figures of every run as it ends; `told` hears of every outcome's policy before its run."""
        for seed in self.seeds:
            asked = self.traffic.requests(seed)
            for policy in self.policies:
                told(policy)
                yield {"policy": policy, "seed": seed, **self._figures(policy, asked)}

    def _figures(self, policy: str, asked: list[Request]) -> dict[str, float]:
        if policy == ORACLE:
            found = best_possible(self.catalog, asked)
            return {"requests": len(asked), **found, "goodput_hz": found["attainment"] * len(asked) / span_s(asked)}
        found = summary(run(self.catalog, policy, asked, self.traffic.config))
        return {**found, "goodput_hz": found["attainment"] * len(asked) / span_s(asked)}


def run(catalog: Catalog, policy: str, asked: Sequence[Request], config: Config) -> list[Outcome]:
    """Return how every request ends under a policy, with the gateway's own bounds, once models are loaded."""
    gateway = config.gateway
    warm_s = max((speed.load_s for node in catalog.fleet.nodes for speed in node.speeds.values()), default=0.0)
    asked = [dataclasses.replace(request, arrived_s=request.arrived_s + warm_s) for request in asked]
    return simulate(
        catalog, load_policy(policy), asked, policy_name=policy, max_waiting=gateway.max_waiting, ahead=gateway.ahead
    )


def span_s(asked: Sequence[Request]) -> float:
    """Return the time in which requests came, to the next one that might have."""
    return max(asked[-1].arrived_s - asked[0].arrived_s, 1e-9) * (1 + 1 / len(asked))


def entries(rows: Sequence[dict[str, Any]], figures: Sequence[str] = FIGURES) -> list[dict[str, Any]]:
    """Return mean and 95 % interval over the seeds of every figure of every policy; without an interval for one seed."""
    found = []
    for policy in dict.fromkeys(row["policy"] for row in rows):
        own = [row for row in rows if row["policy"] == policy]
        for figure in figures:
            values = [row.get(figure, float("nan")) for row in own]
            found.append(
                {"policy": policy, "metric": figure, **interval([v if np.isfinite(v) else np.nan for v in values])}
            )
    return found


@dataclasses.dataclass(frozen=True)
class Capacity:
    """The highest rate at which a policy keeps the limits of a share of the requests, and what was tried."""

    policy: str
    rate_hz: float  # 0: not even the lowest rate that was tried
    above_hz: float  # the lowest rate at which it does not; inf if that was never reached
    tried: tuple[tuple[float, float], ...]  # (rate, share that kept its limits), in the order of the search


def find_capacity(
    catalog: Catalog,
    demand: Traffic,
    policy: str,
    *,
    share: float,
    seeds: Sequence[int],
    precision: float = 0.03,
    told: Callable[[float, float], None] = lambda rate_hz, share: None,
) -> Capacity:
    """Search by bisection on the rate, from what the traffic has now, until the bracket is within `precision`."""
    if not 0 < share <= 1:
        raise InputError(f"a share must be from 0 to 1, got {share:g}", param="--find-capacity")
    base_hz, tried = demand.rate_hz, []

    def kept(rate_hz: float) -> bool:
        scaled = demand.scaled(rate_hz / base_hz)
        ended = [outcome for seed in seeds for outcome in run(catalog, policy, scaled.requests(seed), demand.config)]
        tried.append((rate_hz, sum(outcome.met_limits for outcome in ended) / len(ended)))
        told(*tried[-1])
        return tried[-1][1] >= share

    low_hz, high_hz = (base_hz, np.inf) if kept(base_hz) else (0.0, base_hz)
    for _ in range(10):
        if low_hz > 0 and high_hz < np.inf:
            break
        rate_hz = 2 * low_hz if low_hz > 0 else high_hz / 2
        low_hz, high_hz = (rate_hz, high_hz) if kept(rate_hz) else (low_hz, rate_hz)
    while low_hz > 0 and high_hz < np.inf and high_hz / low_hz > 1 + precision:
        rate_hz = (low_hz * high_hz) ** 0.5
        low_hz, high_hz = (rate_hz, high_hz) if kept(rate_hz) else (low_hz, rate_hz)
    return Capacity(policy, float(low_hz), float(high_hz), tuple(tried))
