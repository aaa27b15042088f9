"""The value of giving a set of tasks to one node: models, steps and shares chosen together."""

import dataclasses

import numpy as np

from edgegen.core.state import LOCAL, State
from edgegen.physics.options import Options
from edgegen.plan.menu import Menu, Menus
from edgegen.plan.shares import Load, Split, split_node

_ROUNDS = 8
_POLISH_UP_TO = 6  # tasks on one shared node up to which neighbouring step counts are tried with exact shares


@dataclasses.dataclass(frozen=True)
class Placement:
    """What the tasks of one place take. `picks` are positions in their menus; shares are None where nothing is
    divided.
    """

    tasks: tuple[int, ...]
    picks: tuple[int, ...]
    cost: float  # inf: no choice keeps every limit
    split: Split | None = None


NOBODY = Placement((), (), 0.0)


class Places:
    """The places of one State: every node, and every device (its own LOCAL). Values are remembered per set of tasks."""

    def __init__(self, state: State, table: Options, menus: Menus):
        self.state, self.table, self.menus = state, table, menus
        self._known: dict[tuple[int, int, frozenset[int]], Placement] = {}
        left = menus.prices.left_s
        order = np.where(left < np.inf, left, 1e9 - state.tasks.age_s)
        self.turns = [int(t) for t in np.argsort(order, kind="stable")]  # task rows by slack, the older first
        self._turn = {task: k for k, task in enumerate(self.turns)}
        self.solved = 0  # values computed so far

    def of(self, task: int) -> list[tuple[int, int]]:
        """Return the places (node row, device or -1) on which the task can afford something."""
        device = int(self.state.tasks.origin[task])
        found = [(n, -1) for n in range(1, self.state.node_count) if self.menus.of(task, n) is not None]
        return ([(LOCAL, device)] if self.menus.of(task, LOCAL) is not None else []) + found

    def value(self, place: tuple[int, int], tasks: frozenset[int]) -> Placement:
        """Return the cheapest placement found for exactly these tasks."""
        if not tasks:
            return NOBODY
        key = (*place, tasks)
        if key not in self._known:
            self.solved += 1
            self._known[key] = self._solve(place[0], tuple(sorted(tasks, key=self._turn.__getitem__)))
        return self._known[key]

    def _solve(self, node: int, tasks: tuple[int, ...]) -> Placement:
        menus = [self.menus.of(task, node) for task in tasks]
        if any(menu is None for menu in menus):
            return Placement(tasks, (), np.inf)
        known = [menu for menu in menus if menu is not None]
        if node != LOCAL and bool(self.state.nodes.shared[node]):
            return self._divide(node, tasks, known)
        return self._in_turn(node, tasks, known)

    def _in_turn(self, node: int, tasks: tuple[int, ...], menus: list[Menu]) -> Placement:
        """One task at a time in order of slack: a second of an early task is paid by everybody behind it."""
        rows = list(tasks)
        time_price = self.menus.prices.time[rows]
        behind = np.cumsum(time_price[::-1])[::-1]
        picks = [int(np.argmin(m.cost + price * m.busy_s)) for m, price in zip(menus, behind, strict=True)]
        ends = self._ends(node, rows, menus, picks)
        late = ends > self.menus.prices.left_s[rows]
        while late.any():
            if not _shorten(menus, picks, behind, int(np.argmax(late))):
                return Placement(tasks, (), np.inf)
            ends = self._ends(node, rows, menus, picks)
            late = ends > self.menus.prices.left_s[rows]
        up_s = self.table.upload_s[rows, node]
        cost = sum(float(m.cost[k]) for m, k in zip(menus, picks, strict=True))
        cost += float((time_price * ends).sum() + (self.menus.prices.radio[rows] * up_s).sum() * (node != LOCAL))
        if (up_s > self.menus.prices.send_limit_s[rows]).any():
            cost = np.inf
        return Placement(tasks, tuple(picks), cost)

    def _ends(self, node: int, rows: list[int], menus: list[Menu], picks: list[int]) -> np.ndarray:
        """float[K]: seconds from now to each result. A task waits from its upload on; earlier tasks count in full."""
        ahead_s = float(self.table.wait_s[rows[0], node])
        ends = np.empty(len(rows))
        for k, (row, menu, pick) in enumerate(zip(rows, menus, picks, strict=True)):
            busy_s = float(menu.busy_s[pick])
            begin_s = max(ahead_s, float(self.table.upload_s[row, node]))
            ends[k] = begin_s + busy_s + float(self.table.download_s[row, node])
            ahead_s += busy_s
        return ends

    def _divide(self, node: int, tasks: tuple[int, ...], menus: list[Menu]) -> Placement:
        """Everybody at once: choose sizes against the square-root law, then shares; shorten while a limit is broken."""
        rows = list(tasks)
        price = self.menus.prices.time[rows]
        picks = [int(np.argmin(m.cost + p * m.busy_s)) for m, p in zip(menus, price, strict=True)]
        for _ in range(_ROUNDS):
            before = list(picks)
            roots = np.sqrt([p * m.work_s[k] for m, p, k in zip(menus, price, picks, strict=True)])
            for k, menu in enumerate(menus):
                rest = roots.sum() - roots[k]
                own = np.sqrt(price[k] * menu.work_s)
                picks[k] = int(np.argmin(menu.cost + (rest + own) ** 2))
                roots[k] = own[picks[k]]
            if picks == before:
                break
        best = self._exact(node, tasks, menus, picks)
        while best.cost == np.inf:
            late = int(np.argmax(self._shortage(best, rows)))
            if not _shorten(menus, picks, np.ones(len(rows)), len(rows) - 1, first=late):
                return best
            best = self._exact(node, tasks, menus, picks)
        return self._polish(node, best, menus) if len(rows) <= _POLISH_UP_TO else best

    def _shortage(self, placement: Placement, rows: list[int]) -> np.ndarray:
        assert placement.split is not None
        return placement.split.total_s / np.maximum(self.menus.prices.left_s[rows], 1e-9)

    def _polish(self, node: int, best: Placement, menus: list[Menu]) -> Placement:
        improved = True
        while improved:
            improved = False
            for k, menu in enumerate(menus):
                for pick in (best.picks[k] - 1, best.picks[k] + 1):
                    if 0 <= pick < menu.cost.size:
                        picks = [*best.picks[:k], pick, *best.picks[k + 1 :]]
                        other = self._exact(node, best.tasks, menus, picks)
                        if other.cost < best.cost - 1e-12:
                            best, improved = other, True
        return best

    def _exact(self, node: int, tasks: tuple[int, ...], menus: list[Menu], picks: list[int]) -> Placement:
        rows, links, prices, table = list(tasks), self.state.links, self.menus.prices, self.table
        work_s = np.array([m.work_s[k] for m, k in zip(menus, picks, strict=True)])
        busy_s = np.array([m.busy_s[k] for m, k in zip(menus, picks, strict=True)])
        rtt_s = links.rtt_s[rows, node]
        split = split_node(
            Load(
                work_s=work_s,
                up_s=table.upload_s[rows, node] - rtt_s / 2,
                down_s=table.download_s[rows, node] - rtt_s / 2,
                up_snr=links.uplink_snr[rows, node],
                down_snr=links.downlink_snr[rows, node],
                still_s=rtt_s + table.wait_s[rows, node] + busy_s - work_s,
                time_price=prices.time[rows],
                radio_price=prices.radio[rows],
                left_s=prices.left_s[rows],
                send_limit_s=prices.send_limit_s[rows],
            )
        )
        cost = split.cost + sum(float(m.cost[k]) for m, k in zip(menus, picks, strict=True))
        return Placement(tasks, tuple(picks), cost, split)


def _shorten(menus: list[Menu], picks: list[int], behind: np.ndarray, last: int, *, first: int | None = None) -> bool:
    """Move one task up to `last` to a shorter option, where a saved second costs least; False when none is left."""
    best, chosen = np.inf, None
    for k in range(last + 1) if first is None else (first, *range(last + 1)):
        menu, pick = menus[k], picks[k]
        if pick == 0:
            continue
        saved = menu.busy_s[pick] - menu.busy_s[:pick]
        price = (menu.cost[:pick] - menu.cost[pick]) / np.maximum(saved, 1e-12) - behind[k]
        option = int(np.argmin(price))
        if price[option] < best:
            best, chosen = price[option], (k, option)
        if first is not None:
            break
    if chosen is None:
        return False
    picks[chosen[0]] = chosen[1]
    return True
