"""Policies that serve the waiting tasks one after the other, each behind those that went before it.

What schedulers do without a planner: an order, and for each task the option that looks best once the others are placed.
"""

import abc
import dataclasses
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edgegen.core.decision import HOLD, Decision
from edgegen.core.policy import AbstractPolicy
from edgegen.core.state import LOCAL, State, on_host
from edgegen.physics.options import Options, air_s, options
from edgegen.plan.rules import with_equal_shares

KNEE = 0.99  # fewer steps are enough when they give this share of a model's best quality


@dataclasses.dataclass
class Moment:
    """A State, and what the tasks that were served so far have added to its nodes."""

    state: State
    table: Options
    wait_s: NDArray[np.float64]  # [N], until a node's compute is free (row LOCAL unused)
    link_s: NDArray[np.float64]  # [N], until its downlink is
    local_s: dict[int, float]  # likewise for the devices that were given work, by origin
    sent_s: NDArray[np.float64]  # [T, N], how long a result takes the downlink

    @staticmethod
    def of(state: State) -> "Moment":
        """Return the moment before anybody was served."""
        table = options(state)
        return Moment(state, table, np.array(state.nodes.backlog_s), np.array(table.link_s), {}, air_s(state, table))

    def waits(self, task: int) -> NDArray[np.float64]:
        """float[N]: until each node can begin with this task."""
        waits, tasks = self.wait_s.copy(), self.state.tasks
        waits[LOCAL] = self.local_s.get(int(tasks.origin[task]), float(tasks.local_backlog_s[task]))
        return waits

    def total_s(self, task: int) -> NDArray[np.float64]:
        """float[N, M, S]: from now to the result on the device, behind everybody served so far."""
        table = self.table
        made = self._made_s(task) + table.work_s[task] / table.clock[task]
        return np.maximum(made, self.link_s[:, None, None]) + table.download_s[task][:, None, None]

    def _made_s(self, task: int) -> NDArray[np.float64]:
        begin = np.maximum(self.waits(task), self.table.upload_s[task])
        return begin[:, None, None] + self.table.load_s[:, :, None]

    def feasible(self, task: int) -> NDArray[np.bool_]:
        """bool[N, M, S]: within every limit, behind everybody served so far."""
        tasks = self.state.tasks
        left_s = tasks.deadline_s[task] * (1 + 1e-6) - tasks.age_s[task]
        return self.table.affordable[task] & (self.total_s(task) <= left_s)

    def serve(self, task: int, option: tuple[int, int, int]) -> None:
        """Add a task to its node."""
        node, table = option[0], self.table
        made_s = float((self._made_s(task) + table.work_s[task] / table.clock[task])[option])
        if node == LOCAL:
            self.local_s[int(self.state.tasks.origin[task])] = made_s
            return
        self.wait_s[node] = made_s
        self.link_s[node] = max(made_s, float(self.link_s[node])) + float(self.sent_s[task, node])


