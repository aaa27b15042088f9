"""A fleet of machines with queues as a world of the simulator: the States that it shows are those that the live side shows.

Requests arrive one by one, each drawn from a menu. A policy sees a State with one task and returns a Decision; what comes of it
is what `physics.predict` predicts, and the queues remember it: nodes and devices work on one picture at a time, results take
turns on each downlink, a model that is not in memory is loaded first. So whatever decides here decides live, unchanged.
"""

import dataclasses
from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from edgegen.core.arrays import Array, one_hot
from edgegen.core.decision import Decision
from edgegen.core.errors import InputError
from edgegen.core.policy import AbstractPolicy
from edgegen.core.rules import repair
from edgegen.core.state import LOCAL, State
from edgegen.core.tree import value
from edgegen.physics.objective import task_costs
from edgegen.physics.options import link_backlog_s, options, promised_s
from edgegen.physics.predict import predict, work
from edgegen.sim import arrivals, epochs
from edgegen.sim.environment import Codec

WEIGHTS = {
    "cost": -1.0
}  # the objective of the planner: error, time, energy and money against the limits of the request
_MOST_COST = 3.0  # a picture that is refused costs less than this; the feature says no more of what costs more


@value
class Chance:
    """What is drawn for a request."""

    row: Array  # int[], of the menu
    gap: Array  # float[], time to the next request, in mean gaps


@value
class Arrival:
    """One request."""

    number: Array  # int[], 0 for the first of the episode
    at_s: Array  # float[]
    row: Array  # int[], of the menu


@value
class Queues:
    """What the fleet has promised. N nodes, D devices, M models."""

    number: Array  # int[], of the next request
    next_s: Array  # float[], when it comes
    node_s: Array  # float[N], when each node is free
    device_s: Array  # float[D], when each device is free
    link_s: Array  # float[N], when each downlink is free
    resident: Array  # bool[N, M]


