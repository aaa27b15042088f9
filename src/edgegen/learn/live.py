"""A trained agent as a policy of the live gateway: the very actor that was trained in `sim.fleet`, one request after another.

What an agent decides for one request is promised before it looks at the next, as in the world that it was trained in.
"""

import dataclasses
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from edgegen.core.decision import Decision
from edgegen.core.errors import InputError
from edgegen.core.policy import AbstractPolicy
from edgegen.core.rules import repair
from edgegen.core.state import State
from edgegen.learn import agent
from edgegen.learn.learner import Actor
from edgegen.sim import fleet
from edgegen.sim.environment import Codec
from edgegen.sim.fleet import Arrival, Fleet, Queues, promise

SYSTEM = "fleet"


class LiveAgent(AbstractPolicy):
    """An actor for fleets of one size. It decides in 32 bits on numbers relative to the moment."""

    actor: Actor
    codec: Codec
    sizes: tuple[int, int, int] = eqx.field(static=True)  # node rows, model rows, step counts

    def decide(self, state: State, *, key=None) -> Decision:
        """Return a decision for every task, in the order of the rows; tasks that can run nowhere wait.

        **Raises** `InputError` for a State of another size than the agent was trained for.
        """
        found = (state.node_count, state.model_count, state.steps.shape[0])
        if found != self.sizes:
            words = "{} node rows, {} models and {} step counts"
            raise InputError(f"this agent was trained for {words.format(*self.sizes)}, got {words.format(*found)}")
        given = dataclasses.replace(state, clock_s=np.float32(0.0), extra=None)
        with jax.enable_x64(False):
            columns = _decide(self, given, jax.random.key(0) if key is None else key)
        node, model, steps, clock, power_w = map(np.asarray, columns)
        hold, placed = Decision.hold(state), node >= 0
        share = np.where(placed, 1.0, 0.0).astype(hold.uplink_share.dtype)
        return hold.replace(
            node=node,
            model=model,
            steps=steps,
            uplink_share=share,
            downlink_share=share,
            compute_share=clock.astype(share.dtype),
            power_w=power_w.astype(share.dtype),
        )


@eqx.filter_jit
def _decide(agent: LiveAgent, state: State, key):
    state = jax.tree.map(_narrow, state)
    count, tasks = state.task_count, state.tasks
    # A device is known by the first row that comes from it.
    origin = (tasks.origin[:, None] == tasks.origin[None, :]).argmax(axis=1).astype(jnp.int32)
    state = dataclasses.replace(state, tasks=dataclasses.replace(tasks, origin=origin))
    world = Fleet(menu=state, rate_hz=jnp.ones(()), devices=count, length=1, horizon_s=0.0)
    queues = Queues(
        number=jnp.zeros((), jnp.int32),
        next_s=state.clock_s,
        node_s=state.nodes.backlog_s,
        device_s=tasks.local_backlog_s,
        link_s=state.nodes.downlink_backlog_s,
        resident=state.nodes.resident,
    )

    def one(queues: Queues, given):
        row, key = given
        seen = world.view(queues, Arrival(number=tasks.number[row], at_s=state.clock_s, row=row))
        action = agent.actor(agent.codec.look(seen), key)
        decision = repair(seen, agent.codec.decode(seen, action))  # what can run nowhere waits
        columns = decision.node, decision.model, decision.steps, decision.compute_share, decision.power_w
        return promise(queues, seen, decision), tuple(column[0] for column in columns)

    rows = jnp.arange(count, dtype=jnp.int32)
    _, columns = jax.lax.scan(one, queues, (rows, jax.random.split(key, count)))
    return columns


def _narrow(leaf):
    leaf = jnp.asarray(leaf)
    return leaf.astype(jnp.float32) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf


def load_agent(path: str) -> LiveAgent:
    """Return a trained agent as a policy, from the file that `edgegen train fleet` wrote.

    **Raises** `InputError` for a file that is no agent, or one that decides in another system.
    """
    if (system := agent.card_of(Path(path)).system) != SYSTEM:
        raise InputError(
            f"{path} decides in the system {system!r}; the gateway needs an agent of {SYSTEM!r}: edgegen train {SYSTEM}",
            param="policy",
        )
    with jax.enable_x64(False):
        found, card = agent.load(Path(path), {SYSTEM: lambda card: fleet.codec_of(*_sizes(card))})
    return LiveAgent(found.actor, found.codec, _sizes(card))


def _sizes(card: agent.Card) -> tuple[int, int, int]:
    nodes, models, steps = (int(card.settings[name]) for name in ("nodes", "models", "steps"))
    return nodes, models, steps
