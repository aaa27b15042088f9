"""Curves: how quality, step time and energy depend on steps or batch size.

Five forms cover what the systems need. Every form is monotone, so a planner may search it by bisection:

| form                     | value at x                                                 | parameters     |
|--------------------------|------------------------------------------------------------|----------------|
| `two_knee`               | y0 up to x0, a straight line to y1 at x1, y1 beyond        | x0, y0, x1, y1 |
| `saturating_exponential` | a - b exp(-x / c)                                          | a, b, c        |
| `power_law`              | a - b x^(-c), for x > 0                                    | a, b, c        |
| `affine`                 | a + b x                                                    | a, b           |
| `table`                  | straight lines between the points, clamped outside of them | points x, y    |

A measured table is the truth; the other forms are approximations of it, kept with their residuals (`Fit`).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from edgegen.core.errors import ProfileError, suggest
from edgegen.core.fits import FITS, Floats, monotone, ramp, tidy

__all__ = ["FITTED_FORMS", "PARAMETERS", "Curve", "Fit", "fit_all", "fit_best", "monotone", "tidy"]

PARAMETERS = MappingProxyType(
    {
        "two_knee": ("x0", "y0", "x1", "y1"),
        "saturating_exponential": ("a", "b", "c"),
        "power_law": ("a", "b", "c"),
        "affine": ("a", "b"),
        "table": (),
    }
)
"""Names of the parameters of every form, in the order of `Curve.params`."""

FITTED_FORMS = ("two_knee", "saturating_exponential", "power_law", "affine")
"""Forms that `Curve.fit` can fit; a table is not fitted, it is what was measured."""


@dataclass(frozen=True)
class Curve:
    """A monotone function of one variable (denoising steps, or batch size).

    form: one of `PARAMETERS`.
    params: numbers named by `PARAMETERS[form]`; empty for a table.
    x, y: the points of a table, x strictly rising; None for the other forms.
    """

    form: str
    params: tuple[float, ...] = ()
    x: tuple[float, ...] | None = None
    y: tuple[float, ...] | None = None

    def __post_init__(self):
        if self.form not in PARAMETERS:
            known = ", ".join(PARAMETERS)
            raise ProfileError(f"no curve form named {self.form!r};{suggest(self.form, PARAMETERS)} known: {known}")
        names = PARAMETERS[self.form]
        if len(self.params) != len(names):
            expected = f"{len(names)} parameters ({', '.join(names)})" if names else "no parameters"
            raise ProfileError(f"a {self.form} curve takes {expected}, got {len(self.params)}")
        for name, value in zip(names, self.params, strict=True):
            if not math.isfinite(value):
                raise ProfileError(f"parameter {name} of a {self.form} curve must be finite, got {value}")
        _CHECKS.get(self.form, _refuse_points)(self)

    def __call__(self, x: ArrayLike) -> Floats:
        """Return the value at every x. NaN gives NaN (dead rows), negative x is refused."""
        at = np.asarray(x, dtype=np.float64)
        if np.any(at < 0):
            raise ProfileError(f"a curve is defined for x >= 0, got {float(np.nanmin(at)):g}")
        return _EVALUATE[self.form](self, at)

    @property
    def parameters(self) -> dict[str, float]:
        """The parameters by name."""
        return dict(zip(PARAMETERS[self.form], self.params, strict=True))

    @property
    def is_rising(self) -> bool:
        """Whether the curve never falls; a constant rises."""
        match self.form:
            case "two_knee":
                return self.params[3] >= self.params[1]
            case "table":
                return bool(np.all(np.diff(self.y or ()) >= 0))
            case _:
                return self.params[1] >= 0

    @classmethod
    def table(cls, x: ArrayLike, y: ArrayLike) -> "Curve":
        """Return the curve through these points, which must be monotone (see `monotone`)."""
        return cls("table", x=tuple(_list(x).tolist()), y=tuple(_list(y).tolist()))

    @classmethod
    def affine(cls, a: float, b: float) -> "Curve":
        """Return a + b x."""
        return cls("affine", (float(a), float(b)))

    @classmethod
    def fit(cls, form: str, x: ArrayLike, y: ArrayLike, *, relative: bool = False) -> "Fit":
        """Fit a form to points by least squares and say how well it went.

        relative: weigh by 1 / y^2, so that a step of one picture counts as much as a step of sixteen.
        """
        if form not in FITTED_FORMS:
            known = ", ".join(FITTED_FORMS)
            raise ProfileError(f"cannot fit a form named {form!r};{suggest(form, FITTED_FORMS)} can be fitted: {known}")
        xs, ys = _points(x, y, least=len(PARAMETERS[form]))
        if form == "power_law" and xs.min() <= 0:
            raise ProfileError(f"a power_law is defined for x > 0, got a point at x = {xs.min():g}")
        if relative and ys.min() <= 0:
            raise ProfileError(f"a relative fit needs y > 0, got {ys.min():g}")
        weights = ys**-2.0 if relative else np.ones_like(ys)
        return _residuals(cls(form, FITS[form](xs, ys, weights)), xs, ys)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for a JSON file; `from_dict` reads it back."""
        if self.form == "table":
            return {"form": "table", "x": list(self.x or ()), "y": list(self.y or ())}
        return {"form": self.form, "params": self.parameters}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Curve":
        """Build a curve from plain data, naming what is wrong with it."""
        unknown = sorted(set(data) - {"form", "params", "x", "y"})
        if unknown:
            raise ProfileError(f"a curve has no field {unknown[0]!r}; its fields are form, params, x, y")
        form = data.get("form")
        if not isinstance(form, str):
            raise ProfileError(f"a curve needs the name of its form, one of {', '.join(PARAMETERS)}; got {form!r}")
        if form == "table":
            return cls.table(data.get("x", ()), data.get("y", ()))
        if "x" in data or "y" in data:
            raise ProfileError(f"only a table has points x and y; this curve is a {form}")
        params = data.get("params", {})
        names = PARAMETERS.get(form, ())
        if form in PARAMETERS and set(params) != set(names):
            raise ProfileError(
                f"a {form} curve takes the parameters {', '.join(names)}; got {', '.join(params) or 'none'}"
            )
        return cls(form, tuple(float(params[name]) for name in names))


