"""Batch denoising after STACKING: requests that could share a batch get the same number of steps.

After Xu, Guo, Teng, Liu and Feng, "Batch Denoising for AIGC Service Provisioning in Wireless Edge Networks"
(arXiv:2511.19847), of which only the abstract was read: denoising steps of several requests are done in one batch,
early steps matter more than late ones, and the algorithm needs no particular curve of quality.

Reconstructed: requests are spread over the nodes by work, those of a node are sorted by deadline and cut where deadlines
differ by more than `spread`, and every such batch gets the largest number of steps that all of it can do in time,
behind the batches before. Not reproduced: the time that shared passes save, and the division of bandwidth. Our nodes
make one picture after the other, so only the choice of the steps is compared.
"""

import equinox as eqx
import numpy as np
from numpy.typing import NDArray

from edgegen.core.state import LOCAL
from edgegen.plan.in_turn import AbstractInTurn, EarliestDeadlineFirst, Moment, heaviest, in_time_first


class BatchDenoising(EarliestDeadlineFirst):
    """Requests of a batch get the same steps, as many as all of them can do in time (after STACKING).

    `spread` is by how much the remaining times in a batch may differ, relative to the shortest.
    """

    spread: float = eqx.field(default=1.0, static=True)

    def __check_init__(self):
        if not self.spread >= 0:
            raise ValueError(f"spread must be >= 0, got {self.spread}")

    def prepared(self, moment: Moment) -> AbstractInTurn:
        state, model = moment.state, heaviest(moment)
        live = self.order(state, np.flatnonzero(state.tasks.live))
        left_s = state.tasks.deadline_s - state.tasks.age_s
        nodes = np.flatnonzero(state.nodes.live & state.models.available[:, model])
        nodes = nodes[nodes != LOCAL]
        if not len(nodes):
            return _Stacked(model, (), ())
        wait_s = moment.wait_s.copy()
        plan: dict[int, tuple[int, int]] = {}
        for begin, end in self._batches(left_s[live]):
            batch = live[begin:end]
            shares = [batch[at :: len(nodes)] for at in range(len(nodes))]
            for node, tasks in zip(nodes[np.argsort(wait_s[nodes], kind="stable")].tolist(), shares, strict=True):
                step = _steps(moment, wait_s, tasks, left_s, node, model)
                plan |= {int(task): (node, step) for task in tasks}
                work_s = moment.table.work_s[tasks, node, model, step]
                wait_s[node] += float(work_s.sum())
        return _Stacked(model, tuple(sorted(plan)), tuple(plan[task] for task in sorted(plan)))

    def _batches(self, left_s: NDArray[np.float64]) -> list[tuple[int, int]]:
        """Cut ascending remaining times where they differ too much."""
        found, begin = [], 0
        for at in range(1, len(left_s) + 1):
            if at == len(left_s) or left_s[at] > (1 + self.spread) * max(left_s[begin], 1e-9):
                found.append((begin, at))
                begin = at
        return found


class _Stacked(AbstractInTurn):
    """A node and a number of steps for each task."""

    model: int = eqx.field(static=True)
    tasks: tuple[int, ...] = eqx.field(static=True)
    places: tuple[tuple[int, int], ...] = eqx.field(static=True)  # node row and position among the step counts

    def scores(self, moment: Moment, task: int) -> NDArray[np.float64]:
        total = moment.total_s(task)
        worse = 1 - moment.table.quality[task][None] + 1e-6 * total
        if task in self.tasks:
            node, step = self.places[self.tasks.index(task)]
            option = node, self.model, step
            if moment.table.possible[task][option] and moment.feasible(task)[option]:
                scores = np.full(total.shape, np.inf)
                scores[option] = 0.0
                return scores
        return in_time_first(moment, task, worse)


def _steps(moment: Moment, wait_s, tasks: NDArray[np.int64], left_s, node: int, model: int) -> int:
    """Return the position of the largest number of steps with which all tasks of a batch on a node are in time."""
    if not len(tasks):
        return 0
    table = moment.table
    for step in range(moment.state.steps.shape[0] - 1, 0, -1):
        done_s = wait_s[node] + np.cumsum(table.work_s[tasks, node, model, step])
        if (done_s + table.upload_s[tasks, node] + table.download_s[tasks, node] <= left_s[tasks]).all():
            return step
    return 0
