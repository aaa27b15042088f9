"""What a decision will cost and give, before it is obeyed.

The prediction is the contract between planning and running: the planner optimises it, admission checks it, the live
gateway shows it beside what was measured.
"""

import dataclasses

import numpy as np

from edgegen.core.arrays import Array, namespace, padding_is_silent, take_rows
from edgegen.core.decision import REJECT, Decision
from edgegen.core.ledger import Ledger
from edgegen.core.state import LOCAL, State
from edgegen.core.tree import value
from edgegen.physics.channel import rate_bps
from edgegen.physics.options import done_s, fresh_quality, link_backlog_s, quality_after


@value
class Work:
    """Sizes of the decided tasks before they meet each other. All arrays are [T]."""

    served: Array  # bool, live and placed
    local: Array  # bool, on the task's own device
    quality: Array
    upload_s: Array
    download_s: Array
    load_s: Array
    full_speed_s: Array  # generation at full speed
    generate_s: Array  # generation at the decided share


def work(state: State, decision: Decision) -> Work:
    """Return the sizes of the decided tasks: times, apart from waiting for each other, and quality."""
    xp = namespace(state.tasks.live, decision.node)
    node, model = xp.where(decision.placed, decision.node, LOCAL), xp.where(decision.placed, decision.model, 0)
    served, local = state.tasks.live & decision.placed, node == LOCAL
    scale = xp.where(local, state.tasks.device_step_scale, 1.0)
    steps = decision.steps.astype(state.models.step_s.dtype)
    speed = scale * (state.models.fixed_s[node, model] + steps * state.models.step_s[node, model])
    behind_s = done_s(state)[xp.arange(state.task_count), node, model]
    full_speed_s = xp.where(served, xp.maximum(speed - behind_s, 0.0) * decision.trials.astype(speed.dtype), 0.0)
    divided = state.nodes.shared[node]
    share = xp.where(divided & served, xp.maximum(decision.compute_share, 1e-9), 1.0)
    up, down = _radio(xp, state, decision, node)
    away, sending = served & ~local, served & ~local & (state.tasks.done_steps <= 0)
    loaded = state.nodes.resident[node, model]
    return Work(
        served=served,
        local=served & local,
        quality=xp.where(served, quality_of(state, decision), 0.0),
        upload_s=xp.where(sending, up, 0.0),
        download_s=xp.where(away, down, 0.0),
        load_s=xp.where(served & ~loaded, state.models.load_s[node, model], 0.0),
        full_speed_s=full_speed_s,
        generate_s=full_speed_s / share,
    )


def quality_of(state: State, decision: Decision) -> Array:
    """Return the expected quality float[T] of each task's model and steps (0 for steps that are not offered)."""
    xp = namespace(state.tasks.live, decision.node)
    rows, model = xp.arange(state.task_count), xp.where(decision.placed, decision.model, 0)
    curve = quality_after(state, fresh_quality(state))[rows, model]
    at = decision.steps[:, None] == state.steps[None, :]
    return xp.where(at, curve, 0.0).sum(axis=1)


def _radio(xp, state: State, decision: Decision, node: Array) -> tuple[Array, Array]:
    rows = xp.arange(state.task_count)
    links, tasks = state.links, state.tasks

    def seconds(bits, rate, snr, share):
        return bits / xp.maximum(rate_bps(rate[rows, node], snr[rows, node], share), 1e-9)

    half_rtt_s = links.rtt_s[rows, node] / 2
    up = seconds(tasks.input_bits, links.uplink_bps, links.uplink_snr, decision.uplink_share) + half_rtt_s
    down = seconds(tasks.output_bits, links.downlink_bps, links.downlink_snr, decision.downlink_share) + half_rtt_s
    return up, down


