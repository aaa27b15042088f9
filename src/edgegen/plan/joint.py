"""The joint planner: assignment, models, steps and shares for all waiting tasks together.

After the problem of Wang, Liu and Zhao (arXiv:2312.06203), in the reconstructed form of `physics.objective`: for a
fixed assignment the problem separates by node (`plan.places`), so the search is over who goes where: greedy insertion
in order of slack, then best moves and swaps until none helps or the effort is spent. The result is feasible and fast;
it carries no proof.
"""

import dataclasses

import equinox as eqx
import numpy as np

from edgegen.core.decision import HOLD, REJECT, Decision
from edgegen.core.policy import AbstractPolicy
from edgegen.core.state import LOCAL, State, on_host
from edgegen.physics.options import Options, options
from edgegen.plan.menu import Menus
from edgegen.plan.places import Placement, Places
from edgegen.plan.single import plan_single

Place = tuple[int, int]  # node row, and the device for LOCAL (-1 elsewhere)
MOST_EFFORT = 5000  # about half a second: a request may name a policy with its options, but not stop the gateway
_GAIN = 1e-9  # a move must save more than this


@dataclasses.dataclass(frozen=True)
class Plan:
    """A decision with what the planner knows about it."""

    decision: Decision
    objective: float  # the sum of `physics.objective.task_costs`
    moves: int  # improvements found after the first insertion
    finished: bool  # False: the effort was spent before the search ended


class JointPlanner(AbstractPolicy):
    """Plan all waiting tasks together: where, which model, how many steps, which shares, by local search.

    A task for which nothing meets its limits even alone is rejected; one that found no room beside the others waits.

    `effort` bounds the number of node values that are computed. It is a count and not a time, so that the same State
    always gives the same plan, on any machine and in any replay.
    """

    effort: int = eqx.field(default=300, static=True)

    def __check_init__(self):
        if not 1 <= self.effort <= MOST_EFFORT:
            raise ValueError(f"effort must be from 1 to {MOST_EFFORT}, got {self.effort}")

    def decide(self, state: State, *, key=None) -> Decision:
        del key
        return plan(state, effort=self.effort).decision


def plan(state: State, *, effort: int = 20_000) -> Plan:
    """Return a feasible plan for the waiting tasks of a NumPy State, computing about `effort` node values at most."""
    state = on_host(state)
    table = options(state)
    live = np.flatnonzero(state.tasks.live)
    if live.size == 1:
        single = plan_single(state, table, int(live[0]))
        assert single.certificate is not None
        return Plan(single, single.certificate.objective, 0, True)
    return _searched(state, table, effort)


def _searched(state: State, table: Options, effort: int) -> Plan:
    menus = Menus(state, table)
    search = _Search(state, Places(state, table, menus), menus, effort)
    search.insert_all()
    finished = search.improve()
    alone = table.feasible.any(axis=(1, 2, 3))
    return Plan(search.decision(alone), search.objective(), search.moves, finished)