class Fleet(epochs.AbstractWorld):
    """One fleet and the requests that come to it. `of` makes one from any State."""

    menu: State  # R live rows of tasks, each as likely as any other; nodes, links and models are the fleet's
    rate_hz: Array  # float[], of all requests together
    devices: int = eqx.field(static=True)  # D
    length: int = eqx.field(static=True)
    horizon_s: float = eqx.field(static=True)

    @staticmethod
    def of(state: State, *, rate_hz: float, horizon_s: float) -> "Fleet":
        """Return a world whose menu are the live tasks of a State, and whose machines are its nodes, idle at first.

        **Raises** `InputError` where no task is live, or where a node divides its speed: those do not queue.
        """
        live = np.asarray(state.tasks.live)
        if not live.any():
            raise InputError("a fleet needs a State with at least one live task: the requests that may come")
        divided = np.asarray(state.nodes.shared & state.nodes.live)
        if divided[LOCAL + 1 :].any():
            raise InputError(f"node row {int(divided[1:].argmax()) + 1} divides its speed; a fleet has queues only")
        pick = lambda leaf: jnp.asarray(np.asarray(leaf)[live])  # noqa: E731
        tasks = jax.tree.map(pick, state.tasks)
        menu = dataclasses.replace(
            jax.tree.map(jnp.asarray, state),
            tasks=dataclasses.replace(tasks, age_s=jnp.zeros_like(tasks.age_s)),
            links=jax.tree.map(pick, state.links),
            extra=None,
        )
        return Fleet(
            menu=menu,
            rate_hz=jnp.asarray(rate_hz, menu.models.step_s.dtype),
            devices=int(np.asarray(state.tasks.origin)[live].max()) + 1,
            length=arrivals.length_for(rate_hz, horizon_s) + 1,
            horizon_s=horizon_s,
        )

    def chance(self, key) -> Chance:
        choosing, waiting = jax.random.split(key)
        row = jax.random.randint(choosing, (), 0, self.menu.task_count, dtype=jnp.int32)
        return Chance(row=row, gap=arrivals.gap(waiting))

    def start(self) -> Queues:
        zero = jnp.zeros((), self.menu.models.step_s.dtype)
        nodes = jnp.zeros(self.menu.node_count, zero.dtype)
        return Queues(
            number=jnp.zeros((), jnp.int32),
            next_s=zero,
            node_s=nodes,
            device_s=jnp.zeros(self.devices, zero.dtype),
            link_s=nodes,
            resident=self.menu.nodes.resident,
        )

    def advance(self, state: Queues, chance: Chance) -> tuple[Queues, Arrival, Array, epochs.Entries]:
        arrival = Arrival(number=state.number, at_s=state.next_s, row=chance.row)
        after_s = state.next_s + chance.gap.astype(state.next_s.dtype) / self.rate_hz
        busy = (state.node_s[LOCAL + 1 :] > arrival.at_s).sum().astype(after_s.dtype)
        after = dataclasses.replace(state, number=state.number + 1, next_s=after_s)
        return after, arrival, arrival.at_s <= self.horizon_s, {"busy_nodes": busy}

    def view(self, state: Queues, event: Arrival) -> State:
        """Return the State of this moment: one task, and what the fleet has promised before it."""
        menu, now_s = self.menu, event.at_s
        only = lambda leaf: jax.lax.dynamic_index_in_dim(leaf, event.row)  # noqa: E731
        tasks, links = jax.tree.map(only, menu.tasks), jax.tree.map(only, menu.links)
        left_s = lambda free_s: jnp.maximum(free_s - now_s, 0.0)  # noqa: E731
        tasks = dataclasses.replace(
            tasks,
            number=event.number[None],
            local_backlog_s=left_s(state.device_s)[tasks.origin],
        )
        nodes = dataclasses.replace(
            menu.nodes,
            backlog_s=left_s(state.node_s),
            downlink_backlog_s=left_s(state.link_s),
            resident=state.resident,
        )
        return dataclasses.replace(menu, tasks=tasks, links=links, nodes=nodes, clock_s=now_s)

    def step(self, state: Queues, event: Arrival, action: Decision) -> tuple[Queues, epochs.Entries]:
        """Obey a decision; one that breaks a rule is mended first. A task that is not placed is dropped, also one that is
        left waiting: it has no later epoch (`core.compose.Fallback` makes of a policy that waits one that does not).
        """
        seen = self.view(state, event)
        decision = repair(seen, action)
        ledger, served = predict(seen, decision), decision.placed
        cost = task_costs(seen, ledger, served)
        in_time = served & ~ledger.late
        columns = {field.name: getattr(ledger, field.name) for field in dataclasses.fields(ledger)}
        columns |= {"dropped": ~served, "served": served, "cost": cost, "total_s": ledger.total_s}
        columns |= {"in_time": in_time, "quality_in_time": jnp.where(in_time, ledger.quality, 0.0)}
        entries = {name: column[0].astype(state.next_s.dtype) for name, column in columns.items()}
        return promise(state, seen, decision), entries


def promise(state: Queues, seen: State, decision: Decision) -> Queues:
    """Return the queues after the only task of a State has been given to a node; unchanged where it has not."""
    now_s, sizes = seen.clock_s, work(seen, decision)
    node, model = jnp.maximum(decision.node, LOCAL), decision.model
    upload_s, local = sizes.upload_s[0], sizes.local[0]
    made_s = jnp.maximum(promised_s(seen)[0, node[0]], upload_s) + sizes.load_s[0] + sizes.generate_s[0]
    air_s = jnp.maximum(sizes.download_s[0] - seen.links.rtt_s[0, node[0]] / 2, 0.0)
    sent_s = jnp.maximum(made_s, link_backlog_s(seen)[node[0]]) + air_s
    here = one_hot(jnp, node, seen.node_count)[0] & decision.placed[0]
    away = here & ~local
    mine = one_hot(jnp, seen.tasks.origin, state.device_s.shape[0])[0] & here.any() & local
    loaded = here[:, None] & one_hot(jnp, model, seen.model_count)[0][None, :]
    kept = (state.resident & decision.resident) | loaded
    bytes_kept = jnp.where(kept, seen.models.memory_bytes[None, :], 0.0).sum(axis=1)
    crowded = here & (bytes_kept > seen.nodes.memory_bytes)  # what was there makes room for what is needed
    return dataclasses.replace(
        state,
        node_s=jnp.where(away, now_s + made_s, state.node_s),
        device_s=jnp.where(mine, now_s + made_s, state.device_s),
        link_s=jnp.where(away, now_s + sent_s, state.link_s),
        resident=jnp.where(crowded[:, None], loaded, kept),
    )


