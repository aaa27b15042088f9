"""Prompts of mixed difficulty, deadline and origin, arriving in bursts."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from edgegen.config import Config
from edgegen.dispatch.messages import Limits, Request
from edgegen.generate.grammar import CATEGORIES, sample_scene

# (share of requests, shortest and longest deadline in seconds): somebody waits for it, somebody will look later
_DEADLINES = ((0.35, 0.5, 1.0), (0.4, 1.0, 2.5), (0.25, 2.5, 5.0))
_FLOORED, _FLOORS = 0.3, (0.3, 0.6)  # share of requests with a quality floor, and its range
_METERED, _BUDGETS_J = 0.3, (0.5, 3.0)  # share of requests that spare their battery, and the budget's range
_BURST_RATE, _BURST_LENGTH = 3.0, 0.25  # a burst's rate over the mean rate, and the share of time that is burst


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
        extension = {"deadline_ms": round(self.deadline_s * 1e3), "origin": self.origin, "seed": self.seed}
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


def draw_asks(count: int, *, seconds: float, origins: Sequence[str], seed: int) -> list[Ask]:
    """Return `count` requests spread over `seconds`: a Poisson process whose rate is higher during bursts."""
    rng = np.random.default_rng(seed)
    asks = []
    for at_s in _arrival_times(rng, count, seconds):
        category = CATEGORIES[rng.integers(len(CATEGORIES))]
        _, shortest_s, longest_s = _DEADLINES[rng.choice(len(_DEADLINES), p=[share for share, _, _ in _DEADLINES])]
        floored, metered = rng.random() < _FLOORED, rng.random() < _METERED
        floor, budget_j = round(rng.uniform(*_FLOORS), 2), round(rng.uniform(*_BUDGETS_J), 2)
        asks.append(
            Ask(
                at_s=float(at_s),
                prompt=sample_scene(rng, category).caption(),
                category=category,
                origin=str(rng.choice(list(origins))),
                deadline_s=round(float(rng.uniform(shortest_s, longest_s)), 3),
                min_quality=floor if floored else None,
                max_energy_j=budget_j if metered else None,
                seed=int(rng.integers(2**31)),
            )
        )
    return asks


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
