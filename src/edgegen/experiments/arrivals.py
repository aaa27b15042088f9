"""Prompts of mixed difficulty, deadline and origin, arriving in bursts."""

import dataclasses
import math
from collections.abc import Iterable, Sequence

import numpy as np

from edgegen.config import Config
from edgegen.dispatch.messages import Limits, Request
from edgegen.generate.grammar import CATEGORIES, sample_scene

_BURST_RATE, _BURST_LENGTH = 3.0, 0.25  # a burst's rate over the mean rate, and the share of time that is burst


@dataclasses.dataclass(frozen=True)
class Mix:
    """How requests differ."""

    # (share of requests, shortest and longest deadline in seconds): somebody waits for it, somebody will look later
    deadlines: tuple[tuple[float, float, float], ...] = ((0.35, 0.5, 1.0), (0.4, 1.0, 2.5), (0.25, 2.5, 5.0))
    floored: float = 0.3  # share of requests with a quality floor
    floors: tuple[float, float] = (0.3, 0.6)  # its range
    metered: float = 0.3  # share of requests that spare their battery
    budgets_j: tuple[float, float] = (0.5, 3.0)  # the budget's range


@dataclasses.dataclass(frozen=True)
class Ask:
    """One request."""

    at_s: float
    prompt: str
    category: str
    origin: str
    deadline_s: float
    min_quality: float | None
    max_energy_j: float | None
    seed: int

    def body(self) -> dict:
        """Return the request as the gateway expects it."""
        extension: dict = {"origin": self.origin, "seed": self.seed}
        if self.deadline_s < math.inf:
            extension["deadline_ms"] = round(self.deadline_s * 1e3)
        if self.min_quality is not None:
            extension["min_quality"] = self.min_quality
        if self.max_energy_j is not None:
            extension["max_energy_j"] = self.max_energy_j
        return {
            "prompt": self.prompt,
            "model": "auto",
            "size": "auto",
            "response_format": "b64_json",
            "edgegen": extension,
        }


def without_limits(ask: Ask) -> Ask:
    """Return a request whose limits its client keeps for itself, as towards servers that know none."""
    return dataclasses.replace(ask, deadline_s=math.inf, min_quality=None, max_energy_j=None)


def draw_asks(count: int, *, seconds: float, origins: Sequence[str], seed: int) -> list[Ask]:
    """Return `count` requests spread over `seconds`: a Poisson process whose rate is higher during bursts."""
    rng = np.random.default_rng(seed)
    return asks_at(_arrival_times(rng, count, seconds), origins=origins, rng=rng)


def asks_at(
    times_s: Iterable[float], *, origins: Sequence[str], rng: np.random.Generator, mix: Mix | None = None
) -> list[Ask]:
    """Return one request for each moment."""
    mix = mix or Mix()
    return [_ask(float(at_s), origins, rng, mix) for at_s in times_s]


def _ask(at_s: float, origins: Sequence[str], rng: np.random.Generator, mix: Mix) -> Ask:
    category = CATEGORIES[rng.integers(len(CATEGORIES))]
    shares = [share for share, _, _ in mix.deadlines]
    _, shortest_s, longest_s = mix.deadlines[rng.choice(len(mix.deadlines), p=shares)]
    floored, metered = rng.random() < mix.floored, rng.random() < mix.metered
    floor, budget_j = round(rng.uniform(*mix.floors), 2), round(rng.uniform(*mix.budgets_j), 2)
    return Ask(
        at_s=at_s,
        prompt=sample_scene(rng, category).caption(),
        category=category,
        origin=str(rng.choice(list(origins))),
        deadline_s=round(float(rng.uniform(shortest_s, longest_s)), 3),
        min_quality=floor if floored else None,
        max_energy_j=budget_j if metered else None,
        seed=int(rng.integers(2**31)),
    )


def _arrival_times(rng: np.random.Generator, count: int, seconds: float) -> np.ndarray:
    """float[count] in [0, seconds): given their number, arrivals of a Poisson process are independent draws."""
    cycle_s = seconds / 4
    start = rng.integers(0, 4, count) * cycle_s
    in_burst = rng.random(count) < _BURST_RATE * _BURST_LENGTH
    within = np.where(
        in_burst, rng.random(count) * _BURST_LENGTH, _BURST_LENGTH + rng.random(count) * (1 - _BURST_LENGTH)
    )
    return np.sort(start + within * cycle_s)


def to_requests(config: Config, asks: Sequence[Ask]) -> list[Request]:
    """Return the requests that a gateway makes of these asks, for virtual time."""
    return [_request(config, ask, number) for number, ask in enumerate(asks)]


def _request(config: Config, ask: Ask, number: int) -> Request:
    unlimited = Limits()
    return Request(
        id=f"ask-{number}",
        number=number,
        prompt=ask.prompt,
        category=ask.category,
        origin=ask.origin,
        arrived_s=ask.at_s,
        input_bits=8.0 * config.gateway.payload.input,
        output_bits=8.0 * config.gateway.payload.output,
        seed=ask.seed,
        limits=Limits(
            deadline_s=ask.deadline_s,
            min_quality=ask.min_quality or 0.0,
            energy_j=unlimited.energy_j if ask.max_energy_j is None else ask.max_energy_j,
        ),
        weights=config.objective.weights,
    )
