"""Which decisions make sense at all, and how one that does not is mended.

These are the rules of the data itself: rows, names, step counts, shares and memory. Limits that need a prediction
(deadline, energy, money, quality floor) are in `physics.predict`.
"""

import numpy as np

from edgegen.core.arrays import Array, namespace, one_hot, padding_is_silent, take_rows
from edgegen.core.decision import HOLD, REJECT, Decision
from edgegen.core.state import ANY, LOCAL, State

SHARE_TOLERANCE = 1e-5  # rounding that a sum of shares may carry
_SHARES = ("uplink_share", "downlink_share", "compute_share")


@padding_is_silent
def violations(state: State, decision: Decision) -> dict[str, Array]:
    """Return, for every rule by name, the rows (bool[T]) of `decision` that break it. Padding never breaks a rule."""
    xp = namespace(state.tasks.live, decision.node)
    live, node, placed = state.tasks.live, decision.node, decision.placed
    found = {
        "padding_decided": ~live & (node != HOLD),
        "unknown_node": live & ((node < REJECT) | (node >= state.node_count)),
        "node_not_usable": live & placed & ~_usable(xp, state, node),
        "model_not_available": live & placed & ~_available(xp, state, decision),
        "other_model_than_wanted": live & placed & (state.tasks.model != ANY) & (decision.model != state.tasks.model),
        "steps_not_offered": live & placed & ~(decision.steps[:, None] == state.steps[None, :]).any(axis=1),
        "other_steps_than_wanted": live & placed & (state.tasks.steps != ANY) & ~_wanted(state, decision),
        "started_task_moved": live & placed & _moved(xp, state, decision),
        "kept_steps_undone": live & placed & _undone(state, decision),
        "no_trial": live & placed & (decision.trials < 1),
        "share_outside_0_1": live & placed & ~_shares_sane(decision),
        "power_not_finite": live & placed & ~((decision.power_w >= 0) & (decision.power_w < np.inf)),
    }
    rows_sane = live & placed & ~_any(found)
    found["node_oversubscribed"] = rows_sane & _oversubscribed(xp, state, decision, rows_sane)
    return found


def violated_rows(state: State, decision: Decision) -> Array:
    """Return bool[T], rows that break at least one rule."""
    return _any(violations(state, decision))


@padding_is_silent
def resident_violations(state: State, decision: Decision) -> Array:
    """Return bool[N], nodes that are asked to keep more than fits, or a model that they cannot run."""
    xp = namespace(state.nodes.live, decision.resident)
    kept = decision.resident & state.models.live[None, :]
    needed = xp.where(kept, state.models.memory_bytes[None, :], 0.0).sum(axis=1)
    impossible = (kept & ~state.models.available).any(axis=1)
    return state.nodes.live & (impossible | (needed > state.nodes.memory_bytes))


@padding_is_silent
def repair(state: State, decision: Decision) -> Decision:
    """Return a decision that breaks no rule. Idempotent; rows that break none are returned as they were.

    A wish for certain steps is granted, other step counts move to the nearest offered, shares are clipped and scaled to
    their node's capacity; a row that still breaks a rule waits (`HOLD`). Nodes that were asked to keep more than fits
    keep what they have.
    """
    xp = namespace(state.tasks.live, decision.node)
    if xp is np and not violated_rows(state, decision).any() and not resident_violations(state, decision).any():
        return decision  # the usual case in the live path, at a fraction of the cost
    mended = _mend_steps(xp, state, decision)
    mended = _mend_shares(xp, state, mended)
    broken = _any({k: v for k, v in violations(state, mended).items() if k != "node_oversubscribed"})
    mended = Decision.hold(state).replace(resident=mended.resident, extra=mended.extra).select(broken, mended)
    mended = _fit_shares(xp, state, mended)
    overfull = resident_violations(state, mended)
    return mended.replace(resident=xp.where(overfull[:, None], state.nodes.resident, mended.resident))


def _any(found: dict[str, Array]) -> Array:
    rows = list(found.values())
    total = rows[0]
    for more in rows[1:]:
        total = total | more
    return total


def _usable(xp, state: State, node: Array) -> Array:
    """bool[T]: the node is live and the request permits it."""
    permitted = (one_hot(xp, node, state.node_count) & state.tasks.allowed).any(axis=1)
    return take_rows(xp, state.nodes.live, node, False) & permitted


def _available(xp, state: State, decision: Decision) -> Array:
    models = state.models.live[None, :] & state.models.available
    return (take_rows(xp, models, decision.node, False) & one_hot(xp, decision.model, state.model_count)).any(axis=1)


