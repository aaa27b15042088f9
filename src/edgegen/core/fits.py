"""Least squares for the forms of `Curve`, and the closest monotone sequence.

Every form is  y = intercept + slope * basis(x; shape):  linear in two numbers once its shape is fixed. So only the
shape (one number, or the two knees) is searched, on a grid that narrows, and the rest is a straight-line regression.
That needs no starting guess and gives the same answer everywhere.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgegen.core.errors import ProfileError

Floats = NDArray[np.float64]

_SHAPE_ROUNDS = 5  # each round narrows the range of a shape parameter by a factor of eight
_SHAPE_GRID = 48


def ramp(x: Floats, x0: float | Floats, x1: float | Floats) -> Floats:
    """Return 0 up to x0, 1 from x1 on, and a straight line between them."""
    return np.clip((x - x0) / (x1 - x0), 0.0, 1.0)


def _regress(basis: Floats, y: Floats, w: Floats) -> tuple[Floats, Floats, Floats]:
    """Regress y on each row of basis with weights w; return intercepts, slopes and weighted squared errors."""
    w = w / w.sum()
    y_mean, means = np.sum(w * y), np.sum(w * basis, axis=-1)
    centred = basis - means[..., None]
    spread = np.sum(w * centred**2, axis=-1)
    flat = spread <= 1e-18 * np.maximum(1.0, np.sum(w * basis**2, axis=-1))
    slope = np.where(flat, 0.0, np.sum(w * centred * (y - y_mean), axis=-1) / np.where(flat, 1.0, spread))
    intercept = y_mean - slope * means
    error = np.sum(w * (intercept[..., None] + slope[..., None] * basis - y) ** 2, axis=-1)
    return intercept, slope, error


def _fit_affine(x: Floats, y: Floats, w: Floats) -> tuple[float, ...]:
    intercept, slope, _ = _regress(x[None, :], y, w)
    return float(intercept[0]), float(slope[0])


def _search_scale(
    basis: Callable[[Floats], Floats], low: float, high: float, y: Floats, w: Floats
) -> tuple[float, float, float]:
    """Return intercept, slope and the shape c in [low, high] with the least error, searched on a log grid."""
    centre, width = math.log(low * high) / 2, math.log(high / low) / 2
    best: tuple[float, float, float] = (0.0, 0.0, low)
    for _ in range(_SHAPE_ROUNDS):
        logs = np.linspace(centre - width, centre + width, _SHAPE_GRID)
        logs = np.clip(logs, math.log(low), math.log(high))
        intercept, slope, error = _regress(basis(np.exp(logs)[:, None]), y, w)
        at = int(np.argmin(error))
        best = (float(intercept[at]), float(slope[at]), float(np.exp(logs[at])))
        centre, width = float(logs[at]), width / 8
    return best


def _fit_power_law(x: Floats, y: Floats, w: Floats) -> tuple[float, ...]:
    a, slope, c = _search_scale(lambda c: x**-c, 0.02, 12.0, y, w)
    return a, -slope, c


def _fit_saturating_exponential(x: Floats, y: Floats, w: Floats) -> tuple[float, ...]:
    span = float(x[-1] - x[0])
    a, slope, c = _search_scale(lambda c: np.exp(-x / c), span / 200, span * 20, y, w)
    return a, -slope, c


def _fit_two_knee(x: Floats, y: Floats, w: Floats) -> tuple[float, ...]:
    low, high = float(x[0]), float(x[-1])
    starts = ends = np.union1d(np.linspace(low, high, _SHAPE_GRID), x)
    width = high - low
    best: tuple[float, ...] = (low, 0.0, high, 0.0)
    for _ in range(_SHAPE_ROUNDS):
        x0, x1 = (grid.ravel() for grid in np.meshgrid(starts, ends, indexing="ij"))
        apart = x1 - x0 > 1e-9 * (high - low)
        x0, x1 = x0[apart], x1[apart]
        intercept, slope, error = _regress(ramp(x, x0[:, None], x1[:, None]), y, w)
        at = int(np.argmin(error))
        best = tuple(float(v) for v in (x0[at], intercept[at], x1[at], intercept[at] + slope[at]))
        width /= 8
        starts = np.clip(np.linspace(best[0] - width, best[0] + width, _SHAPE_GRID + 1), low, high)
        ends = np.clip(np.linspace(best[2] - width, best[2] + width, _SHAPE_GRID + 1), low, high)
    return best


FITS: dict[str, Callable[[Floats, Floats, Floats], tuple[float, ...]]] = {
    "two_knee": _fit_two_knee,
    "saturating_exponential": _fit_saturating_exponential,
    "power_law": _fit_power_law,
    "affine": _fit_affine,
}
"""Form -> function of sorted points and their weights (x, y, w) that returns the parameters of the least-squares fit."""


def monotone(y: ArrayLike, *, weights: ArrayLike | None = None, rising: bool = True) -> Floats:
    """Return the closest monotone sequence in weighted least squares (pool adjacent violators).

    A judge that looks at a few hundred pictures may find a hundredth less at 24 steps than at 16. More steps
    never hurt in expectation, so the noise is pooled instead of being planned on.
    """
    values = np.asarray(y, dtype=np.float64)
    weight = np.ones_like(values) if weights is None else np.asarray(weights, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ProfileError(f"a monotone projection needs a list of at least one number, got shape {values.shape}")
    if weight.shape != values.shape or np.any(weight <= 0) or not np.all(np.isfinite(weight)):
        raise ProfileError("weights must be positive, finite, and as many as the values")
    if not np.all(np.isfinite(values)):
        raise ProfileError("a monotone projection needs finite values, got NaN or infinity")
    sign = 1.0 if rising else -1.0
    blocks: list[tuple[float, float, int]] = []  # mean, weight, length
    for value, mass in zip(sign * values, weight, strict=True):
        mean, length = float(value), 1
        total = float(mass)
        while blocks and blocks[-1][0] > mean:
            before, before_mass, before_length = blocks.pop()
            mean = (before * before_mass + mean * total) / (before_mass + total)
            total, length = total + before_mass, length + before_length
        blocks.append((mean, total, length))
    return sign * np.repeat([mean for mean, _, _ in blocks], [length for _, _, length in blocks])


def tidy(value: float) -> float:
    """Return the value with six significant digits, so that files read well and compare equal everywhere."""
    return float(f"{value:.6g}")
