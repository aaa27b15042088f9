"""How much slower a node is than its profile says, learnt from the steps that it does.

A machine may be throttled, shared or simply not the one that was measured. What its steps took over what they should have taken
is averaged in logarithms, the latest steps above all, so that a few pictures are enough to notice. One step that is far off
counts as a hiccup; two in a row, on the same side, are believed at once. The factor that predictions use moves in levels, and
only when the average has clearly left its level: a machine that keeps to its profile keeps the profile's very numbers.
"""

import dataclasses
import math

LEVEL = 1.1  # neighbouring factors
LEAVES = 1.0  # levels that the average must be away from the present one
LATEST = 0.12  # weight of a step
LEAST_S = 0.004  # shorter times say more about messages than about machines
FARTHEST = 0.5  # from the average, in logarithms, that one look counts: a hiccup is not a throttled machine


@dataclasses.dataclass
class Slowness:
    """One node's factor."""

    average: float = 0.0  # of the logarithms
    level: int = 0
    latest: float = 0.0  # logarithm

    @property
    def factor(self) -> float:
        """What the profile's times of generation are multiplied by."""
        return LEVEL**self.level if self.level else 1.0

    def observe(self, expected_s: float, measured_s: float, *, steps: int) -> bool:
        """Take in how long steps took that the profile gives `expected_s`; return whether the factor changed."""
        if expected_s < LEAST_S or measured_s <= 0:
            return False
        away = math.log(measured_s / expected_s) - self.average
        before, self.latest = self.latest - self.average, away + self.average
        nearer = min(away, before, key=abs)
        if abs(nearer) > FARTHEST and away * before > 0:
            self.average += nearer
        else:
            weight = 1.0 - (1.0 - LATEST) ** steps
            self.average += weight * max(-FARTHEST, min(FARTHEST, away))
        levels = self.average / math.log(LEVEL)
        if abs(levels - self.level) < LEAVES:
            return False
        self.level = round(levels)
        return True
