"""Instances to plan for: the golden one of the specification, and random ones with its default ranges.

Parameter ranges after arXiv:2409.20247 (clocks, bandwidth, path loss) where that paper gives them; the rest is chosen.
`average_error` is the mean distance between a short and a long DDIM run on a ring of eight Gaussians.
"""

import numpy as np

from edgegen.core.errors import UnknownNameError
from edgegen.physics.channel import NOISE_W_PER_HZ, path_gain
from edgegen.plan.certified.instance import Instance
from edgegen.plan.networks import (
    DEVICE_FLOP,
    DEVICE_FLOP_PER_CYCLE,
    DEVICE_W_PER_HZ3,
    SERVER_FLOP,
    SERVER_FLOP_PER_CYCLE,
    average_error,
)

FAMILIES = ("default", "tight_deadline", "tight_battery", "square_root")
ALL_STEPS = np.arange(5, 51)
GOLDEN_STEPS = np.array([5, 10, 15, 20, 30])
CHANNEL_HZ = 1e6
"""Each way, what a user of the square-root family sends and receives with, whatever the others do."""
_USER_W, _SERVER_W = 0.2, 1.0


def cell(*, distance_km, steps=ALL_STEPS, weights=(1.0, 0.3, 0.2), **given) -> Instance:
    """Return an instance from distances and the fields that vary; models and powers are the defaults."""
    distance_km = np.asarray(distance_km, dtype=float)
    users, servers = distance_km.shape
    snr_hz = path_gain(distance_km * 1e3) / NOISE_W_PER_HZ

    def per_node(device, server):
        both = np.repeat(np.stack([device, *[server] * servers])[None], users, axis=0)
        return both.astype(float)

    def cycles(flop, flop_per_cycle):
        return (flop[0] + flop[1] * np.asarray(steps, dtype=float)) / flop_per_cycle

    return Instance.build(
        steps=steps,
        weights=np.tile(np.asarray(weights, dtype=float), (users, 1)),
        send_power_w=np.full(users, _USER_W),
        device_w_per_hz3=np.full(users, DEVICE_W_PER_HZ3),
        error=per_node(average_error(steps, device=True), average_error(steps, device=False)),
        cycles=per_node(cycles(DEVICE_FLOP, DEVICE_FLOP_PER_CYCLE), cycles(SERVER_FLOP, SERVER_FLOP_PER_CYCLE)),
        up_snr_hz=_USER_W * snr_hz,
        down_snr_hz=_SERVER_W * snr_hz,
        **given,
    )


def golden() -> Instance:
    """Return the golden instance G1: three users, two servers, optimum 0.590842."""
    return cell(
        distance_km=[[0.10, 0.25], [0.15, 0.15], [0.30, 0.10]],
        steps=GOLDEN_STEPS,
        upload_bits=[4e6, 1e6, 4e6],
        download_bits=[4e6] * 3,
        device_hz=[1.0e9, 1.2e9, 0.8e9],
        energy_j=[20.0, 30.0, 15.0],
        deadline_s=[10.0, 8.0, 12.0],
        server_hz=[1.0e9, 0.8e9],
        uplink_hz=[5e6, 5e6],
        downlink_hz=[5e6, 5e6],
    )


def draw(seed: int, *, users: int = 10, servers: int = 2, family: str = "default", steps=ALL_STEPS) -> Instance:
    """Draw an instance with the default ranges.

    `tight_deadline` draws deadlines down to what a device at full clock needs for the fewest steps, so that most users
    must compete for servers; `tight_battery` draws energy budgets that most devices cannot run on, some that limit the
    upload too; `square_root` has no deadlines, no budgets and fixed channels (`without_limits`).
    """
    if family not in FAMILIES:
        raise UnknownNameError("family of instances", family, FAMILIES, param="family")
    rng = np.random.default_rng(seed)
    deadline, energy, send = (6.0, 12.0), (15.0, 30.0), 1.0
    drawn = {
        "distance_km": rng.uniform(0.05, 0.35, (users, servers)),
        "server_hz": rng.uniform(1e9, 3e9, servers),
        "device_hz": rng.uniform(0.5e9, 1e9, users),
        "upload_bits": rng.uniform(1e6, 4e6, users),
    }
    if family == "tight_deadline":
        deadline = (2.0, 4.0)
    if family == "tight_battery":
        energy, send = (0.02, 6.0), rng.uniform(1.0, 5.0, users)
    made = cell(
        **drawn,
        steps=steps,
        energy_j=rng.uniform(*energy, users),
        deadline_s=rng.uniform(*deadline, users),
        download_bits=np.full(users, 4e6),
        uplink_hz=np.full(servers, 20e6),
        downlink_hz=np.full(servers, 20e6),
    )
    if family == "square_root":
        return without_limits(made)
    return made if family != "tight_battery" else made.replace(send_power_w=made.send_power_w * send)


def without_limits(instance: Instance) -> Instance:
    """Return the instance without deadlines, budgets and shared bands, where a server's cost has a closed form.

    Transfers take fixed seconds on a channel of `CHANNEL_HZ` each way and cost no energy. Users A on server m with a cost
    of a_n per second and C_n cycles then cost (sum over A of sqrt(a_n C_n))^2 / F_m beyond what no share changes, with
    shares in proportion to the square roots.
    """

    def seconds(bits, snr_hz):
        with np.errstate(divide="ignore"):  # out of reach: forever
            return bits[:, None] / (CHANNEL_HZ * np.log2(1 + snr_hz / CHANNEL_HZ))

    fixed_s = np.array(instance.fixed_s)
    fixed_s[:, 1:] += seconds(instance.upload_bits, instance.up_snr_hz)
    fixed_s[:, 1:] += seconds(instance.download_bits, instance.down_snr_hz)
    nothing = np.zeros(instance.users)
    return instance.replace(
        deadline_s=np.full(instance.users, np.inf),
        energy_j=np.full(instance.users, np.inf),
        fixed_s=fixed_s,
        upload_bits=nothing,
        download_bits=nothing,
        send_power_w=nothing,
    )
