"""Branch and bound on who goes where, with the price bound; and subset dynamic programming as a second exact method."""

import dataclasses
import heapq
import itertools

import numpy as np

from edgegen.core.errors import InputError
from edgegen.plan.certified.prices import ascend, blank_work, evaluate
from edgegen.plan.certified.search import Placing, blank_placing, improve, place, refresh, total_cost
from edgegen.plan.certified.steps import exact_set
from edgegen.plan.certified.tables import Tables

HEATS = np.array([3e-3, 3e-4])
TURNS = 6
MOST_SUBSET_USERS = 12
_TIE = 1e-9  # relative: a branch that cannot win by more is closed


@dataclasses.dataclass(frozen=True)
class Assignment:
    """Who goes where, with exact or best known values. Positions are the users'."""

    cost: float
    node: np.ndarray  # int[N]
    step: np.ndarray  # int[N], of users on servers
    share: np.ndarray  # float[N, 3]


class Sets:
    """Exact values of sets, remembered."""

    def __init__(self, tables: Tables):
        self.tables = tables
        self.known: dict[tuple[int, bytes], tuple] = {}

    def value(self, m: int, members: np.ndarray) -> tuple:
        """Return (cost, lower bound, steps, shares) of the users on server m."""
        key = (m, members.tobytes())
        if key not in self.known:
            self.known[key] = exact_set(self.tables, m, members)
        return self.known[key]

    def assignment(self, node: np.ndarray) -> tuple[Assignment, float]:
        """Return the assignment with exact steps and shares, and the lower bound of its cost."""
        step, share = np.zeros(node.size, dtype=np.int64), np.zeros((node.size, 3))
        cost = lower = float(self.tables.alone[node == 0].sum())
        for m in range(self.tables.capacity.shape[0]):
            members = np.flatnonzero(node == m + 1)
            value, bound, steps, shares = self.value(m, members)
            cost, lower = cost + value, lower + bound
            step[members], share[members] = steps, shares
        return Assignment(cost, node.copy(), step, share), lower


@dataclasses.dataclass(order=True)
class _Branch:
    bound: float
    number: int
    usable: np.ndarray = dataclasses.field(compare=False)
    price: np.ndarray = dataclasses.field(compare=False)


