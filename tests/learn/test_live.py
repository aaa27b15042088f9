"""An actor of the simulator as a policy of the live gateway."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from edgegen.config import default_config
from edgegen.core.errors import InputError
from edgegen.core.rules import violated_rows
from edgegen.experiments.fleets import fleet_world
from edgegen.learn.live import LiveAgent
from edgegen.plan import rules
from edgegen.plan.networks import fleet
from edgegen.sim.fleet import Fleet, codec


class Cheapest(eqx.Module):
    """Reads the costs out of the features and takes the lowest that is allowed: the greedy rule as an actor."""

    actions: int = eqx.field(static=True)

    def __call__(self, seen, key):
        costs = seen.features[-2 * self.actions : -self.actions]
        return jnp.where(seen.allowed, costs, jnp.inf).argmin().astype(jnp.int32)


def agent_for(state):
    sizes = (state.node_count, state.model_count, len(state.steps))
    return LiveAgent(Cheapest(int(np.prod(sizes))), codec(state), sizes)


def one_task(state, row):
    """The State with one of its tasks."""
    pick = lambda leaf: leaf[row : row + 1]  # noqa: E731
    return dataclasses.replace(state, tasks=jax.tree.map(pick, state.tasks), links=jax.tree.map(pick, state.links))


@pytest.fixture(scope="module")
def state():
    drawn = fleet(5, tasks=8)
    drawn.tasks.live[:] = [True] * 6 + [False] * 2
    return drawn


def test_one_task_is_decided_as_by_the_rule_that_the_actor_follows(state):
    agent, rule = agent_for(state), rules.GreedyCost()
    for row in range(6):
        alone = one_task(state, row)
        ours, theirs = agent.decide(alone), rule.decide(alone)
        for name in ("node", "model", "steps"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
        np.testing.assert_allclose(ours.compute_share, theirs.compute_share, rtol=1e-4)


def test_the_second_task_sees_what_was_promised_to_the_first(state):
    twins = jax.tree.map(lambda leaf: np.repeat(leaf, 3, axis=0), one_task(state, 0).tasks)
    links = jax.tree.map(lambda leaf: np.repeat(leaf, 3, axis=0), one_task(state, 0).links)
    crowd = dataclasses.replace(state, tasks=twins, links=links)
    decision = agent_for(crowd).decide(crowd)
    blind = rules.GreedyCost().decide(crowd)
    assert len(set(blind.node.tolist())) == 1  # everybody to the same machine
    options = list(zip(decision.node.tolist(), decision.model.tolist(), decision.steps.tolist(), strict=True))
    assert options[0] == (blind.node[0], blind.model[0], blind.steps[0])
    assert len(set(options)) > 1


def test_padding_and_what_can_run_nowhere_wait_and_nothing_breaks_a_rule(state):
    nowhere = dataclasses.replace(state.tasks, allowed=state.tasks.allowed & (np.arange(8) != 2)[:, None])
    given = dataclasses.replace(state, tasks=nowhere)
    decision = agent_for(state).decide(given)
    assert not violated_rows(given, decision).any()
    assert decision.node[2] == -1
    assert (decision.node[6:] == -1).all()
    assert (np.delete(decision.node[:6], 2) >= 0).all()


def test_another_fleet_than_the_one_it_was_trained_for_is_refused(state):
    with pytest.raises(InputError, match="trained for 4 node rows, 3 models and 6 step counts, got 5 node rows"):
        agent_for(state).decide(fleet(0, tasks=8, nodes=5))


def test_the_fleet_of_a_configuration_is_a_world():
    world = fleet_world(default_config(), rate_hz=4.0, horizon_s=10.0, requests=40)
    assert isinstance(world, Fleet)
    assert world.menu.task_count == 40
    assert len(np.unique(np.asarray(world.menu.tasks.deadline_s))) > 20
    assert bool(world.menu.nodes.resident.any(axis=1).all())
