"""Plan a wide instance by regions, with a certificate for the whole.

Prices first (`exchange`): they prove a bound and say where everybody wants to go. Then every region plans the users that
want to be there with the search of the dense planner, and users near a border get another look in regions cut
elsewhere. Limits are counts, so a plan depends neither on the machine nor on the executor.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from edgegen.core.errors import InputError
from edgegen.plan.certified.exact import Assignment, start_from
from edgegen.plan.certified.instance import LOCAL, Instance
from edgegen.plan.certified.planner import CertifiedPlan, nothing, plan, with_certificate
from edgegen.plan.certified.search import UNPLACED, UNPLACED_COST, blank_placing, improve
from edgegen.plan.certified.tables import Local, local_options
from edgegen.plan.certified.wide.exchange import Market, Progress, raise_prices
from edgegen.plan.certified.wide.executors import AbstractExecutor, Processes
from edgegen.plan.certified.wide.instance import NOWHERE, WideInstance
from edgegen.plan.certified.wide.regions import Regions, cuts, region_tables

SIZE = 20  # servers in a region
SWEEPS, ENOUGH = 3, 1e-5  # most sweeps at one temperature, and the relative rise of the bound below which it ends
PASSES, PAYS = 4, 1e-6  # most looks at other borders, and the relative saving below which they end
_AT_ONCE = 8192  # users whose devices are computed at the same time


class Site(NamedTuple):
    """One region to plan."""

    users: np.ndarray  # int[n]
    servers: np.ndarray  # int[m]
    alone: np.ndarray  # float[n]
    price: np.ndarray  # float[m, 3]
    node: np.ndarray  # int[n]: 0 the device, m a server of the region, UNPLACED; empty where prices shall decide


class Settled(NamedTuple):
    """A planned region. Nodes are numbered as in its Site."""

    node: np.ndarray  # int[n]
    step: np.ndarray  # int[n]
    share: np.ndarray  # float[n, 3]
    value: np.ndarray  # float[m], cost of each server's users
    price: np.ndarray  # float[m, 3]


def plan_wide(
    wide: WideInstance,
    *,
    executor: AbstractExecutor | None = None,
    size: int = SIZE,
    sweeps: int = SWEEPS,
    passes: int = PASSES,
    progress: Progress | None = None,
) -> CertifiedPlan:
    """Return a plan of a wide instance and its certificate; nodes 1 to M are the servers in their order.

    executor: where regions are computed, by default processes, one per core. size: servers in a region. sweeps: how often
    prices are raised at one temperature at most. passes: how often users are offered other regions at most. progress:
    gets a line now and then.
    **Raises** `InputError` for a size below 1.
    """
    if size < 1:
        raise InputError(f"size must be at least 1 server in a region, got {size}", param="size")
    tell = progress or (lambda line: None)
    if not (wide.reach >= 0).any():
        return dataclasses.replace(plan(wide.devices), price=np.zeros((wide.servers, 3)))
    local = device_options(wide)
    market = Market(wide, local.cost)
    if np.isinf(np.where((wide.reach >= 0).any(axis=1), 0.0, local.cost)).any():
        return nothing(wide.devices, np.inf, market.price, 0)
    with executor or Processes() as workers:
        workers.share(wide)
        bound = raise_prices(market, workers, cuts(wide, size), sweeps=sweeps, enough=ENOUGH, progress=tell)
        if np.isinf(bound):
            return nothing(wide.devices, bound, market.price, 0)
        roster, borders = Roster(wide, local.cost, market), cuts(wide, size)
        roster.settle(workers, next(borders), first=True)
        tell(f"every region planned: cost {roster.cost():.8g}")
        for number in range(passes):
            before = roster.cost()
            roster.settle(workers, next(borders), first=False)
            tell(f"other borders, pass {number + 1}: cost {roster.cost():.8g}")
            if not before - roster.cost() > PAYS * abs(before):
                break
    if (roster.node == UNPLACED).any():
        return nothing(wide.devices, bound, market.price, 0)
    best = Assignment(roster.cost(), roster.node, roster.step, roster.share)
    return with_certificate(wide.devices, local, best, bound, 0, market.price)


def device_options(wide: WideInstance) -> Local:
    """Return what every device can do, some thousand users at a time; without the table of all step counts."""
    parts = [local_options(_few(wide, first)) for first in range(0, max(wide.users, 1), _AT_ONCE)]
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in Local._fields[:4]}
    return Local(**columns, table=np.empty((wide.users, 0)))


def _few(wide: WideInstance, first: int) -> Instance:
    return wide.part(np.arange(first, min(first + _AT_ONCE, wide.users)), np.arange(0))


def settle_site(wide: WideInstance, site: Site) -> Settled:
    """Plan one region: from prices, or from where everybody is."""
    table, usable = region_tables(wide, site.users, site.servers, site.alone)
    placing, start = blank_placing(site.users.size, site.servers.size), usable
    if site.node.size:
        start = np.zeros_like(usable)
        placed = np.flatnonzero(site.node >= 0)
        start[placed, site.node[placed]] = True
    start_from(table, site.price.copy(), start, usable, placing)
    improve(table, placing, usable, 50_000 + 20 * site.users.size)
    return Settled(placing.node, placing.step, placing.share, placing.value, placing.price)


class Roster:
    """Who is where, in the whole; regions are settled into it."""

    def __init__(self, wide: WideInstance, alone: np.ndarray, market: Market):
        self.wide, self.alone = wide, alone
        chosen = market.cost.argmin(axis=1)
        servers = np.concatenate([np.full((wide.users, 1), NOWHERE), wide.reach], axis=1)
        self.node = servers[np.arange(wide.users), chosen] + 1  # LOCAL = NOWHERE + 1
        self.step, self.share = np.zeros(wide.users, dtype=np.int64), np.zeros((wide.users, 3))
        self.value, self.price = np.zeros(wide.servers), market.price.copy()

    def cost(self) -> float:
        """Return what all users cost; unplaced ones cost `UNPLACED_COST` each."""
        return self._cost(np.arange(self.wide.users), np.arange(self.wide.servers))

    def _cost(self, users: np.ndarray, servers: np.ndarray) -> float:
        node = self.node[users]
        alone = self.alone[users][node == LOCAL].sum()
        return float(alone + UNPLACED_COST * (node == UNPLACED).sum() + self.value[servers].sum())

    def settle(self, executor: AbstractExecutor, regions: Regions, *, first: bool) -> None:
        """Plan every region of a cut; a region's new plan is kept if it costs less. The first has nothing to lose to."""
        home, on_server = regions.home.copy(), self.node > 0
        home[on_server] = regions.region[self.node[on_server] - 1]
        sites = [self._site(number, regions.region, home, first) for number in range(regions.total)]
        sites = [site for site in sites if site.users.size]
        for site, settled in zip(sites, executor.map(settle_site, sites), strict=True):
            self._keep(site, settled, first)

    def _site(self, number: int, region: np.ndarray, home: np.ndarray, first: bool) -> Site:
        users, servers = np.flatnonzero(home == number), np.flatnonzero(region == number)
        node = np.empty(0, dtype=np.int64)
        if not first:
            place = np.zeros(self.wide.servers + 1, dtype=np.int64)
            place[servers + 1] = np.arange(servers.size) + 1
            node = np.where(self.node[users] > 0, place[self.node[users]], self.node[users])
        return Site(users, servers, self.alone[users], self.price[servers], node)

    def _keep(self, site: Site, settled: Settled, first: bool) -> None:
        names = np.concatenate([[LOCAL], site.servers + 1])
        node = np.where(settled.node > 0, names[np.maximum(settled.node, 0)], settled.node)
        new = settled.value.sum() + self.alone[site.users][node == LOCAL].sum() + UNPLACED_COST * (node < 0).sum()
        if first or new < self._cost(site.users, site.servers):
            self.node[site.users], self.step[site.users], self.share[site.users] = node, settled.step, settled.share
            self.value[site.servers], self.price[site.servers] = settled.value, settled.price
