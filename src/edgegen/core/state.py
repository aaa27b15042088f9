"""What a policy looks at: tables of tasks, nodes, links and models, padded to powers of two, with masks.

Shapes: T tasks, N nodes (row 0 is `LOCAL`, the task's own device), M models, C prompt categories, S step counts.
Rows whose `live` is False are padding: they may hold anything, NaN included, and never have an effect.
Leaves are NumPy arrays in the live path and JAX arrays under jit; nothing here converts one into the other.
"""

from typing import Any

import numpy as np

from edgegen.core.arrays import Array
from edgegen.core.tree import value

ANY = -1  # no wish: any model, any number of steps
LOCAL = 0  # the node row that stands for the task's own device
QUALITY, TIME, ENERGY, MONEY = range(4)  # columns of `Tasks.weights`


@value
class Tasks:
    """Requests that wait for a decision, and started ones whose steps may change."""

    live: Array  # bool[T]
    number: Array  # int[T], sequence number of the arrival, for policies that take turns
    origin: Array  # int[T], which device the task comes from; tasks of one device share its LOCAL compute
    category: Array  # int[T], prompt category, a column of `Models.quality`
    model: Array  # int[T], wanted model row, or ANY
    steps: Array  # int[T], wanted denoising steps, or ANY; of a started or continued task the most that it may take
    input_bits: Array  # float[T], sent up when the task leaves its device
    output_bits: Array  # float[T], sent back
    age_s: Array  # float[T], time since arrival
    deadline_s: Array  # float[T], from arrival to the result on the device; inf = none
    min_quality: Array  # float[T], in [0, 1]; 0 = no floor
    energy_budget_j: Array  # float[T], energy that the task may take from its device; inf = no limit
    money_budget_usd: Array  # float[T]; inf = no limit
    allowed: Array  # bool[T, N], nodes that the request permits
    device_step_scale: Array  # float[T], the device's step time over that of the profile in row LOCAL
    device_power_w: Array  # float[T], device power at full clock
    transmit_power_w: Array  # float[T], device radio power while sending
    local_backlog_s: Array  # float[T], work already promised on the task's own device
    planned: Array  # int[T], node row that the latest plan wanted, -1 = none: a warm start for the next one
    # float[T], -1 = waiting. A started task keeps its node `planned` (not LOCAL) and its `model`. These steps are done or
    # under way (what is left of that one is in the node's backlog); only the number of steps in all may still change.
    done_steps: Array
    # float[T], 0 = none. A waiting task that was begun elsewhere goes on after so many steps, which are kept in a checkpoint of
    # its `model`; any node that has the model will do.
    kept_steps: Array
    weights: Array  # float[T, 4], worth of quality, time, energy and money (see `physics.objective`)


@value
class Nodes:
    """Machines that can generate. Row 0 is LOCAL."""

    live: Array  # bool[N]
    # bool[N], True: splits its speed by `compute_share`; False: one task at a time at full speed, in queue order.
    # Row LOCAL: True = the device's clock may be lowered to `compute_share` of its full clock (DVFS).
    shared: Array
    backlog_s: Array  # float[N], work already promised (row LOCAL unused: see `Tasks.local_backlog_s`)
    # float[N], until the downlink has sent what is promised (row LOCAL unused). Nodes that are not shared send one result at
    # a time, in queue order.
    downlink_backlog_s: Array
    resident: Array  # bool[N, M], models in memory
    memory_bytes: Array  # float[N], memory for models
    power_w: Array  # float[N], power while generating
    price_usd_per_s: Array  # float[N], price of a second of generation


@value
class Links:
    """Radio and wide-area paths between each task's device and each node. Column LOCAL is unused."""

    uplink_bps: Array  # float[T, N], rate with the whole band
    downlink_bps: Array  # float[T, N], rate with the whole band
    uplink_snr: Array  # float[T, N], signal-to-noise ratio over the whole band; inf = rate proportional to the share
    downlink_snr: Array  # float[T, N], likewise
    rtt_s: Array  # float[T, N], round-trip time


@value
class Models:
    """What each model costs and gives, read from profiles."""

    live: Array  # bool[M]
    quality: Array  # float[M, C, S], expected quality in [0, 1] at each step count
    step_s: Array  # float[N, M], seconds per denoising step of one picture at full speed
    fixed_s: Array  # float[N, M], seconds per picture outside of the steps (text encoder, decoder)
    load_s: Array  # float[N, M], seconds to bring the model into memory
    available: Array  # bool[N, M], where the model can run at all
    memory_bytes: Array  # float[M]


@value
class State:
    """One moment of one edge network."""

    tasks: Tasks
    nodes: Nodes
    links: Links
    models: Models
    steps: Array  # int[S], step counts that may be chosen, ascending
    clock_s: Array  # float[], time of this moment
    extra: Any = None  # owned by a scenario's extensions; core never reads it

    @property
    def task_count(self) -> int:
        """Rows of the task table, padding included (T)."""
        return self.tasks.live.shape[-1]

    @property
    def node_count(self) -> int:
        """Rows of the node table, padding included (N)."""
        return self.nodes.live.shape[-1]

    @property
    def model_count(self) -> int:
        """Rows of the model table, padding included (M)."""
        return self.models.live.shape[-1]


_HOST_LEAVES = {np.ndarray}


def on_host(state: State) -> State:
    """Return the State with NumPy leaves; a JAX State is copied to the host once."""
    parts = (state.tasks, state.nodes, state.links, state.models)
    if all({*map(type, vars(part).values())} == _HOST_LEAVES for part in parts) and type(state.steps) is np.ndarray:
        return state  # at a tenth of the cost of looking at it as a tree
    import jax

    return jax.tree.map(np.asarray, state)