def _wanted(state: State, decision: Decision) -> Array:
    """bool[T]: as many steps as are wanted; for a started or continued task, no more."""
    tasks = state.tasks
    return (decision.steps == tasks.steps) | (begun(state) & (decision.steps < tasks.steps))


def begun(state: State) -> Array:
    """Return the tasks (bool[T]) that have been started, here or elsewhere: their steps are a most, not a wish."""
    return (state.tasks.done_steps >= 0) | (state.tasks.kept_steps > 0)


def _undone(state: State, decision: Decision) -> Array:
    """bool[T]: a continued task would take no more steps than it has behind it."""
    kept = state.tasks.kept_steps
    return (kept > 0) & (decision.steps.astype(kept.dtype) <= kept)


def _moved(xp, state: State, decision: Decision) -> Array:
    """bool[T]: a started task would change its node or its model, or undo steps."""
    tasks = state.tasks
    stays = (decision.node == tasks.planned) & (decision.model == tasks.model)
    return (tasks.done_steps >= 0) & ~(
        stays & (decision.steps.astype(tasks.done_steps.dtype) > xp.floor(tasks.done_steps))
    )


def _shares_sane(decision: Decision) -> Array:
    sane = decision.compute_share > 0
    for name in _SHARES:
        share = getattr(decision, name)
        sane = sane & (share >= 0) & (share <= 1 + SHARE_TOLERANCE)
    radio = (decision.uplink_share > 0) & (decision.downlink_share > 0)
    return sane & (radio | (decision.node == LOCAL))


def _used(xp, state: State, decision: Decision, rows: Array, name: str) -> Array:
    """float[N]: how much of each node's capacity the rows use; LOCAL is each task's own and never adds up."""
    on_node = one_hot(xp, decision.node, state.node_count) & rows[:, None]
    return xp.where(on_node, xp.where(rows, getattr(decision, name), 0.0)[:, None], 0.0).sum(axis=0)


def _adds_up(xp, state: State) -> Array:
    """bool[N]: nodes that divide their links and compute; the others use them in turn, LOCAL is each task's own."""
    return (xp.arange(state.node_count) != LOCAL) & state.nodes.shared


def _oversubscribed(xp, state: State, decision: Decision, rows: Array) -> Array:
    over = xp.zeros(state.node_count, dtype=bool)
    for name in _SHARES:
        over = over | (_adds_up(xp, state) & (_used(xp, state, decision, rows, name) > 1 + SHARE_TOLERANCE))
    return take_rows(xp, over, decision.node, False)


def _mend_steps(xp, state: State, decision: Decision) -> Decision:
    offered = (decision.steps[:, None] == state.steps[None, :]).any(axis=1)
    nearest = state.steps[xp.argmin(xp.abs(decision.steps[:, None] - state.steps[None, :]), axis=1)]
    steps = xp.where(offered | (decision.steps < 1), decision.steps, nearest)
    steps = xp.where((state.tasks.steps != ANY) & ~begun(state), state.tasks.steps, steps)
    steps = xp.where(state.tasks.live & decision.placed, steps, decision.steps)
    return decision.replace(steps=steps.astype(decision.steps.dtype))


def _mend_shares(xp, state: State, decision: Decision) -> Decision:
    """Clip shares into [0, 1]; a share that is not a number becomes 0 and the row will wait."""
    rows = state.tasks.live & decision.placed
    clipped = {}
    for name in _SHARES:
        share = getattr(decision, name)
        wrong = rows & ~((share >= 0) & (share <= 1 + SHARE_TOLERANCE))
        clipped[name] = xp.where(wrong, xp.where(share > 1, 1.0, 0.0).astype(share.dtype), share)
    return decision.replace(**clipped)


def _fit_shares(xp, state: State, decision: Decision) -> Decision:
    """Scale the shares on each oversubscribed node so that they add up to its capacity."""
    rows = state.tasks.live & decision.placed
    fitted = {}
    for name in _SHARES:
        share = getattr(decision, name)
        used = _used(xp, state, decision, rows, name)
        over = _adds_up(xp, state) & (used > 1 + SHARE_TOLERANCE)
        scale = take_rows(xp, xp.where(over, 1.0 / xp.where(over, used, 1.0), 1.0), decision.node, 1.0)
        fitted[name] = xp.where(rows, share * scale, share).astype(share.dtype)
    return decision.replace(**fitted)
