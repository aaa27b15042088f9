"""What a federated round costs over radio: seconds and joules per site, and of the round.

A site waits for the start, gets what is broadcast, trains, and sends its update over its share of a band (frequency division). The
round is over with the last site (all times in seconds):

    t_k = start + 8 S_down / R_down + work c E b / f_k + 8 S_up / R_k,      T = max over participants of t_k
    R_k = x_k B log2(1 + p_k h_k / (N0 x_k B)),     energy_k = p_k 8 S_up / R_k + kappa_k f_k^3 t_train

with c operations of a forward pass of one sample, E local steps of b samples, and `work` forward passes per training step
(`sizes.FULL_WORK`, `sizes.ADAPTER_WORK`). A site with a band of its own has a share of 1. Standard for federated learning over
radio, and our choice here (docs/adr/0020). Reception costs a site no energy; the downlink is a broadcast, which nobody divides.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from edgegen.core.errors import InputError
from edgegen.physics.channel import full_band, rate_bps
from edgegen.tune.radio.sizes import Exchange, Sizes


@dataclass(frozen=True)
class Sites:
    """K sites and their radio; every column is float[K]."""

    samples: np.ndarray  # private pictures of each, which weigh what it contributes
    flops: np.ndarray  # operations per second while training
    kappa: np.ndarray  # W / (operation/s)^3: training takes kappa f^3 watts
    uplink_hz: np.ndarray  # the band of which it uses a share, or its own
    downlink_hz: np.ndarray  # the band of the broadcast
    transmit_w: np.ndarray  # of its radio while sending
    server_w: np.ndarray  # of the base station towards it
    gain: np.ndarray  # power gain of the path, the same in both directions
    start_s: np.ndarray  # before anything else, in each round

    def __post_init__(self):
        count = len(self.samples)
        for name, column in vars(self).items():
            if np.shape(column) != (count,):
                raise InputError(f"{name} must have one value for each of {count} sites, got shape {np.shape(column)}")
            if not (np.isfinite(column).all() and (np.asarray(column) >= 0).all()):
                raise InputError(f"{name} must be finite and >= 0, got {column}", param=name)
        for name in ("flops", "uplink_hz", "downlink_hz", "transmit_w", "server_w", "gain"):
            if not (getattr(self, name) > 0).all():
                raise InputError(f"{name} must be > 0, got {getattr(self, name)}", param=name)

    def __len__(self) -> int:
        """Count the sites."""
        return len(self.samples)

    @property
    def value(self) -> np.ndarray:
        """Fraction of all pictures that each site holds, float[K], summing to 1."""
        return self.samples / self.samples.sum()

    def only(self, rows: np.ndarray) -> "Sites":
        """Return the sites of these rows, int[L] or bool[K]."""
        return replace(self, **{name: column[rows] for name, column in vars(self).items()})


class Work(NamedTuple):
    """What every participant does in a round."""

    down_bits: float
    up_bits: float
    operations: float  # of local training


class Round(NamedTuple):
    """What a round costs; every column is float[K], and 0 for a site that is not asked."""

    asked: np.ndarray  # bool[K]
    start_s: np.ndarray
    down_s: np.ndarray
    compute_s: np.ndarray
    up_s: np.ndarray
    energy_j: np.ndarray  # of the site: training, then sending; a straggler's up to the deadline
    in_time: np.ndarray  # bool[K]: asked, and its update is there by the deadline
    time_s: float  # of the round: the last that is in time, or the deadline if somebody is not

    @property
    def finish_s(self) -> np.ndarray:
        """When each site's update is there, float[K]; 0 for one that is not asked."""
        return self.start_s + self.down_s + self.compute_s + self.up_s

    @property
    def stragglers(self) -> int:
        """How many were asked and not in time: their updates are dropped."""
        return int((self.asked & ~self.in_time).sum())

    def total(self, rounds: int) -> tuple[float, float]:
        """Seconds and joules of so many rounds like this one."""
        return rounds * self.time_s, rounds * float(self.energy_j.sum())


