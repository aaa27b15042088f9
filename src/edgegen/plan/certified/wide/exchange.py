"""Prices of a wide instance, region by region: block-coordinate ascent on the price bound.

The bound separates by user, so with the prices of all other servers held a region's part of it is the bound of a small
instance: its users are those who reach one of its servers, and what they would pay elsewhere is their cost alone.
Raising a part raises the whole. Regions of one colour share no user and are raised at the same time.

The bound has kinks where a user hesitates between two regions; raising one region at a time gets stuck there. So most
sweeps raise the smoothed bound of `prices`, in which every user mixes its nodes at one temperature, the same in every
region, and only the last ones the bound itself.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np

from edgegen.plan.certified.planner import HEATS, TURNS
from edgegen.plan.certified.prices import ascend, blank_work, evaluate, first_prices
from edgegen.plan.certified.tables import Tables
from edgegen.plan.certified.wide.executors import AbstractExecutor
from edgegen.plan.certified.wide.instance import WideInstance
from edgegen.plan.certified.wide.regions import Regions, colours, pairs_of, region_tables

FIRST_HEATS = HEATS[:5]
ANNEALING = (*HEATS[1:5], 0.0)  # temperatures of the sweeps; 0 raises the bound itself
LAST_HEATS, LATER_TURNS = HEATS[3:], 6
LEAST_PRICE = 1e-25
Progress = Callable[[str], None]


class Block(NamedTuple):
    """One region to raise: what its task needs to know beside the instance."""

    users: np.ndarray  # int[n], who reaches one of its servers
    servers: np.ndarray  # int[m]
    elsewhere: np.ndarray  # float[n], what each user pays without these servers: the softmin of the other nodes
    at_home: np.ndarray  # bool[n], whose best channel is to one of these servers
    price: np.ndarray  # float[m, 3]; not read for the first prices
    heat: float  # temperature of the softmin; 0 for the least


class Raised(NamedTuple):
    """What became of a block."""

    price: np.ndarray  # float[m, 3]
    cost: np.ndarray  # float[P], responses of its pairs at these prices, in the order of `pairs_of`


def first_block(wide: WideInstance, block: Block) -> Raised:
    """Return prices at which the users at home fill the region, as if users stayed with their best channel."""
    table, usable = region_tables(wide, block.users, block.servers, block.elsewhere)
    home = np.flatnonzero(block.at_home)
    price = np.full((block.servers.size, 3), LEAST_PRICE)
    if home.size:
        mine, reached = _rows(table, home), usable[home]
        work = blank_work(home.size, block.servers.size)
        _, price, _ = ascend(mine, _first_prices(mine, reached), reached, work, FIRST_HEATS, TURNS, np.inf)
    return _respond(wide, block, table, usable, price)


def raise_block(wide: WideInstance, block: Block) -> Raised:
    """Return prices at which the region's part of the bound, smoothed at the block's temperature, is higher."""
    table, usable = region_tables(wide, block.users, block.servers, block.elsewhere)
    work, price = blank_work(block.users.size, block.servers.size), block.price.copy()
    heats = np.array([block.heat]) if block.heat else LAST_HEATS
    _, best, _ = ascend(table, price, usable, work, heats, LATER_TURNS, np.inf)
    return _respond(wide, block, table, usable, price if block.heat else best)


def _rows(table: Tables, rows: np.ndarray) -> Tables:
    return table._replace(**{name: getattr(table, name)[rows] for name in Tables._fields if name != "capacity"})


def _first_prices(table: Tables, usable: np.ndarray) -> np.ndarray:
    """Return first prices of every server from the users that reach it."""
    price = np.full((usable.shape[1] - 1, 3), LEAST_PRICE)
    for m in range(price.shape[0]):
        rows = np.flatnonzero(usable[:, m + 1])
        if rows.size:
            one = _rows(table, rows)
            pick = {name: getattr(one, name)[:, [m]] for name in ("pair", "base", "cycles", "root")}
            price[m] = first_prices(one._replace(**pick, capacity=table.capacity[[m]]))[0]
    return price


def _respond(wide: WideInstance, block: Block, table: Tables, usable: np.ndarray, price: np.ndarray) -> Raised:
    work = blank_work(block.users.size, block.servers.size)
    evaluate(table, price, usable, work)
    pairs = pairs_of(wide, block.users, block.servers)
    return Raised(price, work.cost[pairs.row, pairs.server + 1])


def softmin(cost: np.ndarray, heat: float) -> np.ndarray:
    """Return the smoothed least of every row, -heat ln(sum of exp(-cost / heat)); the least itself at 0."""
    least = cost.min(axis=1)
    if not heat:
        return least
    with np.errstate(invalid="ignore"):
        total = np.exp((least[:, None] - cost) / heat).sum(axis=1)
    return np.where(np.isfinite(least), least - heat * np.log(total), least)


class Market:
    """The prices of all servers and what every user pays at them; `bound` holds at any moment."""

    def __init__(self, wide: WideInstance, alone: np.ndarray):
        self.wide = wide
        self.capacity = np.stack([wide.server_hz, wide.uplink_hz, wide.downlink_hz], axis=1)
        self.price = np.full((wide.servers, 3), LEAST_PRICE)
        self.cost = np.full((wide.users, wide.reach.shape[1] + 1), np.inf)  # alone, then as `reach`; inf if unknown
        self.cost[:, 0] = alone

    def bound(self, heat: float = 0.0) -> float:
        """Return the price bound at the present prices: no plan costs less. Smoothed at a temperature above 0."""
        return float(softmin(self.cost, heat).sum() - (self.price * self.capacity).sum())

    def block(self, regions: Regions, number: int, heat: float) -> Block:
        """Return a region as it stands."""
        users = np.flatnonzero((regions.reached == number).any(axis=1))
        servers = np.flatnonzero(regions.region == number)
        other = self.cost[users]
        other[:, 1:][regions.reached[users] == number] = np.inf
        return Block(users, servers, softmin(other, heat), regions.home[users] == number, self.price[servers], heat)

    def keep(self, block: Block, raised: Raised) -> None:
        """Book the new prices of a region if its part of the smoothed bound has not fallen (it may by rounding)."""
        pairs, old = pairs_of(self.wide, block.users, block.servers), self.cost[block.users]
        new = old.copy()
        new[pairs.row, pairs.k + 1] = raised.cost
        unknown = np.isinf(old[pairs.row, pairs.k + 1]).all()
        if unknown or self._part(block, new, raised.price) >= self._part(block, old, block.price):
            self.price[block.servers], self.cost[block.users] = raised.price, new

    def _part(self, block: Block, cost: np.ndarray, price: np.ndarray) -> float:
        least = softmin(cost, block.heat)
        return float(least.sum() - (price * self.capacity[block.servers]).sum())


def raise_prices(
    market: Market,
    executor: AbstractExecutor,
    cuts: Iterator[Regions],
    *,
    sweeps: int,
    enough: float,
    progress: Progress,
) -> float:
    """Raise the bound and return it; the market is left at its prices.

    A temperature ends with the first sweep that raises the best bound by less than `enough` of it, after `sweeps` sweeps
    at most, and the next starts from the best prices seen. Every sweep has regions cut elsewhere, so that prices on both
    sides of a border rise together in the next.
    """
    regions = next(cuts)
    _visit(first_block, market, executor, regions, np.arange(regions.total), 0.0)
    best = _Best(market)
    progress(f"first prices of {regions.total} regions: bound {best.bound:.8g}")
    for heat in ANNEALING:
        for _ in range(sweeps):
            before = best.bound
            sweep_regions(market, executor, next(cuts), heat)
            best.look()
            progress(f"prices at temperature {heat:.2g}: best bound {best.bound:.8g}")
            if not best.bound - before > enough * abs(before):
                break
        best.restore()
    return best.bound


class _Best:
    """Remembers the prices with the highest bound: smoothed sweeps may lower the bound itself."""

    def __init__(self, market: Market):
        self.market, self.bound = market, -np.inf
        self.look()

    def look(self) -> None:
        """Remember the market as it stands if its bound is the highest."""
        bound = self.market.bound()
        if bound > self.bound:
            self.bound, self.price, self.cost = bound, self.market.price.copy(), self.market.cost.copy()

    def restore(self) -> None:
        """Bring the market back to the best prices."""
        self.market.price, self.market.cost = self.price.copy(), self.cost.copy()


def sweep_regions(market: Market, executor: AbstractExecutor, regions: Regions, heat: float) -> None:
    """Raise the bound, smoothed at a temperature, region by region; it never falls. At 0 it is the bound itself."""
    colour = colours(regions)
    for shade in range(int(colour.max(initial=-1)) + 1):
        _visit(raise_block, market, executor, regions, np.flatnonzero(colour == shade), heat)


def _visit(
    task: Callable[[WideInstance, Block], Raised],
    market: Market,
    executor: AbstractExecutor,
    regions: Regions,
    numbers: Iterable[int],
    heat: float,
) -> None:
    blocks = [market.block(regions, int(number), heat) for number in numbers]
    blocks = [block for block in blocks if block.users.size]
    for block, raised in zip(blocks, executor.map(task, blocks), strict=True):
        market.keep(block, raised)