class AbstractInTurn(AbstractPolicy):
    """Tasks take turns; each takes the possible option that it scores lowest."""

    plans_at_once: ClassVar[int] = 32

    def order(self, state: State, live: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of the live tasks in the order in which they are served: that of their arrival."""
        return live[np.argsort(state.tasks.number[live], kind="stable")]

    def prepared(self, moment: Moment) -> "AbstractInTurn":
        """Return what decides at this moment, for those that look at all tasks first."""
        del moment
        return self

    @abc.abstractmethod
    def scores(self, moment: Moment, task: int) -> NDArray[np.float64]:
        """Return float[N, M, S], lower is better; inf for what is never chosen. Without any, the task waits."""

    def decide(self, state: State, *, key=None) -> Decision:
        del key
        state = on_host(state)
        moment = Moment.of(state)
        chosen = self.prepared(moment)
        shape = moment.table.possible.shape[1:]
        found = np.zeros(state.task_count, dtype=bool)
        picked = np.zeros((3, state.task_count), dtype=np.int64)
        for task in self.order(state, np.flatnonzero(state.tasks.live)):
            scores = np.where(moment.table.possible[task], chosen.scores(moment, int(task)), np.inf)
            best = int(np.argmin(scores))
            option = tuple(int(part) for part in np.unravel_index(best, shape))
            if scores[option] < np.inf:
                moment.serve(int(task), option)  # type: ignore[arg-type]
                found[task], picked[:, task] = True, option
        return _decision(moment, found, picked)


def _decision(moment: Moment, found: NDArray[np.bool_], picked: NDArray[np.int64]) -> Decision:
    state, hold = moment.state, Decision.hold(moment.state)
    node, model, step = picked
    decided = hold.replace(
        node=np.where(found, node, HOLD).astype(np.int32),
        model=np.where(found, model, 0).astype(np.int32),
        steps=np.where(found, state.steps[step], 0).astype(np.int32),
        power_w=np.where(found, state.tasks.transmit_power_w, 0.0).astype(hold.power_w.dtype),
    )
    return with_equal_shares(state, decided, moment.table.clock[np.arange(state.task_count), node, model, step])


class LeastLoaded(AbstractInTurn):
    """The server with the least work before it, the best quality there that the limits allow (devices only stand in)."""

    def scores(self, moment: Moment, task: int) -> NDArray[np.float64]:
        possible = moment.table.possible[task]
        usable = possible.any(axis=(1, 2))
        usable[LOCAL] &= not usable[1:].any()
        waits = np.where(usable, moment.waits(task), np.inf)
        least = usable & (waits <= waits.min() + 1e-9)
        return in_time_first(moment, task, np.where(least[:, None, None], _worse(moment, task), np.inf))


class EarliestDeadlineFirst(AbstractInTurn):
    """The earliest deadline is served first, with the best quality that its limits allow, where it ends first."""

    def order(self, state: State, live: NDArray[np.int64]) -> NDArray[np.int64]:
        due_s = state.tasks.deadline_s[live] - state.tasks.age_s[live]
        return live[np.lexsort((state.tasks.number[live], due_s))]

    def scores(self, moment: Moment, task: int) -> NDArray[np.float64]:
        return in_time_first(moment, task, _worse(moment, task))


class AllLight(AbstractInTurn):
    """Everything on the lightest model with as many steps as it is worth, where it ends first."""

    def scores(self, moment: Moment, task: int) -> NDArray[np.float64]:
        return of_model(moment, task, lightest(moment))


class AllHeavy(AbstractInTurn):
    """Everything on the model of the best quality with as many steps as it is worth, where it ends first."""

    def scores(self, moment: Moment, task: int) -> NDArray[np.float64]:
        return of_model(moment, task, heaviest(moment))


def knees(moment: Moment) -> NDArray[np.int64]:
    """int[M, C]: positions of the fewest steps that give nearly the best quality of each model."""
    quality = moment.state.models.quality
    enough = quality >= KNEE * quality.max(axis=2, keepdims=True)
    return np.argmax(enough, axis=2)


def _seconds(moment: Moment) -> NDArray[np.float64]:
    """float[M]: a picture of each model with as many steps as it is worth, on the node that makes it fastest."""
    models, steps = moment.state.models, moment.state.steps
    most = steps[knees(moment).max(axis=1)]
    seconds = models.fixed_s + models.step_s * most[None, :]
    runs = models.available & models.live[None, :] & moment.state.nodes.live[:, None]
    return np.where(runs, seconds, np.inf).min(axis=0)


def lightest(moment: Moment) -> int:
    """Return the model whose pictures take least."""
    return int(np.argmin(_seconds(moment)))


def heaviest(moment: Moment) -> int:
    """Return the model of the best quality, the faster one among equals."""
    seconds = _seconds(moment)
    best = moment.state.models.quality.max(axis=2).mean(axis=1)
    return int(np.lexsort((seconds, -np.where(seconds < np.inf, best, -1.0)))[0])


def of_model(moment: Moment, task: int, model: int) -> NDArray[np.float64]:
    """Score the options of a model at its knee by when they end; of other models only where it cannot run."""
    total, category = moment.total_s(task), int(moment.state.tasks.category[task])
    knee, steps = knees(moment)[:, category], np.arange(moment.state.steps.shape[0])
    wanted = np.zeros(total.shape, dtype=bool)
    wanted[:, model] = (steps == knee[model])[None]
    possible = moment.table.possible[task]
    if not (wanted & possible).any():  # wishes of the request
        wanted = np.broadcast_to((steps[None] == knee[:, None])[None], total.shape)
    return np.where(wanted & possible, total, np.inf) if (wanted & possible).any() else total


def in_time_first(moment: Moment, task: int, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Put options that break a limit behind all that break none; among those the earliest first."""
    late = np.where(scores < np.inf, 1e6 + moment.total_s(task), np.inf)
    return np.where(moment.feasible(task), scores, late)


def _worse(moment: Moment, task: int) -> NDArray[np.float64]:
    return 1 - moment.table.quality[task][None] + 1e-6 * moment.total_s(task)
