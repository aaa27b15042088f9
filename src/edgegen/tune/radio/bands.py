"""Who gets how much of the band: own bands, equal shares of a common one, or the shares with which all finish together.

For a given set of participants of a common band, the least round time is that at which all of them finish together: as long as one
is ready before the last, a sliver of its share given to the last shortens the round. The share that a site needs to be ready
by T falls with T, so that T is found by bisection on  sum of needed shares = 1.  (The rate is concave in the share, so the needed share
is convex in the time to send, and the problem is convex.)
"""

import abc
import itertools
from collections.abc import Callable
from typing import final

import numpy as np
from scipy.special import lambertw

from edgegen.core.errors import InputError
from edgegen.physics.channel import full_band, rate_bps
from edgegen.tune.radio.cost import Sites, Work, before_sending, round_cost

Works = Callable[[float], np.ndarray | None]  # moment -> the participants of a round that ends by then, bool[K]

MOMENTS = 40
_FINE, _CLOSE = 1e-12, 1e-7


class AbstractSharing(abc.ABC):
    """How participants come to their shares."""

    @abc.abstractmethod
    def shares(self, sites: Sites, duty: Work, asked: np.ndarray) -> np.ndarray:
        """Return the shares float[K] of participants bool[K]; 0 for others."""


class AbstractBands(AbstractSharing):
    """A way to share by which participants can be chosen."""

    @property
    @abc.abstractmethod
    def usual(self) -> AbstractSharing:
        """The fixed way to share that it is compared with."""

    @abc.abstractmethod
    def check(self, sites: Sites) -> None:
        """**Raises** `InputError` for sites that cannot share in this way."""

    @abc.abstractmethod
    def needed(self, sites: Sites, duty: Work, by_s: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the least shares, float[K], with which sites are ready by then, inf for those that cannot be, and what these
        take of what the participants have in common, float[K]: a set can be ready if its sum is at most 1.
        """

    @abc.abstractmethod
    def earliest(self, works: Works, moments_s: np.ndarray, *, rising: bool) -> np.ndarray | None:
        """Return the set that works at the earliest moment from the first to the last of these; None if none does.

        rising: once a set works it works at every later moment.
        """

    @abc.abstractmethod
    def moments(self, sites: Sites, duty: Work, most_s: float) -> np.ndarray:
        """Return moments, ascending, of which the first is too early and by the last everything up to most_s is possible."""


@final
class OwnBands(AbstractBands):
    """Every site has its band for itself, the band of its row."""

    def shares(self, sites: Sites, duty: Work, asked: np.ndarray) -> np.ndarray:
        del sites, duty
        return np.where(asked, 1.0, 0.0)

    @property
    def usual(self) -> AbstractSharing:
        return self

    def check(self, sites: Sites) -> None:
        del sites

    def needed(self, sites: Sites, duty: Work, by_s: float) -> tuple[np.ndarray, np.ndarray]:
        late = round_cost(sites, duty, np.ones(len(sites))).finish_s > by_s
        return np.where(late, np.inf, 1.0), np.where(late, np.inf, 0.0)

    def earliest(self, works: Works, moments_s: np.ndarray, *, rising: bool) -> np.ndarray | None:
        del rising
        return next((found for by_s in moments_s if (found := works(by_s)) is not None), None)

    def moments(self, sites: Sites, duty: Work, most_s: float) -> np.ndarray:
        """Return the times of the sites: only then does another one become possible."""
        ready_s = np.sort(round_cost(sites, duty, np.ones(len(sites))).finish_s)
        return ready_s[ready_s <= most_s]


@final
class EqualShares(AbstractSharing):
    """A common band, divided equally among the participants: the usual fixed choice."""

    def shares(self, sites: Sites, duty: Work, asked: np.ndarray) -> np.ndarray:
        del sites, duty
        return np.where(asked, 1.0 / max(1, int(asked.sum())), 0.0)


@final
class SharedBand(AbstractBands):
    """A common band, divided so that all participants finish together; the bands of all rows must be the same one."""

    def shares(self, sites: Sites, duty: Work, asked: np.ndarray) -> np.ndarray:
        if not asked.any():
            return np.zeros(len(sites))
        few = sites.only(asked)
        equal = np.full(len(few), 1.0 / len(few))
        high = round_cost(few, duty, equal).time_s
        low = float(before_sending(few, duty).max())
        while high - low > _FINE * high:
            middle = (low + high) / 2
            if least_share(few, duty, middle).sum() <= 1:
                high = middle
            elif middle > low:
                low = middle
            else:
                break
        found = least_share(few, duty, high)
        if not found.sum() <= 1:  # rounding, where the equal shares are already best
            found = equal
        out = np.zeros(len(sites))
        out[asked] = found / found.sum()  # what is left over goes to all, in proportion
        return out

    @property
    def usual(self) -> AbstractSharing:
        return EqualShares()

    def check(self, sites: Sites) -> None:
        if np.unique(sites.uplink_hz).size > 1:
            raise InputError(
                f"sites that share a band need the same uplink_hz, got {sites.uplink_hz}: plan them with OwnBands",
                param="uplink_hz",
            )

    def needed(self, sites: Sites, duty: Work, by_s: float) -> tuple[np.ndarray, np.ndarray]:
        shares = least_share(sites, duty, by_s)
        return shares, shares

    def earliest(self, works: Works, moments_s: np.ndarray, *, rising: bool) -> np.ndarray | None:
        spans = [(moments_s[0], moments_s[-1])] if rising else itertools.pairwise(moments_s)
        return next((found for span in spans if (found := _bisect(works, *span)) is not None), None)

    def moments(self, sites: Sites, duty: Work, most_s: float) -> np.ndarray:
        """Return moments up to that at which all are ready with equal shares: no set needs longer."""
        nobody_s = float(before_sending(sites, duty).min())
        equal = np.full(len(sites), 1.0 / len(sites))
        last_s = min(most_s, round_cost(sites, duty, equal).time_s * (1 + 1e-9))
        return np.geomspace(nobody_s, last_s, MOMENTS) if 0 < nobody_s < last_s else np.array([])


def _bisect(works: Works, low: float, high: float) -> np.ndarray | None:
    best = works(high)
    while best is not None and high - low > _CLOSE * high:
        middle = (low + high) / 2
        found = works(middle)
        if found is None:
            low = middle
        else:
            best, high = found, middle
    return best


def least_share(sites: Sites, duty: Work, by_s: float) -> np.ndarray:
    """Return the least share float[K] of its band with which each site is ready by then; inf if the whole does not do.

    A rate r over a share x is  x B log2(1 + snr / x) = r.  With y = 1 + snr / x and c = r ln 2 / (B snr) that is ln y = c (y - 1),
    whose solution beside y = 1 is y = -W(-c exp(-c)) / c on the lower branch of Lambert's function. Newton's steps clean up.
    """
    left_s = by_s - before_sending(sites, duty)
    full_bps, snr = full_band(sites.uplink_hz, sites.transmit_w, sites.gain)
    wanted = duty.up_bits / np.where(left_s > 0, left_s, np.inf)
    can = (left_s > 0) & (wanted <= full_bps * (1 + _FINE))
    if duty.up_bits == 0:
        return np.where(can, 0.0, np.inf)
    limit = full_bps * snr / np.log1p(snr)  # of the rate as the share grows without end
    c = np.where(can, np.minimum(wanted / limit, 1 - 1e-15), 0.5)
    y = -np.real(lambertw(-c * np.exp(-c), k=-1)) / c
    x = np.clip(snr / np.maximum(y - 1, 1e-300), 1e-300, 1.0)
    for _ in range(2):
        slope = full_bps / np.log1p(snr) * (np.log1p(snr / x) - snr / (x + snr))
        x = np.clip(x - (rate_bps(full_bps, snr, x) - wanted) / slope, x / 2, 1.0)
    return np.where(can, x, np.inf)
