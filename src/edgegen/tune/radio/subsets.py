"""Sets of sites with additive value: the least use of what they have in common that reaches a value, or the most value.

A covering knapsack with two burdens, room and energy, solved exactly: sites are added one by one, and of partial sets only those are
kept that no other beats in value, room and energy (Nemhauser and Ullmann 1969). That is quick as long as few partial sets are
incomparable, as with tens of sites with unlike figures; so many that it is not are refused, never approximated.
"""

import bisect
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from edgegen.core.errors import InputError

MOST_KEPT = 200_000
_FINE = 1e-12


class Burdens(NamedTuple):
    """What K sites bring and take; every column is float[K], inf for a site that cannot take part."""

    value: np.ndarray
    room: np.ndarray
    energy_j: np.ndarray


class _Partial(NamedTuple):
    value: float
    room: float
    energy_j: float
    members: int  # bits
    many: int  # members, up to the least number wanted


def least_room(of: Burdens, need: float, *, energy_j: float, least: int = 1) -> np.ndarray | None:
    """Return the set, bool[K], of value >= need and room <= 1 that takes least room, then least energy, within the energy.

    At least so many sites take part. None if there is no such set.
    """
    found = [one for one in _front(of, need, energy_j, least) if one.many >= least and one.value >= need - _FINE]
    return _mask(of, min(found, key=lambda one: (one.room, one.energy_j))) if found else None


def most_value(of: Burdens, *, energy_j: float, least: int = 1) -> np.ndarray | None:
    """Return the set, bool[K], of most value within room 1 and the energy; None if no such set of at least so many fits."""
    found = [one for one in _front(of, np.inf, energy_j, least) if one.many >= least]
    return _mask(of, max(found, key=lambda one: one.value)) if found else None


def _mask(of: Burdens, chosen: _Partial) -> np.ndarray:
    return np.array([chosen.members >> site & 1 for site in range(len(of.value))], dtype=bool)


def _front(of: Burdens, need: float, energy_j: float, least: int) -> list[_Partial]:
    """Return the sets that fit and that no other of as many beats; value beyond the need does not count."""
    can = np.isfinite(of.room) & np.isfinite(of.energy_j) & (of.value > 0)
    order = sorted(np.flatnonzero(can).tolist(), key=lambda site: -of.value[site])
    left = float(of.value[can].sum())
    kept = [_Partial(0.0, 0.0, 0.0, 0, 0)]
    counts_energy = bool(np.isfinite(energy_j))
    for site in order:
        value, room, joules = float(of.value[site]), float(of.room[site]), float(of.energy_j[site])
        left -= value
        grown = [
            _Partial(
                min(one.value + value, need),
                one.room + room,
                one.energy_j + joules,
                one.members | 1 << site,
                min(one.many + 1, least),
            )
            for one in kept
            if one.room + room <= 1 + _FINE and one.energy_j + joules <= energy_j * (1 + _FINE)
        ]
        hopeful = [one for one in [*kept, *grown] if np.isinf(need) or one.value + left >= need - 1e-9]
        kept = []
        for many in range(least + 1):
            kept += _unbeaten((one for one in hopeful if one.many == many), counts_energy=counts_energy)
        if len(kept) > MOST_KEPT:
            raise InputError(f"{len(order)} sites are too many to choose among exactly with an energy limit")
    return kept


def _unbeaten(partial: Iterable[_Partial], *, counts_energy: bool) -> list[_Partial]:
    """Keep what nothing beats in value, room and (where it is limited) energy."""
    out: list[_Partial] = []
    energies: list[float] = []  # rising, each with more value than those before: the best so far, by energy
    values: list[float] = []
    for one in sorted(partial, key=lambda one: (one.room, one.energy_j, -one.value)):
        joules = one.energy_j if counts_energy else 0.0
        at = bisect.bisect_right(energies, joules)
        if at and values[at - 1] >= one.value:
            continue
        last = at
        while last < len(values) and values[last] <= one.value:
            last += 1
        energies[at:last], values[at:last] = [joules], [one.value]
        out.append(one)
    return out