class _Search:
    """Who goes where, and what that costs."""

    def __init__(self, state: State, places: Places, menus: Menus, effort: int):
        self.state, self.places, self.menus, self.effort = state, places, menus, effort
        self.tasks = [t for t in places.turns if state.tasks.live[t]]
        self.choices = {t: places.of(t) for t in self.tasks}
        self.at: dict[int, Place | None] = dict.fromkeys(self.tasks)
        self.sets: dict[Place, frozenset[int]] = {}
        self.moves = 0

    def objective(self) -> float:
        """Return the cost of the present assignment."""
        unserved = sum(float(self.menus.prices.refusal[t]) for t, place in self.at.items() if place is None)
        return unserved + sum(self._value(place).cost for place in self.sets)

    def insert_all(self) -> None:
        """Give each task, the most urgent first, the place where it adds least."""
        for task in self.tasks:
            place, added = self._best_place(task)
            if added < self.menus.prices.refusal[task]:
                self._move(task, place)

    def improve(self) -> bool:
        """Relocate and swap while that saves something; False when the effort was spent first."""
        improved = True
        while improved:
            improved = False
            for task in self.tasks:
                if self.places.solved >= self.effort:
                    return False
                improved |= self._relocate(task) or self._swap(task)
        return True

    def _value(self, place: Place) -> Placement:
        return self.places.value(place, self.sets.get(place, frozenset()))

    def _added(self, place: Place, task: int) -> float:
        tasks = self.sets.get(place, frozenset())
        return self.places.value(place, tasks | {task}).cost - self.places.value(place, tasks).cost

    def _best_place(self, task: int) -> tuple[Place | None, float]:
        best, least = None, np.inf
        for place in self.choices[task]:
            if place != self.at[task]:
                added = self._added(place, task)
                if added < least:
                    best, least = place, added
        return best, least

    def _saved(self, task: int) -> float:
        """What leaving its present place saves."""
        place = self.at[task]
        if place is None:
            return float(self.menus.prices.refusal[task])
        return self._value(place).cost - self.places.value(place, self.sets[place] - {task}).cost

    def _move(self, task: int, place: Place | None) -> None:
        old = self.at[task]
        if old is not None:
            self.sets[old] = self.sets[old] - {task}
        if place is not None:
            self.sets[place] = self.sets.get(place, frozenset()) | {task}
        self.at[task] = place

    def _relocate(self, task: int) -> bool:
        saved = self._saved(task)
        place, added = self._best_place(task)
        if added < saved - _GAIN:
            self._move(task, place)
            self.moves += 1
            return True
        if self.at[task] is not None and self.menus.prices.refusal[task] < saved - _GAIN:
            self._move(task, None)
            self.moves += 1
            return True
        return False

    def _swap(self, task: int) -> bool:
        for other in self.tasks[self.tasks.index(task) + 1 :]:
            if self._swappable(task, other) and self._gain(task, other) > _GAIN:
                mine, theirs = self.at[task], self.at[other]
                self._move(task, None)
                self._move(other, mine)
                self._move(task, theirs)
                self.moves += 1
                return True
        return False

    def _swappable(self, task: int, other: int) -> bool:
        mine, theirs = self.at[task], self.at[other]
        if mine == theirs or (theirs is not None and theirs not in self.choices[task]):
            return False
        return mine is None or mine in self.choices[other]

    def _gain(self, task: int, other: int) -> float:
        mine, theirs = self.at[task], self.at[other]
        return (
            self._cost_with(mine, task, None)
            + self._cost_with(theirs, other, None)
            - (self._cost_with(mine, task, other) + self._cost_with(theirs, other, task))
        )

    def _cost_with(self, place: Place | None, leaves: int, enters: int | None) -> float:
        """The cost of a place, or of being unserved, as it is (enters None) or after an exchange."""
        if place is None:
            return float(self.menus.prices.refusal[leaves if enters is None else enters])
        tasks = self.sets[place] if enters is None else self.sets[place] - {leaves} | {enters}
        return self.places.value(place, tasks).cost

    def decision(self, alone: np.ndarray) -> Decision:
        """Return the assignment as a Decision; `alone` (bool[T]) marks tasks that could be served if they were
        alone.
        """
        hold = Decision.hold(self.state)
        columns = {
            name: np.array(getattr(hold, name))
            for name in (
                "node",
                "model",
                "steps",
                "uplink_share",
                "downlink_share",
                "compute_share",
                "power_w",
            )
        }
        columns["node"][:] = np.where(self.state.tasks.live & ~alone, REJECT, HOLD)
        for place in self.sets:
            self._write(columns, place[0], self._value(place))
        return hold.replace(**columns)

    def _write(self, columns: dict[str, np.ndarray], node: int, placement: Placement) -> None:
        for k, (task, pick) in enumerate(zip(placement.tasks, placement.picks, strict=True)):
            menu, split = self.menus.of(task, node), placement.split
            assert menu is not None
            columns["node"][task] = node
            columns["model"][task] = menu.model[pick]
            columns["steps"][task] = self.state.steps[menu.step[pick]]
            columns["power_w"][task] = self.state.tasks.transmit_power_w[task]
            columns["uplink_share"][task] = split.uplink[k] if split else 1.0
            columns["downlink_share"][task] = split.downlink[k] if split else 1.0
            compute = float(menu.clock[pick]) if node == LOCAL else 1.0
            columns["compute_share"][task] = split.compute[k] if split else compute
