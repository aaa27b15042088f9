"""What a policy returns: for every task where, on which model, with how many steps and with which shares."""

import dataclasses
from typing import Any

import numpy as np

from edgegen.core.arrays import Array, namespace
from edgegen.core.state import State
from edgegen.core.tree import value

HOLD = -1  # wait: decide again at the next event
REJECT = -2  # refuse the task


@value
class Certificate:
    """What a policy knows about its decision: what it costs, and what no other decision can go below."""

    objective: float  # the sum of `physics.objective.task_costs`
    bound: float  # -inf where nothing is known
    effort: int  # values computed; the limit that gives the same decision again
    rounds: int  # steps spent on the bound
    cut: bool  # True: the time was over before the search ended

    @property
    def gap(self) -> float:
        """How much cheaper another decision could at best be, relative to this one; inf where nothing is known."""
        spread = self.objective - self.bound
        return max(0.0, spread) / max(abs(self.objective), 1e-12) if spread < np.inf else np.inf


@value
class Decision:
    """One row per task of the State, and per node which models to keep.

    Shares are fractions of the node's capacity. At `LOCAL` the compute share is the clock as a fraction of the full
    clock (dynamic frequency scaling); on a node that is not shared it is 1.
    """

    node: Array  # int[T], node row, or HOLD, or REJECT
    model: Array  # int[T], model row; 0 where no node is chosen
    steps: Array  # int[T], denoising steps; 0 where no node is chosen
    trials: Array  # int[T], pictures made of which the best is kept
    uplink_share: Array  # float[T], fraction of the node's uplink
    downlink_share: Array  # float[T], fraction of the node's downlink
    compute_share: Array  # float[T], fraction of the node's compute
    power_w: Array  # float[T], transmit power of the device
    resident: Array  # bool[N, M], models to keep in memory
    extra: Any = None  # columns that extensions add
    certificate: Certificate | None = None  # from policies that prove something about their decision

    @staticmethod
    def hold(state: State) -> "Decision":
        """Return the neutral decision: every task waits and every node keeps what it has."""
        xp = namespace(state.tasks.live)
        count = state.task_count
        zeros = xp.zeros(count, dtype=state.tasks.deadline_s.dtype)
        none = xp.zeros(count, dtype=np.int32)
        return Decision(
            node=none + HOLD,
            model=none,
            steps=none,
            trials=none + 1,
            uplink_share=zeros,
            downlink_share=zeros,
            compute_share=zeros,
            power_w=zeros,
            resident=state.nodes.resident,
        )

    def replace(self, **columns: Any) -> "Decision":
        """Return a copy with other columns."""
        return dataclasses.replace(self, **columns)

    def select(self, rows: Array, other: "Decision") -> "Decision":
        """Return this decision where `rows` (bool[T]) is True and `other` elsewhere; node columns stay this one's."""
        xp = namespace(rows, self.node, other.node)
        return self.replace(
            **{name: xp.where(rows, getattr(self, name), getattr(other, name)) for name in TASK_COLUMNS}
        )

    @property
    def placed(self) -> Array:
        """bool[T], rows that were given a node."""
        return self.node >= 0


TASK_COLUMNS = (
    "node",
    "model",
    "steps",
    "trials",
    "uplink_share",
    "downlink_share",
    "compute_share",
    "power_w",
)
