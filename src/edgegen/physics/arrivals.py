"""When requests come: processes that draw moments, and traces that happened.

Every process is an intensity over time; given the intensity, arrivals are a Poisson process (thinning is not needed:
all intensities here are constant on pieces). A trace that was recorded moment by moment is repeated as it was.
"""

import abc
import dataclasses
import math
from typing import Self

import numpy as np
from numpy.typing import NDArray

from edgegen.core.errors import InputError


class AbstractArrivals(abc.ABC):
    """Moments at which requests come."""

    @property
    @abc.abstractmethod
    def mean_hz(self) -> float:
        """Requests per second in the long run."""

    @property
    def length_s(self) -> float:
        """How long the trace is; inf for a process."""
        return math.inf

    @abc.abstractmethod
    def times(self, seconds: float, rng: np.random.Generator) -> NDArray[np.float64]:
        """Return the moments float[n] in [0, seconds), ascending."""

    @abc.abstractmethod
    def scaled(self, factor: float) -> Self:
        """Return arrivals of the same kind that come `factor` times as often."""

    def at_rate(self, rate_hz: float) -> Self:
        """Return arrivals of the same kind with this mean rate."""
        _positive("rate", rate_hz)
        if not self.mean_hz > 0:
            raise InputError("arrivals without any request cannot be scaled to a rate", param="rate")
        return self.scaled(rate_hz / self.mean_hz)


@dataclasses.dataclass(frozen=True)
class Poisson(AbstractArrivals):
    """Independent arrivals at a constant rate."""

    rate_hz: float

    def __post_init__(self):
        _positive("rate", self.rate_hz)

    @property
    def mean_hz(self) -> float:
        return self.rate_hz

    def times(self, seconds: float, rng: np.random.Generator) -> NDArray[np.float64]:
        return _drawn(np.array([0.0, seconds]), np.array([self.rate_hz]), rng)

    def scaled(self, factor: float) -> Self:
        return dataclasses.replace(self, rate_hz=self.rate_hz * factor)


@dataclasses.dataclass(frozen=True)
class Bursty(AbstractArrivals):
    """A Markov-modulated Poisson process: calm and burst alternate, each for an exponential time."""

    rate_hz: float  # on average
    ratio: float = 6.0  # the rate in a burst over the rate in calm
    burst_s: float = 3.0  # mean length of a burst
    calm_s: float = 12.0  # mean length of the time between bursts

    def __post_init__(self):
        for name in ("rate_hz", "ratio", "burst_s", "calm_s"):
            _positive(name, getattr(self, name))

    @property
    def mean_hz(self) -> float:
        return self.rate_hz

    @property
    def calm_hz(self) -> float:
        """The rate between bursts."""
        share = self.burst_s / (self.burst_s + self.calm_s)
        return self.rate_hz / (1 + share * (self.ratio - 1))

    def times(self, seconds: float, rng: np.random.Generator) -> NDArray[np.float64]:
        burst, edges, rates = bool(rng.random() < self.burst_s / (self.burst_s + self.calm_s)), [0.0], []
        while edges[-1] < seconds:
            rates.append(self.calm_hz * (self.ratio if burst else 1.0))
            edges.append(min(seconds, edges[-1] + rng.exponential(self.burst_s if burst else self.calm_s)))
            burst = not burst
        return _drawn(np.array(edges), np.array(rates), rng)

    def scaled(self, factor: float) -> Self:
        return dataclasses.replace(self, rate_hz=self.rate_hz * factor)


