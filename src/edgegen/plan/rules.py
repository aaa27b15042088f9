"""The simple rules: what people do without a planner, and what a planner must beat.

Each decides every task on its own from the table of options, blind to what the other tasks of the same moment get.
They run in NumPy and under jit and vmap.
"""

import abc

import equinox as eqx
import numpy as np

from edgegen.core.arrays import Array, namespace, one_hot
from edgegen.core.decision import HOLD, Decision
from edgegen.core.policy import AbstractPolicy
from edgegen.core.state import LOCAL, State
from edgegen.physics.options import Options, options


class AbstractRule(AbstractPolicy):
    """A rule scores every option; each task takes its lowest score."""

    @abc.abstractmethod
    def scores(self, state: State, table: Options) -> Array:
        """Return float[T, N, M, S], lower is better; inf for what the rule never chooses."""

    def decide(self, state: State, *, key=None) -> Decision:
        del key
        table = options(state)
        xp = namespace(table.cost)
        return choose(state, table, xp.where(table.possible, self.scores(state, table), np.inf))


class AllLocal(AbstractRule):
    """Run everything on the device that asks, with the model and steps that cost least there."""

    def scores(self, state: State, table: Options) -> Array:
        return prefer_feasible(table, only_nodes(state, table, [LOCAL]))


class AllEdge(AbstractRule):
    """Never run on the device: take the node with the fastest transfer, and what costs least there."""

    def scores(self, state: State, table: Options) -> Array:
        xp = namespace(table.cost)
        usable = table.possible.any(axis=(2, 3)) & (xp.arange(state.node_count) != LOCAL)[None, :]
        transfer_s = xp.where(usable, table.upload_s + table.download_s, np.inf)
        nearest = one_hot(xp, xp.argmin(transfer_s, axis=1), state.node_count) & usable
        return prefer_feasible(table, xp.where(nearest[:, :, None, None], table.cost, np.inf))


class FixedSteps(AbstractRule):
    """Always the same number of steps; node and model by the shortest expected delay."""

    steps: int = eqx.field(default=8, static=True)
    model: int | None = eqx.field(default=None, static=True)  # model row, or None for any

    def scores(self, state: State, table: Options) -> Array:
        xp = namespace(table.cost)
        nearest = xp.argmin(xp.abs(state.steps - self.steps))
        wanted = (xp.arange(state.steps.shape[0]) == nearest)[None, None, None, :]
        wanted = wanted | ~(table.possible & wanted).any(axis=(1, 2, 3))[:, None, None, None]
        if self.model is not None:
            wanted = wanted & (xp.arange(state.model_count) == self.model)[None, None, :, None]
        return xp.where(wanted, table.total_s, np.inf)


class RoundRobin(AbstractRule):
    """Take turns over the nodes that could run the task, by the number of its arrival."""

    def scores(self, state: State, table: Options) -> Array:
        xp = namespace(table.cost)
        usable = table.possible.any(axis=(2, 3))
        count = xp.maximum(usable.sum(axis=1), 1)
        turn = xp.where(state.tasks.live, state.tasks.number, 0).astype(count.dtype) % count
        position = xp.cumsum(usable, axis=1) - 1
        mine = usable & (position == turn[:, None])
        return prefer_feasible(table, xp.where(mine[:, :, None, None], table.cost, np.inf))


class ShortestExpectedDelay(AbstractRule):
    """The node that will answer first, at the most steps that keep the deadline (join the shortest expected delay)."""

    def scores(self, state: State, table: Options) -> Array:
        xp = namespace(table.cost)
        fastest = xp.where(table.possible, table.total_s, np.inf).min(axis=(2, 3))
        first = one_hot(xp, xp.argmin(fastest, axis=1), state.node_count)
        error = 1 - table.quality[:, None] + 1e-6 * table.total_s
        return prefer_feasible(table, xp.where(first[:, :, None, None], error, np.inf))


class GreedyQuality(AbstractRule):
    """The best quality that the limits allow, the faster one among equals."""

    def scores(self, state: State, table: Options) -> Array:
        del state
        return prefer_feasible(table, 1 - table.quality[:, None] + 1e-6 * table.total_s)


class GreedyCost(AbstractRule):
    """The cheapest option of each task by the objective, blind to the other tasks of the same moment."""

    def scores(self, state: State, table: Options) -> Array:
        del state
        return prefer_feasible(table, table.cost)


def only_nodes(state: State, table: Options, nodes: list[int]) -> Array:
    """Return the costs float[T, N, M, S] with every other node ruled out."""
    xp = namespace(table.cost)
    kept = np.isin(np.arange(state.node_count), nodes)
    return xp.where(kept[None, :, None, None], table.cost, np.inf)


def prefer_feasible(table: Options, scores: Array) -> Array:
    """Return `scores` with options that break a limit after all that break none; among those the earliest first."""
    xp = namespace(table.cost)
    return xp.where(table.feasible, scores, xp.where(scores < np.inf, 1e6 + table.total_s, np.inf))


def choose(state: State, table: Options, scores: Array) -> Decision:
    """Return the decision that takes each task's lowest score; tasks without a finite score wait."""
    xp = namespace(scores)
    count = state.task_count
    flat = scores.reshape(count, -1)
    best = xp.argmin(flat, axis=1)
    rows = xp.arange(count)
    found = state.tasks.live & (flat[rows, best] < np.inf)
    node, rest = (
        best // (state.model_count * state.steps.shape[0]),
        best % (state.model_count * state.steps.shape[0]),
    )
    model, step = rest // state.steps.shape[0], rest % state.steps.shape[0]
    hold = Decision.hold(state)
    clock = table.clock[rows, node, model, step]
    decided = hold.replace(
        node=xp.where(found, node, HOLD).astype(np.int32),
        model=xp.where(found, model, 0).astype(np.int32),
        steps=xp.where(found, state.steps[step], 0).astype(np.int32),
        power_w=xp.where(found, state.tasks.transmit_power_w, 0.0).astype(hold.power_w.dtype),
    )
    return with_equal_shares(state, decided, clock)


def with_equal_shares(state: State, decision: Decision, clock: Array) -> Decision:
    """Return the decision with every shared node split evenly between its tasks; LOCAL keeps `clock`, others get
    all.
    """
    xp = namespace(state.tasks.live, decision.node)
    dtype = decision.uplink_share.dtype
    on_node = one_hot(xp, decision.node, state.node_count)
    count = xp.maximum(xp.where(on_node, on_node.sum(axis=0)[None, :], 0).sum(axis=1), 1)
    local = decision.node == LOCAL
    divided = (on_node & state.nodes.shared[None, :]).any(axis=1) & ~local
    share = xp.where(decision.placed, xp.where(divided, 1.0 / count.astype(dtype), 1.0), 0.0).astype(dtype)
    compute = xp.where(local & decision.placed, clock, share).astype(dtype)
    return decision.replace(uplink_share=share, downlink_share=share, compute_share=compute)