def work(sizes: Sizes, exchanged: Exchange, *, bits: float, steps: int, batch: int) -> Work:
    """Return the work of a round: numbers of `bits` bits, `steps` local steps of `batch` samples."""
    if not (bits > 0 and steps >= 1 and batch >= 1):
        raise InputError(f"expected bits > 0, steps >= 1 and batch >= 1, got {bits}, {steps}, {batch}")
    operations = exchanged.work * sizes.flop * steps * batch
    return Work(exchanged.down_bits(bits), exchanged.up_bits(bits), operations)


def uplink_bps(sites: Sites, shares: np.ndarray) -> np.ndarray:
    """Return the rate float[K] of each site with its share float[K] of its band."""
    full_bps, snr = full_band(sites.uplink_hz, sites.transmit_w, sites.gain)
    return rate_bps(full_bps, snr, shares)


def downlink_bps(sites: Sites) -> np.ndarray:
    """Return the rate float[K] at which each site gets what is broadcast."""
    return full_band(sites.downlink_hz, sites.server_w, sites.gain)[0]


def before_sending(sites: Sites, duty: Work) -> np.ndarray:
    """Return the seconds float[K] until each site has something to send."""
    return sites.start_s + duty.down_bits / downlink_bps(sites) + duty.operations / sites.flops


def round_cost(
    sites: Sites,
    duty: Work,
    shares: np.ndarray,
    *,
    asked: np.ndarray | None = None,
    deadline_s: float = np.inf,
) -> Round:
    """Return what a round costs in which the sites `asked`, bool[K] (all), have these shares, float[K], of their bands.

    A site that is asked and would be late is a straggler: the round lasts until the deadline, and what the straggler did by
    then was spent in vain. **Raises** `InputError` if a site that is asked has no share.
    """
    asked = np.ones(len(sites), dtype=bool) if asked is None else np.asarray(asked, dtype=bool)
    shares = np.asarray(shares, dtype=float)
    if not ((shares[asked] > 0) & (shares[asked] <= 1 + 1e-9)).all():
        raise InputError(f"every site that is asked needs a share in (0, 1], got {shares[asked]}", param="shares")
    rate = uplink_bps(sites, np.where(asked, shares, 1.0))
    parts = (sites.start_s, duty.down_bits / downlink_bps(sites), duty.operations / sites.flops, duty.up_bits / rate)
    start_s, down_s, compute_s, up_s = (np.where(asked, part, 0.0) for part in parts)
    ready_s = start_s + down_s
    in_time = asked & (ready_s + compute_s + up_s <= deadline_s)
    trained_s = np.clip(deadline_s - ready_s, 0.0, compute_s)
    sent_s = np.clip(deadline_s - ready_s - compute_s, 0.0, up_s)
    energy_j = sites.kappa * sites.flops**3 * trained_s + sites.transmit_w * sent_s
    late = bool((asked & ~in_time).any())
    last_s = float((ready_s + compute_s + up_s).max(initial=0.0, where=in_time))
    return Round(asked, start_s, down_s, compute_s, up_s, energy_j, in_time, deadline_s if late else last_s)


class Moved(NamedTuple):
    """What it costs to move the pictures instead, once."""

    bits: np.ndarray  # float[K], that each site sends
    send_s: float  # until the last has sent
    train_s: float  # on the server
    energy_j: np.ndarray  # float[K], of the sites

    @property
    def time_s(self) -> float:
        """Sending, then training."""
        return self.send_s + self.train_s


def move_pictures(sites: Sites, sizes: Sizes, shares: np.ndarray, *, operations: float, server_flops: float) -> Moved:
    """Return the cost of sending all pictures to one server that does `operations` of training at `server_flops`."""
    bits = 8 * sizes.picture_bytes * sites.samples
    send_s = bits / uplink_bps(sites, shares)
    return Moved(bits, float(send_s.max()), operations / server_flops, sites.transmit_w * send_s)