class Tree:
    """Branch and bound, best bound first. `best` and `bound` hold at any moment."""

    def __init__(self, tables: Tables, usable: np.ndarray, price: np.ndarray, bound: float, best: Assignment | None):
        users, servers = tables.pair.shape[:2]
        self.tables, self.sets = tables, Sets(tables)
        self.work, self.placing = blank_work(users, servers), blank_placing(users, servers)
        self.best = best
        self.closed = np.inf  # smallest bound of what was closed without proof that it cannot win
        self.numbers = itertools.count()
        self.open = [_Branch(bound, next(self.numbers), usable, price)]
        self.branches = 0

    @property
    def cost(self) -> float:
        """Cost of the best assignment, inf when none is known."""
        return np.inf if self.best is None else self.best.cost

    @property
    def bound(self) -> float:
        """No assignment costs less."""
        left = self.open[0].bound if self.open else np.inf
        return min(left, self.closed, self.cost)

    def run(self, *, branches: int, goal: float) -> None:
        """Branch until the relative gap is at most `goal` or `branches` were opened."""
        while self.open and self.branches < branches:
            if self.cost - self.bound <= max(goal, _TIE) * abs(self.cost):
                break
            self._split(heapq.heappop(self.open))

    def _is_time_to_look(self) -> bool:
        """At 8, 16, 32 ... branches: near the root a branch suggests what the first plan came from."""
        return self.branches >= 8 and self.branches & (self.branches - 1) == 0

    def _enough(self) -> float:
        return self.cost - _TIE * abs(self.cost) if self.cost < np.inf else np.inf

    def _split(self, branch: _Branch) -> None:
        """Close options that cannot win, look for a better plan, and branch on the user that hesitates most."""
        self.branches += 1
        bound = evaluate(self.tables, branch.price, branch.usable, self.work)
        cost = self.work.cost
        least = cost.min(axis=1)
        if np.isinf(least).any():
            return
        if self._is_time_to_look() or self.cost == np.inf:
            self._look(branch)
        with np.errstate(invalid="ignore"):
            regret = cost - least[:, None]
        usable = branch.usable & (bound + regret < self._enough()) & np.isfinite(cost)
        if not usable.any(axis=1).all():
            self._close(bound)
            return
        if (usable.sum(axis=1) == 1).all():
            self._leaf(usable.argmax(axis=1))
            return
        regret = np.where(usable, regret, np.inf)
        second = np.sort(regret, axis=1)[:, 1]
        user = int(second.argmin())
        for option in np.flatnonzero(usable[user]):
            child = usable.copy()
            child[user] = False
            child[user, option] = True
            self._open(child, branch.price, max(branch.bound, bound + float(regret[user, option])))

    def _open(self, usable: np.ndarray, price: np.ndarray, known: float) -> None:
        target = self._enough()
        bound, best_price, _ = ascend(self.tables, price.copy(), usable, self.work, HEATS, TURNS, target)
        bound = max(bound, known)
        if bound < target:
            heapq.heappush(self.open, _Branch(bound, next(self.numbers), usable, best_price))
        else:
            self._close(bound)

    def _close(self, bound: float) -> None:
        """Note that a branch which cannot win by more than a tie is closed."""
        if bound < self.cost:
            self.closed = min(self.closed, bound)

    def _leaf(self, node: np.ndarray) -> None:
        found, lower = self.sets.assignment(node)
        if found.cost < self.cost:
            self.best = found
        self.closed = min(self.closed, lower)

    def _look(self, branch: _Branch) -> None:
        """Search from the branch's prices; keep what is better than the best plan so far."""
        everything = np.ones_like(branch.usable)
        start_from(self.tables, branch.price, branch.usable, everything, self.placing)
        improve(self.tables, self.placing, everything, self.placing.spent[0] + 20 * branch.usable.shape[0])
        cost = total_cost(self.placing)
        if cost < self.cost and (self.placing.node >= 0).all():
            self.best = as_assignment(self.placing, cost)
            exact, _ = self.sets.assignment(self.placing.node)
            if exact.cost < self.cost:
                self.best = exact


def start_from(tables: Tables, price: np.ndarray, usable: np.ndarray, later: np.ndarray, placing: Placing) -> None:
    """Place everybody by prices among `usable` nodes, then open the nodes of `later` to moves."""
    place(tables, price, usable, placing)
    placing.cost[:, 0] = np.where(later[:, 0], tables.alone, np.inf)
    for m in range(tables.capacity.shape[0]):
        refresh(tables, placing, later, m)


def as_assignment(placing: Placing, cost: float) -> Assignment:
    """Return a copy of a finished placing."""
    return Assignment(cost, placing.node.copy(), placing.step.copy(), placing.share.copy())


def by_subsets(tables: Tables) -> Assignment | None:
    """Return the optimal assignment by dynamic programming over sets of users; None when there is none.

    **Raises** `InputError` for more than `MOST_SUBSET_USERS` users: the work triples with every user.
    """
    users, servers = tables.pair.shape[:2]
    if users > MOST_SUBSET_USERS:
        raise InputError(f"subset dynamic programming takes at most {MOST_SUBSET_USERS} users, got {users}")
    sets, full = Sets(tables), 1 << users
    rows = [np.flatnonzero([mask >> n & 1 for n in range(users)]) for mask in range(full)]
    best = np.array([float(tables.alone[members].sum()) for members in rows])
    taken: list[np.ndarray] = []
    for m in range(servers):
        value = np.array([sets.value(m, members)[0] for members in rows])
        better, choice = best.copy(), np.zeros(full, dtype=np.int64)
        for mask in range(1, full):
            part = mask
            while part:  # every subset of the mask goes to server m, the rest is served by what came before
                cost = best[mask ^ part] + value[part]
                if cost < better[mask]:
                    better[mask], choice[mask] = cost, part
                part = (part - 1) & mask
        best = better
        taken.append(choice)
    if np.isinf(best[-1]):
        return None
    node, mask = np.zeros(users, dtype=np.int64), full - 1
    for m in reversed(range(servers)):
        part = int(taken[m][mask])
        node[rows[part]] = m + 1
        mask ^= part
    return sets.assignment(node)[0]
