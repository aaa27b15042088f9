"""The types of a scenario's fields: text with a unit, and values that differ from user to user."""

import dataclasses
import math
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from edgegen.core.errors import InputError, suggest
from edgegen.core.units import parse_quantity

NONE = "none"
"""What a file says where a limit is missing or a node is out of reach."""


@dataclasses.dataclass(frozen=True)
class Spread:
    """What a quantity is for each member of a group: one value for all, one each, or drawn between two.

    values: one number, or as many as there are members; empty when drawn. each: whether the values are a list with one
    for each member. low, high: the range, SI.
    """

    values: tuple[float, ...] = ()
    each: bool = False
    low: float = math.nan
    high: float = math.nan

    def draw(self, count: int, part: Callable[[int], np.ndarray]) -> np.ndarray:
        """Return float[count]. `part(count)` gives uniform numbers in [0, 1); it is called for a range only."""
        if not self.values:
            return self.low + (self.high - self.low) * part(count)
        return np.array(self.values) if self.each else np.full(count, self.values[0])

    @property
    def listed(self) -> int | None:
        """How many members the list is for, None without a list."""
        return len(self.values) if self.each else None


@dataclasses.dataclass(frozen=True)
class Matrix:
    """One value for each pair: rows are members of the group, columns are servers. float[rows, columns]."""

    rows: tuple[tuple[float, ...], ...]


def refuse(message: str, at: str = "") -> PydanticCustomError:
    """Return the error of one field; `at` is added to the field's path."""
    return PydanticCustomError("quantity", "{message}", {"message": message, "at": at})


def _number(raw: Any, kind: str, *, least: float, zero: bool, none: float | None, at: str = "") -> float:
    if raw == NONE and none is not None:
        return none
    if raw in ("inf", "infinite") or (isinstance(raw, float) and not math.isfinite(raw)):
        instead = f"; write '{NONE}' for no limit" if none is not None else ""
        raise refuse(f"expected a finite {kind}, got {raw!r}{instead}", at)
    try:
        value = parse_quantity(raw, kind)  # type: ignore[arg-type]  # it refuses what is no text
    except InputError as error:
        message = str(error) if none is None else str(error).replace(", got ", f", or '{NONE}', got ", 1)
        raise refuse(message, at) from None
    if value < least or (value == least and not zero):
        raise refuse(f"expected a {kind} {'>=' if zero else '>'} {least:g}, got {raw!r}", at)
    return value


def quantity(kind: str, *, zero: bool = False, none: float | None = None) -> BeforeValidator:
    """Return a parser of one quantity; `none` is the number that "none" stands for, where it may stand."""
    return BeforeValidator(lambda raw: _number(raw, kind, least=0.0, zero=zero, none=none))


def _spread(raw: Any, one: Callable[[Any, str], float]) -> Spread:
    if isinstance(raw, Spread):
        return raw
    if isinstance(raw, dict):
        unknown = sorted(set(raw) - {"from", "to"})
        if unknown or len(raw) != 2:
            hint = f"unknown {unknown[0]!r};{suggest(unknown[0], ('from', 'to'))} " if unknown else ""
            raise refuse(f"a range is {{from = ..., to = ...}}; {hint}got the keys {', '.join(raw) or 'none'}")
        low, high = one(raw["from"], ".from"), one(raw["to"], ".to")
        if not low <= high or math.isinf(high):
            raise refuse(f"a range must rise and be finite, got from {raw['from']!r} to {raw['to']!r}")
        return Spread(low=low, high=high)
    if isinstance(raw, list):
        if not raw:
            raise refuse("a list must hold one value for each member of the group, got none")
        return Spread(tuple(one(value, f"[{k}]") for k, value in enumerate(raw)), each=True)
    return Spread((one(raw, ""),))


def spread(kind: str, *, zero: bool = False, none: float | None = None) -> BeforeValidator:
    """Return a parser of a value, a list of values or a range {from, to}."""

    def parse(raw: Any) -> Spread:
        return _spread(raw, lambda value, at: _number(value, kind, least=0.0, zero=zero, none=none, at=at))

    return BeforeValidator(parse)


