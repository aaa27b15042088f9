"""Every option of every task, as if it ran alone after what its node has already promised.

The table is what simple rules choose from, what admission checks, and where the planner starts. Shapes: T tasks, N
nodes, M models, S step counts.
"""

import dataclasses
import weakref

import numpy as np

from edgegen.core.arrays import Array, namespace, one_hot, padding_is_silent
from edgegen.core.rules import begun
from edgegen.core.state import ANY, ENERGY, LOCAL, MONEY, QUALITY, TIME, State, Tasks
from edgegen.core.tree import value
from edgegen.physics.channel import rate_bps
from edgegen.physics.objective import scales

_LEAST_CLOCK = 0.05  # a device's clock is never planned below this fraction of its full clock


@value
class Options:
    """Predicted costs and gains of each (task, node, model, steps)."""

    possible: Array  # bool[T, N, M, S], breaks no rule of the data (see `core.rules`)
    affordable: Array  # bool[T, N, M, S], possible and within every limit but the deadline
    feasible: Array  # bool[T, N, M, S], possible and within every limit
    quality: Array  # float[T, M, S]
    upload_s: Array  # float[T, N]
    download_s: Array  # float[T, N]
    wait_s: Array  # float[T, N], until the node is free, counted from now
    link_s: Array  # float[N], until the downlink is free; 0 where it is divided
    load_s: Array  # float[N, M]
    clock: Array  # float[T, N, M, S], compute share: the best clock at LOCAL, 1 elsewhere
    work_s: Array  # float[T, N, M, S], generation at full speed
    total_s: Array  # float[T, N, M, S], from now to the result on the device
    device_energy_j: Array  # float[T, N, M, S]
    node_energy_j: Array  # float[T, N, M, S]
    money_usd: Array  # float[T, N, M, S]
    cost: Array  # float[T, N, M, S], weighted as in `physics.objective`; inf where not possible


@value
class Sizes:
    """What does not change while a task waits: everything but ages, backlogs, models in memory and who lives."""

    local: Array  # bool[1, N, 1, 1], the row of the task's own device
    scale: tuple[Array, Array, Array]  # float[T] each, what seconds, joules and money are divided by
    upload_s: Array  # as in `Options`, and so the others
    download_s: Array
    work_s: Array
    quality: Array
    node_energy_j: Array
    money_usd: Array
    device_energy_j: Array  # at full clock
    runs: Array  # bool[T, N, M, S], breaks no rule where the node lives
    within: Array  # bool[T, N, M, S], keeps the limits of money and quality
    due_s: Array  # float[T], the deadline with the slack of rounding
    error_cost: Array  # float[T, 1, M, S], the weighted error
    time_price: Array  # float[T, 1, 1, 1], cost of a second
    energy_price: Array  # float[T, 1, 1, 1], cost of a joule from the device
    money_cost: Array  # float[T, N, M, S]


_latest: tuple[weakref.ref[State], Options] | None = None
_known: dict[tuple, tuple[State, Sizes]] = {}
_KNOWN_SIZES = 128
# Columns of tasks that change while they wait, or that say nothing about sizes.
_MOVING = {"number", "origin", "age_s", "local_backlog_s", "planned", "done_steps", "kept_steps"}
_STILL = tuple(field.name for field in dataclasses.fields(Tasks) if field.name not in _MOVING)


def options(state: State) -> Options:
    """Return the table of options in which every transfer has its link to itself.

    The table of the latest NumPy State is kept as long as that State lives: the dispatcher and the policy that it asks
    look at the same State, and a State never changes. The sizes of the latest States are kept, too: requests mostly ask
    for the same as others before them.
    """
    global _latest
    kept = _latest
    if kept is not None and kept[0]() is state:
        return kept[1]
    if not isinstance(state.tasks.live, np.ndarray) or not isinstance(state.models.quality, np.ndarray):
        return tabulate(state)
    table = combine(state, _sizes(state))
    _latest = (weakref.ref(state), table)
    return table


def _sizes(state: State) -> Sizes:
    """Return the sizes of a NumPy State, from those that are known if it is like an earlier one to the last bit."""
    tasks, nodes, links = state.tasks, state.nodes, state.links
    content = [getattr(tasks, name).tobytes() for name in _STILL]
    content += [links.uplink_bps.tobytes(), links.downlink_bps.tobytes(), links.rtt_s.tobytes()]
    content += [links.uplink_snr.tobytes(), links.downlink_snr.tobytes()]
    same = (state.models, state.steps, nodes.shared, nodes.memory_bytes, nodes.power_w, nodes.price_usd_per_s)
    content.append(begun(state).tobytes())
    key = (*map(id, same), b"".join(content))
    found = _known.get(key)
    if found is None:
        if len(_known) >= _KNOWN_SIZES:
            _known.clear()
        found = _known[key] = (state, sizes(state))  # the State keeps alive what the key knows by its identity
    return found[1]


