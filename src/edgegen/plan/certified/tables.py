"""An instance as the compiled loops want it: one row of numbers per pair of user and server, one cost per device."""

import math
from typing import NamedTuple

import numpy as np
from numba import vectorize

from edgegen.plan.certified.instance import LOCAL, REFUSED, Instance

LEAST_TIME_PRICE = 1e-10
"""Floor of the price of a second times its scale: a plan must not idle when time has no weight. Bounds allow for it."""

LEAST_SNR_HZ = 1e-6
"""Stands for zero in the tables of pairs that are ruled out, so that no kernel divides by zero."""

UNLIMITED = 1e9
"""What a user may cost when no limit bounds its time or energy."""


class Tables(NamedTuple):
    """What the kernels read. Sizes: N users, M servers, S steps."""

    pair: (
        np.ndarray
    )  # float[N, M, 8]: price of a second, of a second of sending, sizes in nats, snr, least uplink, left
    base: np.ndarray  # float[N, M, S]: cost that no share changes; inf for steps that the pair cannot keep even alone
    cycles: np.ndarray  # float[N, M, S]
    root: np.ndarray  # float[N, M, S]: square root of the cycles
    alone: np.ndarray  # float[N]: cost on the device or of refusal, whichever is less; inf if neither is possible
    limits: np.ndarray  # float[N]: what time and energy cost a user that uses all it may
    capacity: np.ndarray  # float[M, 3]: clock, uplink, downlink


class Local(NamedTuple):
    """The best option of each user that needs no server, by closed form."""

    cost: np.ndarray  # float[N]
    node: np.ndarray  # int[N]: LOCAL or REFUSED
    step: np.ndarray  # int[N], position in the step set
    clock_hz: np.ndarray  # float[N]
    table: np.ndarray  # float[N, S]: cost of the device at every step count, inf where it cannot keep the limits


def time_price(instance: Instance) -> np.ndarray:
    """Return the cost of a second, float[N]."""
    return np.maximum(instance.weights[:, 1], LEAST_TIME_PRICE) / instance.time_scale_s


def local_options(instance: Instance) -> Local:
    """Return what each device can do: for given steps the best clock balances time against cubic power."""
    cycles, kappa = instance.cycles[:, LOCAL], instance.device_w_per_hz3[:, None]
    left_s = (instance.deadline_s - instance.fixed_s[:, LOCAL])[:, None]
    second, joule = time_price(instance)[:, None], (instance.weights[:, 2] / instance.energy_scale_j)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        free = np.cbrt(second / (2 * kappa * joule))
        least = np.where(left_s > 0, cycles / left_s, np.inf)
        battery = np.sqrt(instance.energy_j[:, None] / (kappa * cycles))
    most = np.fmin(instance.device_hz[:, None], battery)
    clock = np.clip(np.nan_to_num(free, nan=np.inf), least, most)
    possible = instance.allowed[:, LOCAL] & (least <= most) & (left_s >= 0)
    clock = np.where(possible & np.isfinite(clock) & (clock > 0), clock, instance.device_hz[:, None])
    total_s = instance.fixed_s[:, LOCAL, None] + cycles / clock
    energy_j = kappa * cycles * clock**2
    quality, time, energy = (instance.weights[:, k, None] for k in range(3))
    cost = quality * instance.error[:, LOCAL] + time * total_s / instance.time_scale_s[:, None]
    cost = np.where(possible, cost + energy * energy_j / instance.energy_scale_j[:, None], np.inf)
    step = cost.argmin(axis=1)
    best, clock = (np.take_along_axis(a, step[:, None], axis=1)[:, 0] for a in (cost, clock))
    refused = instance.refusal_cost < best
    return Local(np.minimum(best, instance.refusal_cost), np.where(refused, REFUSED, LOCAL), step, clock, cost)


