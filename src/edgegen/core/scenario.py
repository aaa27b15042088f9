"""A scenario is a reproducible source of States: the same seed gives the same network."""

import dataclasses
from collections.abc import Callable

import numpy as np

from edgegen.core.citation import Citation
from edgegen.core.state import ANY, Links, Models, Nodes, State, Tasks


@dataclasses.dataclass(frozen=True)
class Scenario:
    """A named family of networks. `sample(seed)` draws one."""

    name: str
    summary: str
    sample: Callable[[int], State]
    citation: Citation | None = None


def blank_state(*, tasks: int, nodes: int, models: int, categories: int, steps: np.ndarray) -> State:
    """Return a NumPy State of the given size in which nothing is live and nothing is limited.

    Whoever builds a State fills the columns that it knows; every other column is neutral.
    """
    t, n, m, s = tasks, nodes, models, len(steps)
    return State(
        tasks=_blank_tasks(t, n),
        nodes=Nodes(
            live=np.zeros(n, dtype=bool),
            shared=np.zeros(n, dtype=bool),
            backlog_s=np.zeros(n),
            downlink_backlog_s=np.zeros(n),
            resident=np.ones((n, m), dtype=bool),
            memory_bytes=np.full(n, np.inf),
            power_w=np.zeros(n),
            price_usd_per_s=np.zeros(n),
        ),
        links=Links(
            uplink_bps=np.full((t, n), np.inf),
            downlink_bps=np.full((t, n), np.inf),
            uplink_snr=np.full((t, n), np.inf),
            downlink_snr=np.full((t, n), np.inf),
            rtt_s=np.zeros((t, n)),
        ),
        models=Models(
            live=np.zeros(m, dtype=bool),
            quality=np.zeros((m, categories, s)),
            step_s=np.zeros((n, m)),
            fixed_s=np.zeros((n, m)),
            load_s=np.zeros((n, m)),
            available=np.zeros((n, m), dtype=bool),
            memory_bytes=np.zeros(m),
        ),
        steps=np.asarray(steps, dtype=np.int32),
        clock_s=np.float64(0.0),
    )


def _blank_tasks(t: int, n: int) -> Tasks:
    return Tasks(
        live=np.zeros(t, dtype=bool),
        number=np.zeros(t, dtype=np.int32),
        origin=np.zeros(t, dtype=np.int32),
        category=np.zeros(t, dtype=np.int32),
        model=np.full(t, ANY, dtype=np.int32),
        steps=np.full(t, ANY, dtype=np.int32),
        input_bits=np.zeros(t),
        output_bits=np.zeros(t),
        age_s=np.zeros(t),
        deadline_s=np.full(t, np.inf),
        min_quality=np.zeros(t),
        energy_budget_j=np.full(t, np.inf),
        money_budget_usd=np.full(t, np.inf),
        allowed=np.ones((t, n), dtype=bool),
        device_step_scale=np.ones(t),
        device_power_w=np.zeros(t),
        transmit_power_w=np.zeros(t),
        local_backlog_s=np.zeros(t),
        planned=np.full(t, -1, dtype=np.int32),
        done_steps=np.full(t, -1.0),
        kept_steps=np.zeros(t),
        weights=np.tile([1.0, 0.3, 0.2, 0.0], (t, 1)),
    )
