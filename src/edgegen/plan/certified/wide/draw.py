"""Wide instances to plan for: a plain of servers on a jittered grid with users everywhere, ranges of `draw`."""

import numpy as np

from edgegen.core.errors import UnknownNameError
from edgegen.physics.channel import NOISE_W_PER_HZ, path_gain
from edgegen.plan.certified.draw import ALL_STEPS, draw
from edgegen.plan.certified.wide.instance import NOWHERE, WideInstance
from edgegen.plan.networks import SERVER_FLOP, SERVER_FLOP_PER_CYCLE, average_error

FAMILIES = ("default", "tight_deadline", "tight_battery")
SPACING_KM = 0.25  # of the grid of servers: 16 in a square kilometre
JITTER = 0.3  # a server stands at most this part of the spacing off its place in the grid
NEAREST_KM, FARTHEST_KM = (
    0.05,
    0.35,
)  # path loss below the first is that of the first; beyond the second nobody is heard
_SERVER_W = 1.0
_AT_ONCE = 512  # users whose distances to all servers are held at the same time


def wide_draw(seed: int, *, users: int, servers: int, reach: int = 6, family: str = "default") -> WideInstance:
    """Draw a wide instance: every user reaches the `reach` nearest servers within `FARTHEST_KM`.

    Users are spread evenly over the plain, so some near its edge reach fewer servers, or none. Families as in `draw`.
    **Raises** `UnknownNameError` for an unknown family.
    """
    if family not in FAMILIES:
        raise UnknownNameError("family of instances", family, FAMILIES, param="family")
    devices = draw(seed, users=users, servers=0, family=family)
    rng = np.random.default_rng([seed, 1])
    columns = max(1, int(np.ceil(np.sqrt(servers))))
    grid = np.stack(np.divmod(np.arange(servers), columns)[::-1], axis=1) + 0.5
    place = SPACING_KM * (grid + rng.uniform(-JITTER, JITTER, (servers, 2)))
    extent = SPACING_KM * np.array([columns, max(1, -(-servers // columns))])
    here = rng.uniform(0.0, 1.0, (users, 2)) * extent
    near, distance_km = _nearest(here, place, reach)
    snr_hz = path_gain(1e3 * np.clip(distance_km, NEAREST_KM, FARTHEST_KM)) / NOISE_W_PER_HZ
    user_w = draw(0, users=1, servers=0).send_power_w[0]
    steps, ones = ALL_STEPS.astype(float), np.ones((servers, 1))
    return WideInstance.build(
        devices=devices,
        reach=np.where(distance_km <= FARTHEST_KM, near, NOWHERE),
        up_snr_hz=user_w * snr_hz,
        down_snr_hz=_SERVER_W * snr_hz,
        error=ones * average_error(steps, device=False),
        cycles=ones * (SERVER_FLOP[0] + SERVER_FLOP[1] * steps) / SERVER_FLOP_PER_CYCLE,
        server_hz=rng.uniform(1e9, 3e9, servers),
        uplink_hz=np.full(servers, 20e6),
        downlink_hz=np.full(servers, 20e6),
        server_km=place,
    )


def _nearest(here: np.ndarray, place: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (servers int[N, K], distances float[N, K]) of the nearest servers, nearest first."""
    count = min(count, place.shape[0])
    near, distance = np.empty((here.shape[0], count), dtype=np.int64), np.empty((here.shape[0], count))
    for first in range(0, here.shape[0] if count else 0, _AT_ONCE):
        rows = slice(first, first + _AT_ONCE)
        off = here[rows, None, :] - place[None]
        km = np.sqrt((off**2).sum(axis=2))
        some = np.argpartition(km, count - 1, axis=1)[:, :count]
        order = np.argsort(np.take_along_axis(km, some, axis=1), axis=1, kind="stable")
        near[rows] = np.take_along_axis(some, order, axis=1)
        distance[rows] = np.take_along_axis(km, near[rows], axis=1)
    return near, distance
