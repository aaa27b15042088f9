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

    @staticmethod
    def of_mean(
        bar: str, samples: np.ndarray, least: float | None = None, most: float | None = None, *, unit=""
    ) -> "Bar":
        """Return the mean of independent samples with its 95 % interval; it should be at least `least`, or in a band."""
        mean, low, high = mean_interval(samples)
        n = len(samples)
        if most is not None:
            least = -math.inf if least is None else least
            return Bar.within(bar, mean, least, most, unit=unit, n=n, low=low, high=high)
        if least is not None:
            return Bar.at_least(bar, mean, least, unit=unit, n=n, low=low, high=high)
        return Bar.report(bar, mean, unit=unit, n=n, low=low, high=high)

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


def mean_interval(samples: np.ndarray) -> tuple[float, float, float]:
    """Return a mean and its 95 % interval (Student's t), from independent samples [n], n >= 2."""
    samples = np.asarray(samples, dtype=float)
    mean, freedom = float(samples.mean()), len(samples) - 1
    half = _student(freedom) * float(samples.std(ddof=1)) / math.sqrt(len(samples))
    return mean, mean - half, mean + half


def _student(freedom: int) -> float:
    """The 97.5 % point of Student's distribution; Abramowitz and Stegun 26.7.5 where it is exact to a thousandth."""
    exact = (12.7062, 4.3027, 3.1824, 2.7764)
    if freedom <= len(exact):
        return exact[freedom - 1]
    z, v = 1.959964, freedom
    first, second = (z**3 + z) / (4 * v), (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
    return z + first + second + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