def tabulate(state: State, *, uplink_share: float = 1.0, downlink_share: float = 1.0) -> Options:
    """Compute the table of options with the given shares of every link."""
    return combine(state, sizes(state, uplink_share=uplink_share, downlink_share=downlink_share))


@padding_is_silent
def sizes(state: State, *, uplink_share: float = 1.0, downlink_share: float = 1.0) -> Sizes:
    """Compute what does not change while the tasks wait."""
    xp = namespace(state.tasks.live, state.models.quality)
    tasks, nodes, slack = state.tasks, state.nodes, 1 + 1e-6
    local = (xp.arange(state.node_count) == LOCAL)[None, :, None, None]
    upload_s, download_s = transfer_s(state, uplink_share, downlink_share)
    work_s = full_speed_s(state)
    away_s = xp.where(local, 0.0, work_s)
    quality = fresh_quality(state)
    money = nodes.price_usd_per_s[None, :, None, None] * away_s
    radio_j = (tasks.transmit_power_w[:, None] * upload_s)[:, :, None, None]
    scale = (time_scale, energy_scale, money_scale) = scales(state)

    def price(column, unit):
        return (tasks.weights[:, column] / unit)[:, None, None, None]

    return Sizes(
        local=local,
        scale=scale,
        upload_s=upload_s,
        download_s=download_s,
        work_s=work_s,
        quality=quality,
        node_energy_j=nodes.power_w[None, :, None, None] * away_s,
        money_usd=money,
        device_energy_j=xp.where(local, tasks.device_power_w[:, None, None, None] * work_s, radio_j),
        runs=_runs(xp, state),
        within=_within(state, quality, money),
        due_s=tasks.deadline_s * slack,
        error_cost=_error_cost(state, quality),
        time_price=price(TIME, time_scale),
        energy_price=price(ENERGY, energy_scale),
        money_cost=price(MONEY, money_scale) * money,
    )


@padding_is_silent
def combine(state: State, known: Sizes) -> Options:
    """Compute the table of options of this moment."""
    xp = namespace(state.tasks.live, state.models.quality)
    tasks, nodes = state.tasks, state.nodes
    wait_s, load_s = promised_s(state), xp.where(nodes.resident, 0.0, state.models.load_s)
    if xp is not np or (tasks.done_steps >= 0).any() or tasks.kept_steps.any():
        known = _begun(xp, state, known)
    start_s = xp.maximum(wait_s, known.upload_s)
    fixed_part_s, link_s = start_s[:, :, None, None] + load_s[None, :, :, None], link_backlog_s(state)
    if xp is np and not nodes.shared[LOCAL]:  # no clock can be lowered
        clock, made_s, device_j = np.ones_like(known.work_s), fixed_part_s + known.work_s, known.device_energy_j
    else:
        clock = _best_clock(xp, state, known, fixed_part_s)
        made_s = fixed_part_s + known.work_s / clock
        device_j = xp.where(known.local, known.device_energy_j * clock**2, known.device_energy_j)
    total_s = xp.maximum(made_s, link_s[None, :, None, None]) + known.download_s[:, :, None, None]
    possible = known.runs & nodes.live[None, :, None, None]
    within = known.within & (device_j <= (tasks.energy_budget_j * (1 + 1e-6))[:, None, None, None])
    affordable = possible & within
    left_s = (known.due_s - tasks.age_s)[:, None, None, None]
    spent = known.time_price * total_s + known.energy_price * device_j
    return Options(
        possible=possible,
        affordable=affordable,
        feasible=affordable & (total_s <= left_s),
        quality=known.quality,
        upload_s=known.upload_s,
        download_s=known.download_s,
        wait_s=wait_s,
        link_s=link_s,
        load_s=load_s,
        clock=clock,
        work_s=known.work_s,
        total_s=total_s,
        device_energy_j=device_j,
        node_energy_j=known.node_energy_j,
        money_usd=known.money_usd,
        cost=xp.where(possible, known.error_cost + spent + known.money_cost, np.inf),
    )


