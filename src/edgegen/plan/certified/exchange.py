"""Prices of a wide instance, region by region: block-coordinate ascent on the price bound.

The bound separates by user, so with the prices of all other servers held a region's part of it is the bound of a small
instance: its users are those who reach one of its servers, and what they would pay elsewhere is their cost alone.
Raising a part raises the whole. Regions of one colour share no user and are raised at the same time.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from edgegen.plan.certified.executors import AbstractExecutor
from edgegen.plan.certified.planner import HEATS, TURNS
from edgegen.plan.certified.prices import ascend, blank_work, evaluate, first_prices
from edgegen.plan.certified.regions import colours, pairs_of, region_tables, regions_reached
from edgegen.plan.certified.tables import Tables
from edgegen.plan.certified.wide import WideInstance

LATER_HEATS, LATER_TURNS = HEATS[3:], 6  # once every region has prices, the first temperatures would only blur them
Progress = Callable[[str], None]


class Block(NamedTuple):
    """One region to raise: what its task needs to know beside the instance."""

    users: np.ndarray  # int[n], who reaches one of its servers
    servers: np.ndarray  # int[m]
    elsewhere: np.ndarray  # float[n], what each user pays at least without these servers
    at_home: np.ndarray  # bool[n], whose best channel is to one of these servers
    price: np.ndarray  # float[m, 3]; empty for the first prices


class Raised(NamedTuple):
    """What became of a block."""

    price: np.ndarray  # float[m, 3]
    cost: np.ndarray  # float[P], responses of its pairs at these prices, in the order of `pairs_of`
    evaluations: int


def first_block(wide: WideInstance, block: Block) -> Raised:
    """Return prices at which the users at home fill the region, as if users stayed with their best channel."""
    table, usable = region_tables(wide, block.users, block.servers, block.elsewhere)
    home = np.flatnonzero(block.at_home)
    price = np.full((block.servers.size, 3), 1e-25)
    spent = 0
    if home.size:
        mine = _rows(table, home)
        work = blank_work(home.size, block.servers.size)
        start = _first_prices(mine, usable[home])
        _, price, spent = ascend(mine, start, usable[home], work, HEATS, TURNS, np.inf)
    return _respond(wide, block, table, usable, price, spent)


def raise_block(wide: WideInstance, block: Block) -> Raised:
    """Return prices at which the region's part of the bound is higher, or the same prices."""
    table, usable = region_tables(wide, block.users, block.servers, block.elsewhere)
    work = blank_work(block.users.size, block.servers.size)
    _, price, spent = ascend(table, block.price.copy(), usable, work, LATER_HEATS, LATER_TURNS, np.inf)
    return _respond(wide, block, table, usable, price, spent)


def _rows(table: Tables, rows: np.ndarray) -> Tables:
    return table._replace(**{name: getattr(table, name)[rows] for name in Tables._fields if name != "capacity"})


def _first_prices(table: Tables, usable: np.ndarray) -> np.ndarray:
    """Return first prices of every server from the users that reach it."""
    price = np.full((usable.shape[1] - 1, 3), 1e-25)
    for m in range(price.shape[0]):
        rows = np.flatnonzero(usable[:, m + 1])
        if rows.size:
            one = _rows(table, rows)
            pick = {name: getattr(one, name)[:, [m]] for name in ("pair", "base", "cycles", "root")}
            price[m] = first_prices(one._replace(**pick, capacity=table.capacity[[m]]))[0]
    return price


def _respond(wide: WideInstance, block: Block, table: Tables, usable, price, spent: int) -> Raised:
    work = blank_work(block.users.size, block.servers.size)
    evaluate(table, price, usable, work)
    pairs = pairs_of(wide, block.users, block.servers)
    return Raised(price, work.cost[pairs.row, pairs.server + 1], spent + 1)


