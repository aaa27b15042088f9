"""States that every policy is tried on."""

import dataclasses

import equinox as eqx
import numpy as np

from edgegen.core.arrays import next_power_of_two
from edgegen.core.scenario import blank_state
from edgegen.core.state import ANY, State
from edgegen.plan.networks import cellular, fleet


def under_way(seed: int) -> State:
    """Return machines with queues, one task started on each: it may only change its steps."""
    state = fleet(seed, tasks=20, nodes=4)
    tasks, rng = state.tasks, np.random.default_rng(seed)
    runs = state.models.available & state.nodes.live[:, None]
    for row, node in enumerate(np.flatnonzero(runs.any(axis=1))[1:]):
        tasks.live[row] = True
        tasks.planned[row], tasks.model[row], tasks.steps[row] = node, rng.choice(np.flatnonzero(runs[node])), ANY
        tasks.done_steps[row] = rng.choice([0.0, 0.6, 1.0, 3.3, 8.5])
        tasks.allowed[row] = np.arange(state.node_count) == node
        tasks.energy_budget_j[row], tasks.min_quality[row] = np.inf, 0.0
    return state


def continued(seed: int) -> State:
    """Return machines with queues and tasks that go on from checkpoints: with their model, and steps that are left."""
    state = fleet(seed, tasks=12, nodes=4)
    tasks, rng = state.tasks, np.random.default_rng(seed)
    models = np.flatnonzero((state.models.available & state.nodes.live[:, None]).any(axis=0) & state.models.live)
    for row in np.flatnonzero(tasks.live)[::3]:
        tasks.model[row], tasks.steps[row] = rng.choice(models), ANY
        tasks.kept_steps[row] = rng.choice([1.0, 3.0, 7.0])
        tasks.energy_budget_j[row], tasks.min_quality[row] = np.inf, 0.0
    return state


CASES = {
    **{f"fleet-{seed}": lambda seed=seed: fleet(seed) for seed in range(6)},
    "fleet-one-task": lambda: fleet(7, tasks=1),
    "fleet-crowded": lambda: fleet(8, tasks=24, nodes=3),
    "fleet-under-way-0": lambda: under_way(0),
    "fleet-under-way-1": lambda: under_way(1),
    "fleet-continued": lambda: continued(2),
    "cellular-0": lambda: cellular(0, users=5),
    "cellular-1": lambda: cellular(1, users=4, servers=3),
}


def permuted(state: State, order: np.ndarray) -> State:
    """Return the state with its task rows in another order."""
    tasks = {f.name: getattr(state.tasks, f.name)[order] for f in dataclasses.fields(state.tasks)}
    links = {f.name: getattr(state.links, f.name)[order] for f in dataclasses.fields(state.links)}
    return eqx.tree_at(lambda s: (s.tasks, s.links), state, (type(state.tasks)(**tasks), type(state.links)(**links)))


def padded(state: State, garbage: float) -> State:
    """Return the state with its tables padded to powers of two; floats in padding rows hold `garbage`."""
    sizes = {
        "tasks": next_power_of_two(state.task_count + 1),
        "nodes": next_power_of_two(state.node_count + 1),
        "models": next_power_of_two(state.model_count + 1),
    }
    big = blank_state(**sizes, categories=state.models.quality.shape[1], steps=state.steps)

    def fill(wide, narrow):
        if wide.ndim == 0:
            return narrow
        out = np.full(wide.shape, garbage) if wide.dtype.kind == "f" else np.zeros_like(wide)
        out[tuple(slice(0, size) for size in narrow.shape)] = narrow
        return out

    def table(name):
        wide, narrow = getattr(big, name), getattr(state, name)
        fields = {f.name: fill(getattr(wide, f.name), getattr(narrow, f.name)) for f in dataclasses.fields(wide)}
        return type(wide)(**fields)

    return State(
        tasks=table("tasks"),
        nodes=table("nodes"),
        links=table("links"),
        models=table("models"),
        steps=state.steps,
        clock_s=state.clock_s,
    )