def _distances(raw: Any) -> Spread | Matrix:
    def one(value: Any, at: str) -> float:
        return _number(value, "distance", least=0.0, zero=False, none=math.inf, at=at)

    if isinstance(raw, list) and any(isinstance(row, list) for row in raw):
        for k, row in enumerate(raw):
            if not isinstance(row, list) or len(row) != len(raw[0]):
                raise refuse("the rows of a matrix of distances must be lists of the same length", f"[{k}]")
        rows = tuple(tuple(one(v, f"[{n}][{m}]") for m, v in enumerate(row)) for n, row in enumerate(raw))
        return Matrix(rows)
    return raw if isinstance(raw, Matrix) else _spread(raw, one)


def _plain(raw: Any) -> Any:
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not math.isfinite(raw):
        raise refuse(f"expected a finite number, got {raw!r}")
    return float(raw)


def _names(raw: Any) -> Any:
    return [raw] if isinstance(raw, str) else raw


def _name(raw: Any) -> str:
    if not isinstance(raw, str) or not raw.strip() or len(raw) > 64 or any(sign in raw for sign in "/\\\n\t[].="):
        raise refuse(f"expected a short name without slashes, dots, brackets or line breaks, got {raw!r}")
    return raw


def _steps(raw: Any) -> tuple[int, ...]:
    """Return a rising set of step counts from a number, a list or {from, to, by}."""
    if isinstance(raw, dict):
        known = ("from", "to", "by")
        for key in raw:
            if key not in known:
                raise refuse(f"a range of steps is {{from, to, by}};{suggest(key, known)} got {key!r}")
        if not {"from", "to"} <= set(raw):
            raise refuse("a range of steps is {from = 5, to = 50, by = 1}: 'from' and 'to' are needed")
        for key in raw:
            _count(raw[key], f".{key}")
        if raw["from"] > raw["to"]:
            raise refuse(f"a range of steps must rise, got from {raw['from']} to {raw['to']}")
        return tuple(range(raw["from"], raw["to"] + 1, raw.get("by", 1)))
    if not isinstance(raw, list | tuple):
        return (_count(raw),)
    counts = tuple(_count(value, f"[{k}]") for k, value in enumerate(raw))
    if not counts or list(counts) != sorted(set(counts)):
        raise refuse(f"steps must hold step counts that rise without repeating, got {list(raw)}")
    return counts


def _count(raw: Any, at: str = "") -> int:
    if isinstance(raw, bool) or not isinstance(raw, int) or not 1 <= raw <= 100_000:
        raise refuse(f"expected a whole number of steps from 1 to 100000, got {raw!r}", at)
    return raw


Times = Annotated[Spread, spread("time")]
TimesOrNone = Annotated[Spread, spread("time", none=math.inf)]
Energies = Annotated[Spread, spread("energy")]
EnergiesOrNone = Annotated[Spread, spread("energy", none=math.inf)]
Amounts = Annotated[Spread, spread("data volume", zero=True)]
Powers = Annotated[Spread, spread("power", zero=True)]
Clocks = Annotated[Spread, spread("frequency")]
PowerCoefficients = Annotated[Spread, spread("power per cubed clock", zero=True)]
Distances = Annotated[Spread | Matrix, BeforeValidator(_distances)]
Reach = Annotated[float, quantity("distance", none=math.inf)]
Delay = Annotated[float, quantity("time", zero=True)]
Watts = Annotated[float, quantity("power", zero=True)]
Work = Annotated[float, quantity("compute work")]
WorkOrNothing = Annotated[float, quantity("compute work", zero=True)]
Number = Annotated[float, BeforeValidator(_plain)]
Positive = Annotated[Number, Field(gt=0)]
AtLeastZero = Annotated[Number, Field(ge=0)]
Share = Annotated[Number, Field(ge=0, le=1)]
Name = Annotated[str, BeforeValidator(_name)]
NameList = Annotated[list[str], BeforeValidator(_names), Field(min_length=1)]
Steps = Annotated[tuple[int, ...], BeforeValidator(_steps)]