class Market:
    """The prices of all servers and what every user pays at them; `bound` holds at any moment."""

    def __init__(self, wide: WideInstance, alone: np.ndarray, region: np.ndarray):
        self.wide, self.alone, self.region = wide, alone, region
        self.capacity = np.stack([wide.server_hz, wide.uplink_hz, wide.downlink_hz], axis=1)
        self.price = np.full((wide.servers, 3), 1e-25)
        self.cost = np.full(wide.reach.shape, np.inf)  # float[N, K]
        self.reached = regions_reached(wide, region)
        self.count = int(region.max(initial=-1)) + 1
        self.home = home_regions(wide, region)
        self.evaluations = 0

    def bound(self) -> float:
        """Return the price bound at the present prices: no plan costs less."""
        least = np.minimum(self.alone, self.cost.min(axis=1, initial=np.inf))
        return float(least.sum() - (self.price * self.capacity).sum())

    def block(self, number: int) -> Block:
        """Return a region as it stands."""
        mine = self.reached == number
        users = np.flatnonzero(mine.any(axis=1))
        servers = np.flatnonzero(self.region == number)
        other = np.where(mine[users], np.inf, self.cost[users]).min(axis=1, initial=np.inf)
        elsewhere = np.minimum(self.alone[users], other)
        return Block(users, servers, elsewhere, self.home[users] == number, self.price[servers])

    def keep(self, number: int, block: Block, raised: Raised) -> None:
        """Book the new prices of a region if its part of the bound has not fallen (it may by rounding)."""
        pairs = pairs_of(self.wide, block.users, block.servers)
        old, cost = self.cost[block.users[pairs.row], pairs.k], raised.cost
        if self._part(block, pairs.row, cost, raised.price) >= self._part(block, pairs.row, old, block.price):
            self.price[block.servers] = raised.price
            self.cost[block.users[pairs.row], pairs.k] = cost

    def _part(self, block: Block, row: np.ndarray, cost: np.ndarray, price: np.ndarray) -> float:
        least = block.elsewhere.copy()
        np.minimum.at(least, row, cost)
        return float(least.sum() - (price * self.capacity[block.servers]).sum())


def home_regions(wide: WideInstance, region: np.ndarray) -> np.ndarray:
    """Return the region of the server with the best uplink of every user, int[N]; NOWHERE for users out of reach."""
    if wide.reach.shape[1] == 0:
        return np.full(wide.users, -1)
    best = np.where(wide.reach >= 0, wide.up_snr_hz, -1.0).argmax(axis=1)
    return regions_reached(wide, region)[np.arange(wide.users), best]


def raise_prices(
    market: Market, executor: AbstractExecutor, *, sweeps: int, enough: float, progress: Progress
) -> list[float]:
    """Raise the bound sweep by sweep until one adds less than `enough` of it; return the bound after each."""
    everybody = list(range(market.count))
    blocks = [market.block(number) for number in everybody]
    for block, raised in zip(blocks, executor.map(first_block, blocks), strict=True):
        pairs = pairs_of(market.wide, block.users, block.servers)
        market.price[block.servers] = raised.price
        market.cost[block.users[pairs.row], pairs.k] = raised.cost
        market.evaluations += raised.evaluations
    colour, bounds = colours(market.reached, market.count), [market.bound()]
    progress(f"first prices of {market.count} regions in {colour.max(initial=-1) + 1} colours: bound {bounds[0]:.6g}")
    for sweep in range(sweeps):
        for shade in range(int(colour.max(initial=-1)) + 1):
            numbers = [number for number in everybody if colour[number] == shade]
            blocks = [market.block(number) for number in numbers]
            for number, block, raised in zip(numbers, blocks, executor.map(raise_block, blocks), strict=True):
                market.keep(number, block, raised)
                market.evaluations += raised.evaluations
        bounds.append(market.bound())
        progress(f"prices, sweep {sweep + 1}: bound {bounds[-1]:.6g}")
        if not bounds[-1] - bounds[-2] > enough * abs(bounds[-1]):
            break
    return bounds
