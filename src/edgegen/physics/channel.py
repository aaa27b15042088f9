"""How fast bits travel, as a function of the share of the band.

Source: Shannon's rate over a share of a band without interference (frequency division): b log2(1 + p g / (N0 b)).
Written with the rate `R` and signal-to-noise ratio `snr` of the whole band, a share `x` gives
R x log2(1 + snr / x) / log2(1 + snr); snr = inf is the limit in which the rate is proportional to the share.
"""

import numpy as np

from edgegen.core.arrays import Array, namespace
from edgegen.core.units import dbm_to_w

NOISE_W_PER_HZ = dbm_to_w(-174.0)  # thermal noise density at room temperature, -174 dBm/Hz


def rate_bps(full_bps: Array, snr: Array, share: Array) -> Array:
    """Return the rate [bit/s] of a share in (0, 1] of a band that carries `full_bps` when it is not divided."""
    if isinstance(share, float) and share == 1.0:
        return full_bps  # the formula gives exactly this
    xp = namespace(full_bps, snr, share)
    linear = ~(snr < np.inf)
    safe_snr = xp.where(linear, 1.0, xp.maximum(snr, 1e-12))
    safe_share = xp.maximum(share, 1e-12)
    curved = safe_share * xp.log1p(safe_snr / safe_share) / xp.log1p(safe_snr)
    return full_bps * xp.where(linear, safe_share, curved)


def path_gain(distance_m: Array) -> Array:
    """Return the power gain of the macro-cell path loss 128.1 + 37.6 log10(d / km) dB (3GPP TR 36.814)."""
    xp = namespace(distance_m)
    return 10.0 ** (-(128.1 + 37.6 * xp.log10(distance_m / 1e3)) / 10.0)


def full_band(bandwidth_hz: Array, power_w: Array, gain: Array, noise_w_per_hz: float = NOISE_W_PER_HZ):
    """Return (rate [bit/s], signal-to-noise ratio) of the undivided band."""
    xp = namespace(bandwidth_hz, power_w, gain)
    snr = power_w * gain / (noise_w_per_hz * bandwidth_hz)
    return bandwidth_hz * xp.log2(1.0 + snr), snr
