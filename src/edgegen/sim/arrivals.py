"""When tasks arrive: a Poisson process, gap by gap, so that an episode need not be drawn at once."""

import math

from edgegen.core.arrays import Array
from edgegen.core.errors import InputError
from edgegen.sim import draws


def length_for(rate_hz: float, horizon_s: float) -> int:
    """Return the epochs that a Poisson count needs: its mean and eight standard deviations, and a few for small means.

    A count is above this with a probability below 1e-12.

    **Raises** `InputError` when the mean is not a finite number >= 0.
    """
    mean = rate_hz * horizon_s
    if not (math.isfinite(mean) and rate_hz >= 0 and horizon_s >= 0):
        raise InputError(
            f"rate_hz and horizon_s must be finite and >= 0, got {rate_hz} and {horizon_s}", param="rate_hz"
        )
    return math.ceil(mean + 8 * math.sqrt(mean)) + 16


def gap(key) -> Array:
    """Draw the time to the next arrival of a Poisson process in units of its mean, float[]: exponential with mean 1.

    A world that draws more than this in an epoch makes it of a word that it has drawn already: `draws.exponential`.
    """
    return draws.exponential(draws.words(key, 1)[0])