@dataclass(frozen=True)
class Fit:
    """A fitted curve and how far it is from the points it was fitted to.

    rmse, max_error: in the unit of y. r2: share of the variance explained. n: number of points.
    """

    curve: Curve
    rmse: float
    max_error: float
    r2: float
    n: int

    def tidy(self) -> "Fit":
        """Return the fit with six digits of every number, more than any measurement has."""
        curve = Curve(self.curve.form, tuple(tidy(value) for value in self.curve.params))
        return Fit(curve, tidy(self.rmse), tidy(self.max_error), tidy(self.r2), self.n)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for a JSON file."""
        residuals = {"rmse": self.rmse, "max_error": self.max_error, "r2": self.r2, "n": self.n}
        return {"curve": self.curve.to_dict(), **residuals}


def fit_all(x: ArrayLike, y: ArrayLike, *, forms: Iterable[str] = FITTED_FORMS) -> tuple[Fit, ...]:
    """Fit every form that has no more parameters than there are points, best first."""
    forms = tuple(forms)
    xs, ys = _points(x, y, least=2)
    fits = [Curve.fit(form, xs, ys) for form in forms if len(PARAMETERS.get(form, ())) <= len(xs)]
    if not fits:
        raise ProfileError(f"{len(xs)} points are too few for any of the forms {', '.join(forms)}")
    # Rounded, so that two exact fits are decided by the number of parameters and not by the last bit.
    return tuple(sorted(fits, key=lambda fit: (round(fit.rmse, 12), len(fit.curve.params))))


def fit_best(x: ArrayLike, y: ArrayLike, *, forms: Iterable[str] = FITTED_FORMS) -> Fit:
    """Return the fit with the smallest residual; of equal ones, the form with fewer parameters."""
    return fit_all(x, y, forms=forms)[0]


def _residuals(curve: Curve, x: Floats, y: Floats) -> Fit:
    off = curve(x) - y
    total = float(np.sum((y - np.mean(y)) ** 2))
    unexplained = float(np.sum(off**2))
    r2 = 1.0 - unexplained / total if total > 0 else float(unexplained == 0)
    return Fit(curve, float(np.sqrt(np.mean(off**2))), float(np.max(np.abs(off))), r2, len(x))


# --------------------------------------------------------------------------------------- what a form may be


def _refuse_points(curve: Curve) -> None:
    if curve.x is not None or curve.y is not None:
        raise ProfileError(f"only a table has points x and y; this curve is a {curve.form}")


def _check_two_knee(curve: Curve) -> None:
    _refuse_points(curve)
    x0, _, x1, _ = curve.params
    if not 0 <= x0 < x1:
        raise ProfileError(f"the knees of a two_knee curve must be 0 <= x0 < x1, got x0 = {x0:g}, x1 = {x1:g}")


def _check_scale(curve: Curve) -> None:
    _refuse_points(curve)
    if curve.params[2] <= 0:
        raise ProfileError(f"parameter c of a {curve.form} curve must be > 0, got {curve.params[2]:g}")


def _check_table(curve: Curve) -> None:
    xs, ys = _points(curve.x or (), curve.y or (), least=1)
    if not np.array_equal(xs, np.asarray(curve.x)):
        raise ProfileError(f"the x of a table must rise strictly, got {list(curve.x or ())}")
    change = np.diff(ys)
    if np.any(change > 0) and np.any(change < 0):
        raise ProfileError(f"the y of a table must never turn, got {ys.tolist()}; project it with monotone() first")


def _list(values: ArrayLike) -> Floats:
    return np.atleast_1d(np.asarray(values, dtype=np.float64))


def _points(x: ArrayLike, y: ArrayLike, *, least: int) -> tuple[Floats, Floats]:
    """Return the points sorted by x, or say what is wrong with them."""
    xs, ys = _list(x), _list(y)
    if xs.ndim != 1 or xs.shape != ys.shape:
        raise ProfileError(f"points need two lists of the same length, got shapes {xs.shape} and {ys.shape}")
    if xs.size == 0:
        raise ProfileError("points must not be empty: give at least one x and y")
    for name, values in (("x", xs), ("y", ys)):
        if not np.all(np.isfinite(values)):
            raise ProfileError(f"{name} must be finite, got {values.tolist()}")
    if xs.min() < 0:
        raise ProfileError(f"x must be >= 0 (steps, or batch size), got {xs.min():g}")
    order = np.argsort(xs, kind="stable")
    xs, ys = xs[order], ys[order]
    if np.any(np.diff(xs) == 0):
        raise ProfileError(f"x must not repeat, got {xs.tolist()}; average repeated measurements first")
    if xs.size < least:
        raise ProfileError(f"{xs.size} points are too few: this needs at least {least}")
    return xs, ys


# --------------------------------------------------------------------------------------------------- values


def _two_knee(curve: Curve, x: Floats) -> Floats:
    x0, y0, x1, y1 = curve.params
    share = ramp(x, x0, x1)
    return y0 * (1.0 - share) + y1 * share  # exact at both ends, which y0 + (y1 - y0) ramp is not


def _saturating_exponential(curve: Curve, x: Floats) -> Floats:
    a, b, c = curve.params
    return a - b * np.exp(-x / c)


def _power_law(curve: Curve, x: Floats) -> Floats:
    if np.any(x == 0):
        raise ProfileError("a power_law is defined for x > 0, got 0")
    a, b, c = curve.params
    return a - b * x**-c


def _affine(curve: Curve, x: Floats) -> Floats:
    a, b = curve.params
    return a + b * x


def _table(curve: Curve, x: Floats) -> Floats:
    # interp returns the value of a single point even at NaN
    return np.where(np.isnan(x), np.nan, np.interp(x, np.asarray(curve.x), np.asarray(curve.y)))


_CHECKS = {
    "two_knee": _check_two_knee,
    "saturating_exponential": _check_scale,
    "power_law": _check_scale,
    "table": _check_table,
}
_EVALUATE = {
    "two_knee": _two_knee,
    "saturating_exponential": _saturating_exponential,
    "power_law": _power_law,
    "affine": _affine,
    "table": _table,
}
