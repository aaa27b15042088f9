"""A measured figure beside its goal: what `edgegen bench` prints."""

import dataclasses
import math

import numpy as np


@dataclasses.dataclass(frozen=True)
class Bar:
    """One figure. `ok` is computed from value and goal, and None where there is no goal.

    `low` and `high` bound the 95 % interval where one is known; `n` is the number of samples behind the value.
    """

    bar: str
    value: float
    unit: str
    goal: str
    ok: bool | None
    n: int
    low: float | None = None
    high: float | None = None

    @staticmethod
    def at_least(bar: str, value: float, goal: float, *, unit: str = "", n: int = 1, low=None, high=None) -> "Bar":
        """Return a figure that should reach `goal`."""
        return Bar(bar, float(value), unit, f">= {goal:g}", bool(value >= goal), n, low, high)

    @staticmethod
    def at_most(bar: str, value: float, goal: float, *, unit: str = "", n: int = 1, low=None, high=None) -> "Bar":
        """Return a figure that should not exceed `goal`."""
        return Bar(bar, float(value), unit, f"<= {goal:g}", bool(value <= goal), n, low, high)

    @staticmethod
    def within(bar: str, value: float, least: float, most: float, *, unit="", n: int = 1, low=None, high=None) -> "Bar":
        """Return a figure that should be between `least` and `most`."""
        return Bar(bar, float(value), unit, f"{least:g} to {most:g}", bool(least <= value <= most), n, low, high)

    @staticmethod
    def report(bar: str, value: float, *, unit: str = "", n: int = 1, low=None, high=None) -> "Bar":
        """Return a figure without a goal."""
        return Bar(bar, float(value), unit, "", None, n, low, high)

    def to_dict(self) -> dict:
        """Return the figure as plain data for JSON."""
        return dataclasses.asdict(self)


def wilson(successes: float, n: int, *, z: float = 1.959964) -> tuple[float, float]:
    """Return Wilson's 95 % interval for a rate (Wilson 1927).

    `successes` may be a sum of values in [0, 1]: their variance is at most that of a rate, so the interval is conservative.
    """
    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f"expected 0 <= successes <= n and n > 0, got {successes} of {n}")
    rate = successes / n
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    return low, 1.0 if successes == n else min(1.0, centre + half)


def median_interval(samples: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of a median from the order statistics (binomial, normal approximation)."""
    ordered, n = np.sort(samples), len(samples)
    half = 1.96 * np.sqrt(n) / 2
    return float(ordered[max(0, int(n / 2 - half))]), float(ordered[min(n - 1, int(np.ceil(n / 2 + half)))])