def tables(instance: Instance, local: Local) -> Tables:
    """Return the tables of an instance."""
    users, servers = instance.users, instance.servers
    capacity = np.stack([instance.server_hz, instance.uplink_hz, instance.downlink_hz], axis=1)
    pair = np.empty((users, servers, 8))
    pair[..., 0] = time_price(instance)[:, None]
    pair[..., 1] = (instance.weights[:, 2] * instance.send_power_w / instance.energy_scale_j)[:, None]
    pair[..., 2] = (instance.upload_bits * math.log(2))[:, None]
    pair[..., 3] = (instance.download_bits * math.log(2))[:, None]
    pair[..., 4], pair[..., 5] = instance.up_snr_hz, instance.down_snr_hz
    with np.errstate(divide="ignore"):
        send_s = np.where(instance.send_power_w > 0, instance.energy_j / instance.send_power_w, np.inf)
    pair[..., 6] = least_band(pair[..., 2], pair[..., 4], send_s[:, None], capacity[:, 1])
    pair[..., 7] = instance.deadline_s[:, None] - instance.fixed_s[:, 1:]
    cycles = instance.cycles[:, 1:]
    fastest = _transfer_s(pair[..., 2], pair[..., 4], capacity[:, 1]) + _transfer_s(
        pair[..., 3], pair[..., 5], capacity[:, 2]
    )
    possible = instance.allowed[:, 1:] & (pair[..., 6] <= capacity[:, 1])[..., None]
    possible &= fastest[..., None] + cycles / capacity[:, 0, None] <= pair[..., 7, None]
    possible &= np.isfinite(fastest + instance.fixed_s[:, 1:])[..., None]
    pair[..., 4:6] = np.maximum(pair[..., 4:6], LEAST_SNR_HZ)
    with np.errstate(invalid="ignore"):
        waiting = (instance.weights[:, 1] / instance.time_scale_s)[:, None, None] * instance.fixed_s[:, 1:, None]
    base = np.where(possible, instance.weights[:, 0, None, None] * instance.error[:, 1:] + waiting, np.inf)
    return contiguous(pair, base, cycles, np.sqrt(cycles), local.cost, _limits(instance), capacity)


def contiguous(*arrays: np.ndarray) -> Tables:
    """Return tables of one memory layout, because another layout would compile every kernel again."""
    return Tables(*(np.array(array, dtype=np.float64, order="C") for array in arrays))


def _limits(instance: Instance) -> np.ndarray:
    _, time, energy = instance.weights.T
    with np.errstate(invalid="ignore"):
        limits = np.maximum(time, LEAST_TIME_PRICE) * instance.deadline_s / instance.time_scale_s
        limits = limits + energy * instance.energy_j / instance.energy_scale_j
    return np.where(np.isfinite(limits), limits, UNLIMITED)


def _transfer_s(size: np.ndarray, snr: np.ndarray, band: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = np.where(snr < np.inf, band * np.log1p(snr / band), band)
        return np.where(size > 0, size / rate, 0.0)


@vectorize(cache=True)
def least_band(size, snr, send_s, most):
    """Return the smallest share that sends `size` in `send_s` seconds; inf where the whole band is too little.

    With z = snr/share the condition is z/ln(1 + z) = send_s snr/size; Newton's method from above, where it is monotone.
    """
    if size <= 0.0 or send_s == np.inf:
        return 0.0
    if snr == np.inf:
        share = size / send_s if send_s > 0.0 else np.inf
        return share if share <= most else np.inf
    ratio = send_s * snr / size
    if ratio <= 1.0:  # not even an infinite band would do
        return np.inf
    z = 2 * ratio * math.log1p(ratio) + 4.0
    for _ in range(60):
        new = z - (z - ratio * math.log1p(z)) / (1.0 - ratio / (1.0 + z))
        if not new < z * (1.0 - 1e-15):
            break
        z = new
    share = snr / z * (1.0 + 1e-13)  # rounding must not make it late
    return share if share <= most else np.inf