# --------------------------------------------------------------------------------------------- policies of the live side


class Deciding(eqx.Module):
    """A policy that runs under jit, such as the rules, as a policy of this world."""

    policy: AbstractPolicy

    def __call__(self, view: State, key) -> Decision:
        return self.policy.decide(view, key=key)


class Hosted(eqx.Module):
    """A policy that needs NumPy, such as the planners, as a policy of this world: it is called back, one State at a time."""

    policy: AbstractPolicy = eqx.field(static=True)

    def __call__(self, view: State, key) -> Decision:
        del key
        shape = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), Decision.hold(view))

        def decide(state: State) -> Decision:
            decision = self.policy.decide(jax.tree.map(np.asarray, state))
            decision = dataclasses.replace(decision, certificate=None, extra=None)
            return jax.tree.map(lambda column, like: np.asarray(column, like.dtype), decision, shape)

        return jax.pure_callback(decide, shape, view, vmap_method="sequential")


# -------------------------------------------------------------------------------------------------------------- learners


def codec(state: State, weights: Mapping[str, float] = WEIGHTS) -> Codec:
    """Return what learners see of States of this size, float[D], and their actions: every (node, model, steps)."""
    return codec_of(state.node_count, state.model_count, state.steps.shape[0], weights)


def codec_of(nodes: int, models: int, steps: int, weights: Mapping[str, float] = WEIGHTS) -> Codec:
    """Return the codec for States with so many node rows, models and step counts."""
    return Codec(observe, allowed, decode, actions=nodes * models * steps, weights=dict(weights))


def observe(view: State) -> Array:
    """Return the features of a State with one task: its limits, the backlogs, and every option's cost and whether it is in time."""
    table, tasks, nodes = options(view), view.tasks, view.nodes

    def squash(number: Array) -> Array:
        return jnp.where(number < jnp.inf, number / (1.0 + number), 1.0)

    category = one_hot(jnp, tasks.category, view.models.quality.shape[1])[0].astype(table.cost.dtype)
    limits = jnp.concatenate([squash(tasks.deadline_s), tasks.min_quality, squash(tasks.energy_budget_j)])
    backlogs = [squash(column) for column in (tasks.local_backlog_s, nodes.backlog_s, nodes.downlink_backlog_s)]
    cost = jnp.where(table.possible[0], jnp.minimum(table.cost[0], _MOST_COST), _MOST_COST)
    parts = [limits, category, *backlogs, nodes.resident.astype(cost.dtype).ravel()]
    return jnp.concatenate([*parts, cost.ravel(), table.feasible[0].astype(cost.dtype).ravel()])


def allowed(view: State) -> Array:
    """bool[N * M * S], options within the limits; where there are none, those that can run at all; at last any."""
    table = options(view)
    feasible, possible = table.feasible[0].ravel(), table.possible[0].ravel()
    usable = jnp.where(feasible.any(), feasible, possible)
    return usable | ~usable.any()


def decode(view: State, action: Array) -> Decision:
    """Return the decision that takes an option, at the device's best clock where it runs there."""
    table = options(view)
    node, model, step = jnp.unravel_index(action, table.cost.shape[1:])
    hold = Decision.hold(view)
    whole, dtype = jnp.ones_like(hold.uplink_share), hold.node.dtype
    return hold.replace(
        node=node[None].astype(dtype),
        model=model[None].astype(dtype),
        steps=view.steps[step][None].astype(dtype),
        uplink_share=whole,
        downlink_share=whole,
        compute_share=table.clock[:, node, model, step].astype(whole.dtype),
        power_w=view.tasks.transmit_power_w.astype(whole.dtype),
    )
