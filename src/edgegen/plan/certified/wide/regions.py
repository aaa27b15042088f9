"""Regions of a wide instance: how servers are grouped, which groups share users, and the tables of one group.

Regions without a common user do not meet in the price bound, so their prices can be raised at the same time. Regions
that share users get different colours.
"""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from edgegen.plan.certified.instance import LOCAL
from edgegen.plan.certified.tables import Local, Tables, tables
from edgegen.plan.certified.wide.instance import NOWHERE, WideInstance

TURN = 0.9  # radians between one cut and the next: no early cut is near a multiple of a right angle from another


class Regions(NamedTuple):
    """One way to group the servers."""

    region: np.ndarray  # int[M]
    reached: np.ndarray  # int[N, K]: the region of every entry of `reach`; NOWHERE stays
    home: np.ndarray  # int[N]: the region of the server with the best uplink; NOWHERE for users out of reach
    total: int  # how many


class Pairs(NamedTuple):
    """The pairs of a user and a server of a region, as positions. One entry per pair."""

    row: np.ndarray  # int[P]: the user, counted in the region
    server: np.ndarray  # int[P]: the server, counted in the region
    k: np.ndarray  # int[P]: its column in the user's row of `reach`


def cut(server_km: np.ndarray, size: int, angle: float = 0.0) -> np.ndarray:
    """Return the region of every server, int[M]: halves of halves, cut across the longer side, of about `size` servers.

    angle: turns the cuts, in radians, so that other users live at the borders.
    """
    turned = server_km @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    region, count = np.zeros(server_km.shape[0], dtype=np.int64), max(1, round(server_km.shape[0] / size))
    open_parts = [(np.arange(server_km.shape[0]), 0, count)]
    while open_parts:
        servers, first, parts = open_parts.pop()
        region[servers] = first
        if parts == 1 or servers.size < 2:
            continue
        side = int(np.ptp(turned[servers], axis=0).argmax())
        servers = servers[np.argsort(turned[servers, side], kind="stable")]
        half = parts // 2
        middle = round(servers.size * half / parts)
        open_parts += [(servers[:middle], first, half), (servers[middle:], first + half, parts - half)]
    return region


def regions_of(wide: WideInstance, region: np.ndarray) -> Regions:
    """Return the regions for a region of every server."""
    reached = np.append(region, NOWHERE)[wide.reach]
    home = np.full(wide.users, NOWHERE)
    if wide.reach.shape[1]:
        best = np.where(wide.reach >= 0, wide.up_snr_hz, -1.0).argmax(axis=1)
        home = reached[np.arange(wide.users), best]
    return Regions(region, reached, home, int(region.max(initial=-1)) + 1)


def cuts(wide: WideInstance, size: int) -> Iterator[Regions]:
    """Yield regions of about `size` servers without end, each time cut across other lines."""
    for turn in itertools.count():
        yield regions_of(wide, cut(wide.server_km, size, angle=TURN * turn))


def colours(regions: Regions) -> np.ndarray:
    """Return a colour of every region: no user reaches two regions of one colour.

    Greedy, regions with the most neighbours first.
    """
    reached, count = regions.reached, regions.total
    meet = np.zeros((count + 1, count + 1), dtype=bool)  # NOWHERE writes the last row and column
    for k in range(reached.shape[1]):
        for other in range(k):
            meet[reached[:, k], reached[:, other]] = True
    meet = (meet | meet.T)[:count, :count]
    np.fill_diagonal(meet, False)
    colour = np.full(count, -1)
    for region in np.argsort(-meet.sum(axis=1), kind="stable"):
        taken = set(colour[meet[region]].tolist())
        colour[region] = next(number for number in range(count) if number not in taken)
    return colour


def pairs_of(wide: WideInstance, users: np.ndarray, servers: np.ndarray) -> Pairs:
    """Return who of `users` reaches which of `servers`, user by user."""
    column = np.full(wide.servers + 1, -1)
    column[servers] = np.arange(servers.size)
    at = column[wide.reach[users]]
    row, k = np.nonzero(at >= 0)
    return Pairs(row, at[row, k], k)


def region_tables(
    wide: WideInstance, users: np.ndarray, servers: np.ndarray, alone: np.ndarray
) -> tuple[Tables, np.ndarray]:
    """Return the tables of one region and what is usable, bool[n, 1 + m].

    alone: float[n], what each user costs without these servers; inf where it needs them. Only pairs in reach are
    computed: the tables of a server are those of an instance with this server and the users that reach it.
    """
    count, options = (users.size, servers.size), wide.devices.steps.size
    pair, base = np.zeros((*count, 8)), np.full((*count, options), np.inf)
    cycles, root, limits = np.zeros((*count, options)), np.zeros((*count, options)), np.zeros(users.size)
    usable = np.zeros((users.size, servers.size + 1), dtype=bool)
    usable[:, LOCAL] = True
    pairs = pairs_of(wide, users, servers)
    for m in range(servers.size):
        rows = pairs.row[pairs.server == m]
        one = tables(wide.part(users[rows], servers[[m]]), _elsewhere(alone[rows]))
        pair[rows, m], base[rows, m], cycles[rows, m], root[rows, m] = (
            array[:, 0] for array in (one.pair, one.base, one.cycles, one.root)
        )
        limits[rows] = one.limits
        usable[rows, m + 1] = True
    capacity = np.stack([wide.server_hz, wide.uplink_hz, wide.downlink_hz], axis=1)[servers]
    return Tables(pair, base, cycles, root, np.array(alone, dtype=float), limits, capacity), usable


def _elsewhere(cost: np.ndarray) -> Local:
    """Return the option of users without these servers; tables read nothing but its cost."""
    nothing = np.zeros(cost.size, dtype=np.int64)
    return Local(cost, nothing, nothing, np.zeros(cost.size), np.empty((cost.size, 0)))
