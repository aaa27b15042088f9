"""Whose time and energy it was: every second that an engine is busy belongs to a request, and the rest is idle.

A pass is shared by its rows in proportion to the rows that they put into the network (a guided request puts two), what is done for one
request alone (reading its prompt, decoding its picture, a preview) is that request's. So requests add up to the engine's total by
construction; time in which the engine does nothing stands apart and is nobody's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from edgegen.generate.meters import EnergyCounter

Meter = Callable[[], float]  # joules since some moment; only differences count


class Spent(NamedTuple):
    """What a request took of its engine so far."""

    seconds: float = 0.0
    joules: float = 0.0

    def plus(self, other: Spent) -> Spent:
        """Add up."""
        return Spent(self.seconds + other.seconds, self.joules + other.joules)

    def share(self, part: float) -> Spent:
        """Take a part."""
        return Spent(self.seconds * part, self.joules * part)


@dataclass(frozen=True)
class Account:
    """Where an engine's time and energy went since it was made: busy + idle is all of it, and busy is its requests'."""

    busy: Spent
    idle: Spent
    given_up: Spent  # the part of busy that went into requests that were cancelled or given back


def unmetered() -> float:
    """Read no meter: all energies are 0."""
    return 0.0


def declared(power_w: float, clock: Callable[[], float]) -> Meter:
    """Read a meter that counts a declared power; it counts idle time at the same power."""
    return lambda: power_w * clock()


def counted(counter: EnergyCounter) -> Meter:
    """Read this machine's energy counters, which start again at zero now and then."""
    last, total_j = counter.read_uj(), 0.0

    def read() -> float:
        nonlocal last, total_j
        now = counter.read_uj()
        total_j += counter.spent_j(last, now)
        last = now
        return total_j

    return read


class Purse:
    """Keeps an engine's account. Time is measured between `begin` and `end`."""

    def __init__(self, clock: Callable[[], float], meter: Meter) -> None:
        self._clock, self._meter = clock, meter
        self._mark = (clock(), meter())
        self._busy = self._idle = self._given_up = Spent()

    @property
    def account(self) -> Account:
        """The account up to now."""
        return Account(self._busy, self._idle.plus(self._since_mark()), self._given_up)

    def begin(self) -> None:
        """Begin to be busy: what was since the last `lap` was idle."""
        self._idle = self._idle.plus(self._since_mark(move=True))

    def lap(self) -> Spent:
        """Return what was spent since the last `begin` or `lap`."""
        part = self._since_mark(move=True)
        self._busy = self._busy.plus(part)
        return part

    def give_up(self, spent: Spent) -> None:
        """Book what went into a request that is not finished here."""
        self._given_up = self._given_up.plus(spent)

    def _since_mark(self, *, move: bool = False) -> Spent:
        seconds, joules = now = (self._clock(), self._meter())
        part = Spent(seconds - self._mark[0], joules - self._mark[1])
        if move:
            self._mark = now
        return part