def _begun(xp, state: State, known: Sizes) -> Sizes:
    """Return the sizes with started tasks where they are, and with what is left of the work of those that were begun."""
    done, kept = state.tasks.done_steps, state.tasks.kept_steps
    stays = one_hot(xp, state.tasks.planned, state.node_count) | (done < 0)[:, None]
    behind = xp.maximum(xp.floor(done), xp.where(kept > 0, kept, -1.0))
    further = state.steps.astype(done.dtype)[None, :] > behind[:, None]
    quality = quality_after(state, known.quality)
    return dataclasses.replace(
        known,
        upload_s=xp.where((done > 0)[:, None], 0.0, known.upload_s),
        quality=quality,
        within=_within(state, quality, known.money_usd),
        error_cost=_error_cost(state, quality),
        work_s=xp.maximum(known.work_s - done_s(state)[:, :, :, None], 0.0),
        runs=known.runs & stays[:, :, None, None] & further[:, None, None, :],
    )


def fresh_quality(state: State) -> Array:
    """Return the quality float[T, M, S] of pictures that are made with their steps from the start."""
    xp = namespace(state.tasks.live, state.models.quality)
    return state.models.quality.swapaxes(0, 1)[xp.where(state.tasks.live, state.tasks.category, 0)]


def quality_after(state: State, quality: Array) -> Array:
    """Return the quality float[T, M, S] that is left to tasks that were begun when they finish with these steps.

    Of n planned steps k are done in big strides: a change to N < n steps leaves N - k strides for the rest of the way, as
    many to the step as a picture of (N - k) n / (n - k) steps has. Measured by `edgegen bench retarget`.
    """
    xp = namespace(state.tasks.live, quality)
    done = xp.maximum(xp.maximum(state.tasks.done_steps, state.tasks.kept_steps), 0.0)[:, None]
    steps = state.steps.astype(quality.dtype)[None, :]
    planned = xp.maximum(state.tasks.steps, 1).astype(quality.dtype)[:, None]
    fewer = (done > 0) & (state.tasks.steps > 0)[:, None] & (steps < planned) & (done < planned)
    like = xp.where(fewer, (steps - done) * planned / xp.where(fewer, planned - done, 1.0), steps)
    if state.steps.shape[0] < 2:
        return quality
    at = xp.maximum(xp.minimum((steps[:, None, :] <= like[:, :, None]).sum(axis=2) - 1, state.steps.shape[0] - 2), 0)
    low, high = state.steps.astype(quality.dtype)[at], state.steps.astype(quality.dtype)[at + 1]
    part = xp.minimum(xp.maximum((like - low) / (high - low), 0.0), 1.0)[:, None, :]
    index = xp.broadcast_to(at[:, None, :], quality.shape)
    below, above = (xp.take_along_axis(quality, index + shift, axis=2) for shift in (0, 1))
    return xp.where(fewer[:, None, :], below + part * (above - below), quality)


def _within(state: State, quality: Array, money_usd: Array) -> Array:
    """bool[T, N, M, S]: keeps the limits of money and quality."""
    tasks, slack = state.tasks, 1 + 1e-6
    good = (quality * slack >= tasks.min_quality[:, None, None])[:, None]
    return good & (money_usd <= (tasks.money_budget_usd * slack)[:, None, None, None])


def _error_cost(state: State, quality: Array) -> Array:
    return (state.tasks.weights[:, QUALITY, None, None] * (1 - quality))[:, None]


def done_s(state: State) -> Array:
    """Return the seconds float[T, N, M] of work at full speed that is behind a task.

    Of a started one half of the fixed part and its steps; of one that goes on from a checkpoint its steps alone.
    """
    xp = namespace(state.tasks.live, state.models.step_s)
    tasks, models = state.tasks, state.models
    done, kept = xp.maximum(tasks.done_steps, 0.0)[:, None, None], tasks.kept_steps[:, None, None]
    local = (xp.arange(state.node_count) == LOCAL)[None, :, None]
    scale = xp.where(local, tasks.device_step_scale[:, None, None], 1.0)
    started_s = models.fixed_s[None] / 2 + done * models.step_s[None]
    return xp.where(done > 0, started_s, scale * kept * models.step_s[None])


def transfer_s(state: State, uplink_share: Array, downlink_share: Array) -> tuple[Array, Array]:
    """Return upload and download seconds, each float[T, N]; shares may be numbers or [T, N]. LOCAL needs neither."""
    xp = namespace(state.tasks.live, state.links.rtt_s)
    links, tasks = state.links, state.tasks
    away, half_rtt_s = (xp.arange(state.node_count) != LOCAL)[None, :], links.rtt_s / 2
    up_bps = xp.maximum(rate_bps(links.uplink_bps, links.uplink_snr, uplink_share), 1e-9)
    down_bps = xp.maximum(rate_bps(links.downlink_bps, links.downlink_snr, downlink_share), 1e-9)
    up = xp.where(away, tasks.input_bits[:, None] / up_bps + half_rtt_s, 0.0)
    return up, xp.where(away, tasks.output_bits[:, None] / down_bps + half_rtt_s, 0.0)


