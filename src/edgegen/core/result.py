"""A measured figure beside its goal: what `edgegen bench` prints."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Bar:
    """One figure. `ok` is computed from value and goal, and None where there is no goal.

    `low` and `high` bound the 95 % interval where one is known; `n` is the number of samples behind the value. `published` is
    what the source gives for it, where it does: shown beside, never a goal.
    """

    bar: str
    value: float
    unit: str
    goal: str
    ok: bool | None
    n: int
    low: float | None = None
    high: float | None = None
    published: float | None = None

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
        bar: str,
        samples: np.ndarray,
        least: float | None = None,
        most: float | None = None,
        *,
        unit: str = "",
        published: float | None = None,
    ) -> "Bar":
        """Return the mean of independent samples with its 95 % interval; it should be within what bounds are given."""
        mean, low, high = mean_interval(samples)
        known: dict = {"unit": unit, "n": len(samples), "low": low, "high": high}
        if least is not None and most is not None:
            found = Bar.within(bar, mean, least, most, **known)
        elif least is not None:
            found = Bar.at_least(bar, mean, least, **known)
        elif most is not None:
            found = Bar.at_most(bar, mean, most, **known)
        else:
            found = Bar.report(bar, mean, **known)
        return dataclasses.replace(found, published=published)

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
    mean = float(samples.mean())
    half = student(len(samples) - 1) * float(samples.std(ddof=1)) / math.sqrt(len(samples))
    return mean, mean - half, mean + half


def interval(values: Sequence[float] | np.ndarray) -> dict[str, float | int | None]:
    """Return mean, 95 % interval of the mean and number of the values that are numbers; what is not known is None."""
    numbers = np.asarray(values, dtype=float)
    numbers = numbers[~np.isnan(numbers)]
    if numbers.size < 2:
        return {"mean": float(numbers[0]) if numbers.size else None, "low": None, "high": None, "n": int(numbers.size)}
    mean, low, high = mean_interval(numbers)
    return {"mean": mean, "low": low, "high": high, "n": int(numbers.size)}


def student(freedom: int) -> float:
    """Return the 97.5 % quantile of Student's t, to 1e-3 (from a table up to 4, else Cornish and Fisher's expansion)."""
    exact = (12.7062, 4.3027, 3.1824, 2.7764)
    if freedom <= len(exact):
        return exact[freedom - 1]
    z, d = 1.959963985, float(freedom)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / d ** (k + 1) for k, term in enumerate(terms))