@dataclasses.dataclass(frozen=True)
class Diurnal(AbstractArrivals):
    """A day: the rate follows 1 - swing cos(2 pi t / period), so it begins at night."""

    rate_hz: float  # on average
    swing: float = 0.8  # 0 = constant, 1 = nobody comes at night
    period_s: float = 86_400.0

    def __post_init__(self):
        _positive("rate", self.rate_hz)
        _positive("period", self.period_s)
        if not 0 <= self.swing <= 1:
            raise InputError(f"swing must be from 0 to 1, got {self.swing:g}", param="swing")

    @property
    def mean_hz(self) -> float:
        return self.rate_hz

    def times(self, seconds: float, rng: np.random.Generator) -> NDArray[np.float64]:
        edges = np.linspace(0.0, seconds, max(2, math.ceil(seconds / self.period_s * 240) + 1))
        phase = 2 * np.pi * edges / self.period_s
        passed = edges - self.swing * self.period_s / (2 * np.pi) * np.sin(phase)  # the integral of the factor
        return _drawn(edges, self.rate_hz * np.diff(passed) / np.diff(edges), rng)

    def scaled(self, factor: float) -> Self:
        return dataclasses.replace(self, rate_hz=self.rate_hz * factor)


@dataclasses.dataclass(frozen=True)
class Counted(AbstractArrivals):
    """A trace of which the number of requests in each piece of time is known; the moments inside are drawn."""

    rates_hz: NDArray[np.float64]  # float[K], requests per second in each piece
    piece_s: float  # length of a piece

    def __post_init__(self):
        _positive("length of a piece", self.piece_s)
        if self.rates_hz.ndim != 1 or not len(self.rates_hz) or not (self.rates_hz >= 0).all():
            raise InputError("a trace needs one number >= 0 for each piece of time, and one piece at least")

    @property
    def length_s(self) -> float:
        return len(self.rates_hz) * self.piece_s

    @property
    def mean_hz(self) -> float:
        return float(self.rates_hz.mean())

    def times(self, seconds: float, rng: np.random.Generator) -> NDArray[np.float64]:
        seconds = min(seconds, self.length_s)
        edges = np.append(np.arange(0.0, seconds, self.piece_s), seconds)
        return _drawn(edges, self.rates_hz[: len(edges) - 1], rng)

    def scaled(self, factor: float) -> Self:
        return dataclasses.replace(self, rates_hz=self.rates_hz * factor)

    def between(self, least_hz: float, most_hz: float) -> Self:
        """Return the same shape with this least and this greatest rate (the protocol of DiffServe)."""
        low, high = float(self.rates_hz.min()), float(self.rates_hz.max())
        if high == low or not 0 <= least_hz < most_hz:
            raise InputError(f"expected 0 <= least < most and a rate that varies, got {least_hz:g} and {most_hz:g}")
        shape = (self.rates_hz - low) / (high - low)
        return dataclasses.replace(self, rates_hz=least_hz + shape * (most_hz - least_hz))


@dataclasses.dataclass(frozen=True)
class Recorded(AbstractArrivals):
    """A trace of which every moment is known. Nothing is drawn; another rate compresses or stretches time."""

    moments_s: NDArray[np.float64]  # float[n], ascending from 0

    def __post_init__(self):
        if not len(self.moments_s) or (np.diff(self.moments_s) < 0).any() or self.moments_s[0] < 0:
            raise InputError("a recorded trace needs moments >= 0 in ascending order, and one at least")

    @property
    def length_s(self) -> float:
        return float(np.nextafter(self.moments_s[-1], np.inf))

    @property
    def mean_hz(self) -> float:
        return len(self.moments_s) / max(float(self.moments_s[-1]), 1e-9)

    def times(self, seconds: float, rng: np.random.Generator) -> NDArray[np.float64]:
        del rng
        return self.moments_s[self.moments_s < seconds]

    def scaled(self, factor: float) -> Self:
        _positive("scale", factor)
        return dataclasses.replace(self, moments_s=self.moments_s / factor)


def _drawn(edges_s: NDArray, rates_hz: NDArray, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw a Poisson process whose rate is constant between edges: counts first, then moments inside."""
    widths = np.diff(edges_s)
    counts = rng.poisson(rates_hz * widths)
    starts, spans = np.repeat(edges_s[:-1], counts), np.repeat(widths, counts)
    return np.sort(starts + spans * rng.random(int(counts.sum())))


def _positive(name: str, value: float) -> None:
    if not (0 < value < math.inf):
        raise InputError(f"{name} must be a number > 0, got {value:g}", param=name)
