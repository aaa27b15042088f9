"""What a federated run brings, as a function of what it is given: the form is our choice, its numbers are fitted to measured runs.

    gain = top  x  v^coverage  x  (1 - exp(-R E^drift / pace))  x  r / (r + half_rank)  x  1 / (1 + (noise / 2^b)^2)

v is the fraction of all pictures that the participants hold (additive over sites), R rounds of E local steps, r the rank of the
adapters, b bits for a sent number. Every factor is in (0, 1], saturates, and never falls when more is given. Reasons: steps in one
round pull sites apart, so the tenth is worth less than the first (drift < 1); adapters stop gaining once their rank is that of the
change; rounding to b bits is noise whose power falls fourfold per bit. No source states this form. It knows nothing of which sites hold
what: two sites with the same pictures count twice. Whoever has measured runs fits it (`fit`) and looks at the error.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.optimize import least_squares

from edgegen.core.errors import InputError


@dataclass(frozen=True)
class Gain:
    """Gain in judged quality over the base model; see the module for the form."""

    top: float  # all pictures, endless rounds, endless rank, exact numbers
    coverage: float  # 0: one site is as good as all
    pace: float  # effective steps after which 63 % is reached
    drift: float  # in (0, 1]; 1: E steps in one round are worth E rounds of one step
    half_rank: float  # rank with half of the gain
    noise: float  # 2^bits at which rounding takes half of the gain

    def __call__(self, value: float, *, rank: float, bits: float, steps: float, rounds: float) -> float:
        """Return the gain of participants that hold the fraction `value` of all pictures."""
        return self._full(rank, bits, steps, rounds) * value**self.coverage if value > 0 else 0.0

    def least_value(self, target: float, *, rank: float, bits: float, steps: float, rounds: float) -> float:
        """Return the least fraction of all pictures with which the target is reached; more than 1: not with all of them."""
        full = self._full(rank, bits, steps, rounds)
        if target <= 0:
            return 0.0
        if full <= 0 or (self.coverage == 0 and full < target):
            return math.inf
        return (target / full) ** (1 / self.coverage) if self.coverage > 0 else 0.0

    def _full(self, rank: float, bits: float, steps: float, rounds: float) -> float:
        progress = -math.expm1(-rounds * steps**self.drift / self.pace)
        return self.top * progress * rank / (rank + self.half_rank) / (1 + (self.noise / 2**bits) ** 2)


class Measured(NamedTuple):
    """One measured run."""

    value: float  # fraction of all pictures that the participants held, in (0, 1]
    rank: float
    bits: float
    steps: float  # local steps per round
    rounds: float
    gain: float


class Fitted(NamedTuple):
    """A fitted gain, and how far to trust it."""

    gain: Gain
    rmse: float  # in the unit of the gain
    n: int
    kept: tuple[str, ...]  # what the runs do not tell, because it was the same in all of them; as in `start`


START = Gain(top=0.5, coverage=0.3, pace=60.0, drift=0.7, half_rank=1.0, noise=20.0)
"""Guessed; where a fit begins, and what it keeps where runs tell nothing."""

_BOUNDS = {
    "top": (1e-4, 10.0),
    "coverage": (1e-3, 5.0),
    "pace": (1e-2, 1e5),
    "drift": (0.05, 1.0),
    "half_rank": (1e-3, 1e3),
    "noise": (1e-3, 1e6),
}


def fit(runs: Sequence[Measured], *, start: Gain = START) -> Fitted:
    """Fit a gain to measured runs by least squares; what did not vary in them is kept from `start`.

    **Raises** `InputError` for fewer runs than numbers to find, or a run that cannot be.
    """
    table = np.array(runs, dtype=float).reshape(-1, len(Measured._fields))
    if not np.isfinite(table).all() or (table[:, :5] <= 0).any() or (table[:, 0] > 1 + 1e-9).any():
        raise InputError("a run needs 0 < value <= 1, rank, bits, steps and rounds > 0, and a finite gain")
    free = _free(table)
    if len(table) < len(free):
        raise InputError(f"{len(table)} runs cannot tell {len(free)} numbers ({', '.join(free)}): measure more runs")
    low, high = np.log([_BOUNDS[name] for name in free]).T
    begin = np.clip(np.log([getattr(start, name) for name in free]), low, high)

    def model(logs: np.ndarray) -> Gain:
        return replace(start, **dict(zip(free, np.exp(logs).tolist(), strict=True)))

    def errors(logs: np.ndarray) -> np.ndarray:
        gain = model(logs)
        return np.array([gain(v, rank=r, bits=b, steps=e, rounds=n) - found for v, r, b, e, n, found in table.tolist()])

    rng = np.random.default_rng(0)
    begins = [begin, *(np.clip(begin + rng.normal(0, 1, len(free)), low, high) for _ in range(4))]
    tried = [least_squares(errors, one, bounds=(low - 1e-9, high + 1e-9)) for one in begins]
    best = min(tried, key=lambda one: one.cost)
    kept = tuple(name for name in _BOUNDS if name not in free)
    return Fitted(model(best.x), float(np.sqrt(np.mean(best.fun**2))), len(table), kept)


def _free(table: np.ndarray) -> list[str]:
    value, rank, bits, steps, rounds, _ = (np.unique(column).size > 1 for column in table.T)
    varied = {
        "top": True,
        "coverage": value,
        "pace": steps or rounds,
        "drift": steps,
        "half_rank": rank,
        "noise": bits,
    }
    return [name for name, tells in varied.items() if tells]
