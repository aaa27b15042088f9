"""The value of giving a set of tasks to one node: models, steps and shares chosen together."""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from edgegen.core.state import LOCAL, State
from edgegen.physics.options import Options, air_s
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
        order = np.where(state.tasks.done_steps >= 0, -np.inf, order)
        self.turns = [int(t) for t in np.argsort(order, kind="stable")]  # task rows by slack, the older first
        self._turn = {task: k for k, task in enumerate(self.turns)}
        self._left_s, self._time_price = left.tolist(), menus.prices.time.tolist()
        self._wait_s, self._up_s, self._down_s = (
            part.tolist() for part in (table.wait_s, table.upload_s, table.download_s)
        )
        self._link_s, self._air_s = table.link_s.tolist(), air_s(state, table).tolist()
        self._send_cost = (menus.prices.radio[:, None] * table.upload_s).tolist()
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
        time_price = [self._time_price[task] for task in tasks]
        behind = list(itertools.accumulate(reversed(time_price)))[::-1]
        picks = [menu.best_at(price) for menu, price in zip(menus, behind, strict=True)]
        ends, late = self._ends(node, tasks, menus, picks)
        while late is not None:
            if not _shorten(menus, picks, behind, late):
                return Placement(tasks, (), np.inf)
            ends, late = self._ends(node, tasks, menus, picks)
        cost = sum(menu.cost_list[pick] for menu, pick in zip(menus, picks, strict=True))
        cost += sum(price * end for price, end in zip(time_price, ends, strict=True))
        if node != LOCAL:
            cost += sum(self._send_cost[task][node] for task in tasks)
        return Placement(tasks, tuple(picks), cost)

    def _ends(
        self, node: int, tasks: tuple[int, ...], menus: list[Menu], picks: list[int]
    ) -> tuple[list[float], int | None]:
        """Seconds from now to each result, and the first task that is late.

        A task waits from its upload on; earlier tasks count in full. Results are sent in turn.
        """
        ahead_s, link_s, late = self._wait_s[tasks[0]][node], self._link_s[node], None
        ends = []
        for k, (task, menu, pick) in enumerate(zip(tasks, menus, picks, strict=True)):
            busy_s = menu.busy_list[pick]
            sent_s = max(max(ahead_s, self._up_s[task][node]) + busy_s, link_s)
            end_s = sent_s + self._down_s[task][node]
            ahead_s, link_s = ahead_s + busy_s, sent_s + self._air_s[task][node]
            if late is None and end_s > self._left_s[task]:
                late = k
            ends.append(end_s)
        return ends, late

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
            if not _shorten(menus, picks, [1.0] * len(rows), len(rows) - 1, first=late):
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


def _shorten(
    menus: list[Menu], picks: list[int], behind: Sequence[float], last: int, *, first: int | None = None
) -> bool:
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
