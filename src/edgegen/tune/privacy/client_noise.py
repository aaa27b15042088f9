"""Client-level privacy on plain arrays: clip each site's whole update, average with equal weights, add noise.

One client moves the sum by at most C = `clip`, so noise of standard deviation z C on the sum, which is z C / K on the mean of K,
is a release with noise z at sample rate 1 (McMahan et al. 2018, arXiv:1710.06963). In a running federation Flower's
`DifferentialPrivacyServerSideFixedClipping` does the same around its FedAvg; this is for runs without it, and to check it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgegen.core.errors import InputError
from edgegen.tune.privacy.promise import Privacy

Arrays = dict[str, np.ndarray]


def norm(update: Arrays) -> float:
    """Give the L2 norm of all numbers of an update together."""
    return math.sqrt(sum(float(np.sum(np.square(array, dtype=np.float64))) for array in update.values()))


def clipped(update: Arrays, clip: float) -> Arrays:
    """Shorten an update to at most this norm; a shorter one stays as it is.

    **Raises** `InputError` for an update with numbers that are not finite: no factor makes those small.
    """
    length = norm(update)
    if not math.isfinite(length):
        raise InputError("an update holds numbers that are not finite; drop this site from the round")
    factor = 1.0 if length <= clip else clip / length
    return {name: (array * factor).astype(array.dtype) for name, array in update.items()}


def noisy_mean(updates: Sequence[Arrays], privacy: Privacy, rng: np.random.Generator) -> Arrays:
    """Average clipped updates with equal weights and add noise of standard deviation noise * clip / len(updates).

    `updates` are differences to what was sent out, with the same names and shapes. Whoever knows the state of `rng` can take the
    noise away again, so outside of experiments it must come from the operating system: `np.random.default_rng()`.
    """
    if not updates:
        raise InputError("a mean needs at least one update")
    parts = [clipped(update, privacy.clip) for update in updates]
    spread = privacy.noise * privacy.clip / len(parts)
    out = {}
    for name, first in parts[0].items():
        mean = np.mean([part[name] for part in parts], axis=0, dtype=np.float64)
        out[name] = (mean + rng.normal(0.0, spread, mean.shape)).astype(first.dtype)
    return out