def promised_s(state: State) -> Array:
    """Return how long float[T, N] each node, and each task's own device, is busy with earlier promises."""
    xp = namespace(state.tasks.live, state.nodes.backlog_s)
    local = (xp.arange(state.node_count) == LOCAL)[None, :]
    return xp.where(local, state.tasks.local_backlog_s[:, None], state.nodes.backlog_s[None, :])


def air_s(state: State, table: Options) -> Array:
    """Return how long float[T, N] a result takes a node's downlink; it is on its device half a round trip later."""
    xp = namespace(state.tasks.live, table.download_s)
    away = (xp.arange(state.node_count) != LOCAL)[None, :]
    return xp.where(away, xp.maximum(table.download_s - state.links.rtt_s / 2, 0.0), 0.0)


def link_backlog_s(state: State) -> Array:
    """Return how long float[N] each downlink is busy with earlier promises; 0 where it is divided, and for LOCAL."""
    xp, nodes = namespace(state.nodes.downlink_backlog_s), state.nodes
    away = xp.arange(state.node_count) != LOCAL
    return xp.where(away & ~nodes.shared, nodes.downlink_backlog_s, 0.0)


def full_speed_s(state: State) -> Array:
    """Return the seconds float[T, N, M, S] of generation at full speed."""
    xp = namespace(state.tasks.live, state.models.step_s)
    steps = state.steps.astype(state.models.step_s.dtype)
    node_s = state.models.fixed_s[:, :, None] + state.models.step_s[:, :, None] * steps[None, None, :]
    local = (xp.arange(state.node_count) == LOCAL)[None, :]
    scale = xp.where(local, state.tasks.device_step_scale[:, None], 1.0)
    return scale[:, :, None, None] * node_s[None]


def _best_clock(xp, state: State, known: Sizes, fixed_part_s: Array) -> Array:
    """Return the clock fraction that balances time against energy at LOCAL (1 elsewhere, and 1 on a fixed clock).

    Minimises w_t W / (x T) + w_e P x^2 W / E over x: x = (w_t E / (2 w_e P T))^(1/3), clipped to what the deadline and
    the energy budget leave (structure theorem of the local branch, after arXiv:2312.06203).
    """
    tasks, (time_scale, energy_scale, _) = state.tasks, known.scale
    pull = 2 * tasks.weights[:, ENERGY] * tasks.device_power_w * time_scale
    ratio = xp.where(pull > 0, tasks.weights[:, TIME] * energy_scale / xp.where(pull > 0, pull, 1.0), 1.0)
    free = xp.minimum(xp.maximum(ratio, 0.0), 1.0) ** (1 / 3)
    work_s = known.work_s[:, LOCAL]
    left_s = (tasks.deadline_s - tasks.age_s)[:, None, None] - fixed_part_s[:, LOCAL]
    least = xp.where(left_s > 0, work_s / xp.maximum(left_s, 1e-12), 1.0)
    budget = tasks.energy_budget_j[:, None, None]
    used = xp.maximum(tasks.device_power_w[:, None, None] * work_s, 1e-12)
    most = xp.sqrt(xp.where(budget < np.inf, budget / used, 1.0))
    most = xp.minimum(xp.maximum(most, _LEAST_CLOCK), 1.0)
    clock = xp.minimum(xp.maximum(xp.maximum(free[:, None, None], least), _LEAST_CLOCK), most)
    return xp.where(known.local & state.nodes.shared[LOCAL], clock[:, None], 1.0)


def _runs(xp, state: State) -> Array:
    """bool[T, N, M, S]: breaks no rule of the data (see `core.rules`) where the node lives."""
    tasks, nodes, models = state.tasks, state.nodes, state.models
    node_ok = tasks.live[:, None] & tasks.allowed
    model_ok = (tasks.model == ANY)[:, None] | one_hot(xp, tasks.model, state.model_count)
    runs = models.available & models.live[None, :] & (models.memory_bytes[None, :] <= nodes.memory_bytes[:, None])
    exact, most = tasks.steps[:, None] == state.steps[None, :], tasks.steps[:, None] >= state.steps[None, :]
    steps_ok = (tasks.steps == ANY)[:, None] | exact | (begun(state)[:, None] & most)
    where = node_ok[:, :, None] & model_ok[:, None, :] & runs[None]
    return where[..., None] & steps_ok[:, None, None, :]