def queue_wait_s(state: State, decision: Decision, sizes: Work) -> Array:
    """Return how long float[T] each task waits for its node after its upload.

    A node that is not shared serves one task at a time and sends one result at a time, first what it has already promised, then what has
    started, then in order of slack (time left to the deadline; the older first among equals). A shared node serves everybody at once.
    """
    xp = namespace(state.tasks.live, decision.node)
    tasks = state.tasks
    left_s = xp.where(tasks.deadline_s < np.inf, tasks.deadline_s - tasks.age_s, 1e9 - tasks.age_s)
    left_s = xp.where(tasks.done_steps >= 0, -np.inf, left_s)
    left_s = xp.where(sizes.served, left_s, np.inf)
    rows = xp.arange(state.task_count)
    sooner, equal = left_s[None, :] < left_s[:, None], left_s[None, :] == left_s[:, None]
    first = sooner | (equal & (rows[None, :] < rows[:, None]))
    same_device = ~sizes.local[:, None] | (tasks.origin[None, :] == tasks.origin[:, None])
    same = (decision.node[None, :] == decision.node[:, None]) & same_device & sizes.served[None, :]
    busy_s = xp.where(sizes.served, sizes.generate_s + sizes.load_s, 0.0)
    ahead_s = xp.where(same & first, busy_s[None, :], 0.0).sum(axis=1)
    queued = sizes.local | ~take_rows(xp, state.nodes.shared, decision.node, True)
    promised_s = xp.where(sizes.local, tasks.local_backlog_s, take_rows(xp, state.nodes.backlog_s, decision.node, 0.0))
    wait_s = xp.where(queued, promised_s + ahead_s, promised_s)
    turn_s = xp.maximum(wait_s - sizes.upload_s, 0.0)
    made_s = sizes.upload_s + turn_s + sizes.load_s + sizes.generate_s
    link_s = _link_wait_s(xp, state, decision, sizes, made_s, same & first)
    return xp.where(sizes.served, turn_s + xp.where(queued & ~sizes.local, link_s, 0.0), 0.0)


def _link_wait_s(xp, state: State, decision: Decision, sizes: Work, made_s: Array, before: Array) -> Array:
    """Return how long float[T] each result waits for its node's downlink; `before` bool[T, T]: whose come earlier there.

    A result is sent when it is made and the one before it has been sent: f_k = max(made_k, f_before) + air_k.
    """
    rows = xp.arange(state.task_count)
    air_s = xp.maximum(sizes.download_s - take_rows(xp, state.links.rtt_s.T, decision.node, 0.0)[rows, rows] / 2, 0.0)
    earlier_s = xp.where(before, air_s[None, :], 0.0).sum(axis=1)
    since_s = xp.where(before | (rows[:, None] == rows[None, :]), (made_s - earlier_s)[None, :], -np.inf).max(axis=1)
    free_s = take_rows(xp, link_backlog_s(state), decision.node, 0.0)
    return xp.maximum(since_s, free_s) + earlier_s - made_s


@padding_is_silent
def predict(state: State, decision: Decision) -> Ledger:
    """Return the predicted Ledger of a decision that breaks no rule (repair it first).

    Device energy: generation at clock fraction x takes P x^2 times the full-speed work (cubic power, DVFS), sending
    takes the radio power; reception is free. Node energy and money count the work at full speed.
    """
    xp = namespace(state.tasks.live, decision.node)
    sizes = work(state, decision)
    queue_s = queue_wait_s(state, decision, sizes)
    clock = xp.where(state.nodes.shared[LOCAL], decision.compute_share, 1.0)
    local_j = state.tasks.device_power_w * clock**2 * sizes.full_speed_s
    device_j = xp.where(sizes.local, local_j, decision.power_w * sizes.upload_s)
    away_s = xp.where(sizes.local, 0.0, sizes.full_speed_s)
    ledger = Ledger(
        quality=sizes.quality,
        upload_s=sizes.upload_s,
        queue_s=queue_s,
        load_s=sizes.load_s,
        generate_s=xp.where(sizes.served, sizes.generate_s, 0.0),
        download_s=sizes.download_s,
        device_energy_j=xp.where(sizes.served, device_j, 0.0),
        node_energy_j=take_rows(xp, state.nodes.power_w, decision.node, 0.0) * away_s,
        money_usd=take_rows(xp, state.nodes.price_usd_per_s, decision.node, 0.0) * away_s,
        crashed=xp.zeros(state.task_count, dtype=bool),
        dropped=state.tasks.live & (decision.node == REJECT),
        late=xp.zeros(state.task_count, dtype=bool),
        infeasible=xp.zeros(state.task_count, dtype=bool),
    )
    return _with_limits(state, sizes.served, ledger)


@padding_is_silent
def limit_violations(state: State, ledger: Ledger) -> dict[str, Array]:
    """Return, for every limit by name, the live rows (bool[T]) whose ledger breaks it."""
    tasks, slack = state.tasks, 1 + 1e-6
    return {
        "deadline": tasks.live & (tasks.age_s + ledger.total_s > tasks.deadline_s * slack),
        "energy": tasks.live & (ledger.device_energy_j > tasks.energy_budget_j * slack),
        "money": tasks.live & (ledger.money_usd > tasks.money_budget_usd * slack),
        "quality": tasks.live & (ledger.quality * slack < tasks.min_quality),
    }


def _with_limits(state: State, served: Array, ledger: Ledger) -> Ledger:
    broken = limit_violations(state, ledger)
    late = served & broken["deadline"]
    infeasible = served & (broken["energy"] | broken["money"] | broken["quality"])
    return dataclasses.replace(ledger, late=late, infeasible=infeasible)
