"""The honest gap: the same requests live, with real pictures over HTTP, and in virtual time."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgegen.config import Config
from edgegen.demo.drive import Outcome as Seen
from edgegen.demo.run import send_live
from edgegen.dispatch.catalog import Catalog
from edgegen.dispatch.fleet import Fleet
from edgegen.dispatch.outcomes import Outcome
from edgegen.experiments.arrivals import Ask, to_requests
from edgegen.experiments.replaying import run

FIGURES = ("attainment", "p50_s", "p95_s", "energy_j")
DRAWS = 1000


@dataclasses.dataclass(frozen=True)
class Gap:
    """One figure of the same requests, live and in virtual time."""

    figure: str
    live: float
    replay: float
    low: float  # 95 % interval of `error`, requests drawn again (bootstrap, pairs kept)
    high: float

    @property
    def error(self) -> float:
        """Replay over live, less one: above 0 the replay promises more of it than comes."""
        return self.replay / self.live - 1 if self.live else float("nan")

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {**dataclasses.asdict(self), "error": self.error}


@dataclasses.dataclass(frozen=True)
class Compared:
    """All figures of one policy on one list of requests."""

    policy: str
    requests: int
    gaps: list[Gap]
    same_place: float  # share of what both made that ran on the same node
    load: tuple[float, float]  # of the machine, before and after


def compare(
    config: Config, fleet: Fleet, policy: str, asks: Sequence[Ask], told: Callable[[Seen], None] = lambda outcome: None
) -> Compared:
    """Send the requests to a real gateway with worker processes of its own, and replay them."""
    before = os.getloadavg()[0]
    seen = send_live(config, fleet, policy, asks, told)
    replayed = run(Catalog(fleet), policy, to_requests(config, asks), config)
    both = [(s.item["node"], r.start.node) for s, r in zip(seen, replayed, strict=True) if s.item and r.start]
    same = float(np.mean([ours == theirs for ours, theirs in both])) if both else float("nan")
    return Compared(policy, len(asks), gaps(seen, replayed), same, (before, os.getloadavg()[0]))


def gaps(seen: Sequence[Seen], replayed: Sequence[Outcome]) -> list[Gap]:
    """Return the gap of every figure, with intervals."""
    live = np.array([(s.in_time, s.latency_s if s.status == "finished" else np.nan, s.energy_j) for s in seen], float)
    virtual = np.array([_row(outcome) for outcome in replayed], float)
    rng, found = np.random.default_rng(0), []
    drawn = rng.integers(len(live), size=(DRAWS, len(live)))
    for name, figure in _FIGURES.items():
        errors = np.array([_ratio(figure(virtual[rows]), figure(live[rows])) for rows in drawn])
        low, high = np.nanpercentile(errors, [2.5, 97.5]) if not np.isnan(errors).all() else (np.nan, np.nan)
        found.append(Gap(name, figure(live), figure(virtual), float(low), float(high)))
    return found


def _ratio(replay: float, live: float) -> float:
    return replay / live - 1 if live else float("nan")


def _row(outcome: Outcome) -> tuple[float, float, float]:
    actual = outcome.actual
    if actual is None:
        return 0.0, float("nan"), 0.0
    return float(outcome.met_deadline), actual.total_s, actual.device_energy_j + actual.node_energy_j


def _quantile(share: float) -> Callable[[np.ndarray], float]:
    """Return the quantile of the latency of what was made."""

    def of(rows: np.ndarray) -> float:
        made = rows[~np.isnan(rows[:, 1]), 1]
        return float(np.quantile(made, share)) if len(made) else float("nan")

    return of


_FIGURES: dict[str, Callable[[np.ndarray], float]] = {
    "attainment": lambda rows: float(rows[:, 0].mean()),
    "p50_s": _quantile(0.5),
    "p95_s": _quantile(0.95),
    "energy_j": lambda rows: float(rows[:, 2].sum()),
}
