"""How one shared node divides its links and its compute between tasks whose sizes are fixed.

For fixed sizes the problem is convex: compute follows a square-root law, f_k ~ sqrt(a_k W_k), bandwidth the same law
with Shannon's rate in place of a straight line, and a deadline acts as a higher price of that task's time. Sources:
structure theorems for the model of Wang, Liu and Zhao (arXiv:2312.06203), derived for this project.
"""

import dataclasses

import numpy as np

_ROUNDS = 60
_BAND_ROUNDS = 12


@dataclasses.dataclass(frozen=True)
class Load:
    """What K tasks bring to one node. Arrays are [K]."""

    work_s: np.ndarray  # generation with the whole node
    up_s: np.ndarray  # upload with the whole uplink
    down_s: np.ndarray  # download with the whole downlink
    up_snr: np.ndarray  # over the whole band; inf = rate proportional to the share
    down_snr: np.ndarray
    still_s: np.ndarray  # what no share changes: waiting, loading, round trip
    time_price: np.ndarray  # cost of a second
    radio_price: np.ndarray  # cost of a second of sending
    left_s: np.ndarray  # until the deadline
    send_limit_s: np.ndarray  # what the battery lets the device send


@dataclasses.dataclass(frozen=True)
class Split:
    """Shares float[K] each, the total seconds float[K], and the cost of time and radio; inf when a limit is broken."""

    uplink: np.ndarray
    downlink: np.ndarray
    compute: np.ndarray
    total_s: np.ndarray
    cost: float


def band_seconds(full_s: np.ndarray, snr: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Return transfer seconds for a share of a band that needs `full_s` when it is not divided."""
    curved = snr < np.inf
    safe = np.where(curved, np.maximum(snr, 1e-12), 1.0)
    return full_s / np.where(curved, share * np.log1p(safe / share) / np.log1p(safe), share)


def split_band(price: np.ndarray, full_s: np.ndarray, snr: np.ndarray) -> np.ndarray:
    """Return the shares that minimise the priced transfer seconds.

    At the optimum every task's marginal gain per share is equal. The update multiplies each share by the square root
    of its marginal gain: one step is exact for straight-line rates, and the error at least halves per step for
    Shannon's.
    """
    weight = np.sqrt(np.maximum(price * full_s, 1e-300))
    share = weight / weight.sum()
    if not (snr < np.inf).any():
        return share
    for _ in range(_BAND_ROUNDS):
        seconds = band_seconds(full_s, snr, share)
        z = np.where(snr < np.inf, snr / share, 1.0)
        elasticity = np.where(snr < np.inf, 1 - z / ((1 + z) * np.log1p(z)), 1.0)
        gain = price * seconds * elasticity / share
        share = share * np.sqrt(np.maximum(gain, 1e-300))
        share = share / share.sum()
    return share


def split_node(load: Load) -> Split:
    """Return the cheapest shares within deadlines and batteries (limits act through multipliers that are iterated)."""
    extra_time, extra_radio = np.zeros_like(load.work_s), np.zeros_like(load.work_s)
    best, send_s = _priced(load, load.time_price, load.radio_price)
    split = best
    for _ in range(_ROUNDS):
        time_ratio = split.total_s / np.maximum(load.left_s, 1e-9)
        send_ratio = send_s / np.maximum(load.send_limit_s, 1e-9)
        broken = (time_ratio > 1) | (send_ratio > 1)
        if not broken.any() and _settled(time_ratio, extra_time) and _settled(send_ratio, extra_radio):
            break
        extra_time = _raise(extra_time, load.time_price, time_ratio)
        extra_radio = _raise(extra_radio, load.radio_price + load.time_price, send_ratio)
        split, send_s = _priced(load, load.time_price + extra_time, load.radio_price + extra_radio)
        if split.cost < best.cost or best.cost == np.inf:
            best = split
    return best


def _settled(ratio: np.ndarray, extra: np.ndarray) -> bool:
    return bool((np.abs(ratio[extra > 0] - 1) < 2e-4).all())


def _raise(extra: np.ndarray, price: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    """Move a limit's multiplier: up where the limit is broken, down (not below zero) where there is room."""
    aimed = (price + extra + 1e-9) * np.clip(ratio * (1 + 5e-5), 0.2, 5.0) ** 1.6
    return np.where(ratio < np.inf, np.maximum(aimed - price - 1e-9, 0.0), np.maximum(extra, 1.0) * 5)


def _priced(load: Load, time_price: np.ndarray, radio_price: np.ndarray) -> tuple[Split, np.ndarray]:
    root = np.sqrt(np.maximum(time_price * load.work_s, 1e-300))
    compute = root / root.sum()
    uplink = split_band(time_price + radio_price, load.up_s, load.up_snr)
    downlink = split_band(time_price, load.down_s, load.down_snr)
    send_s = band_seconds(load.up_s, load.up_snr, uplink)
    receive_s = band_seconds(load.down_s, load.down_snr, downlink)
    total_s = load.still_s + send_s + load.work_s / compute + receive_s
    cost = float((load.time_price * total_s + load.radio_price * send_s).sum())
    broken = (total_s > load.left_s).any() or (send_s > load.send_limit_s * (1 + 1e-7)).any()
    return Split(uplink, downlink, compute, total_s, np.inf if broken else cost), send_s
