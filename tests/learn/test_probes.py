"""Every learner on every probe world, from one list: which pair fails tells where the fault is.

A learner is compiled once: the probes are stacked, and it is trained on all of them together.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from conformance.compiling import quickly
from edgegen.core.arrays import Array
from edgegen.learn import (
    actor_critic,
    architectures,
    buffers,
    d2sac,
    dqn,
    off_policy,
    on_policy,
    ppo,
    reinforce,
    rollout,
    sac,
)
from edgegen.learn.diffusion_head import variance_preserving
from edgegen.learn.learner import AbstractLearner
from edgegen.sim import epochs, probes

PROBES = probes.probes()
ENVIRONMENTS = 4
SEED = 1


@dataclasses.dataclass(frozen=True)
class Contender:
    """A learner with tiny networks, and how long it needs."""

    make: Callable[[], AbstractLearner]
    iterations: int
    values: (
        Callable[[AbstractLearner, Any, Array], Array] | None
    )  # (learner, state, float[S, D]) -> float[S, K], if it has any
    tolerance: float = 0.1  # of the values of the actions that it prefers


def off_policy_learner(algorithm, memory=None, *, n=1):
    memory = memory or buffers.Uniform(512)
    sizes = {"environments": ENVIRONMENTS, "steps": 2, "updates": 4, "batch": 32, "warm_up": 32}
    return off_policy.OffPolicy(algorithm, memory, probes.GAMMA, n=n, **sizes)


def q_network(memory=None, n=1, **parts):
    usual = {"hidden": (16,), "rate": 1e-2, "weight_decay": 0.0, "sync": dqn.Every(20), "epsilon": 0.3}
    return lambda: off_policy_learner(dqn.DQN(**usual | parts), memory, n=n)


def of_q_network(learner, state, features):
    return learner.algorithm.values(dqn.settled(state.params.online), features)


def of_critics(learner, state, features):
    return actor_critic.least(state.params.critics, features)


def on_policy_parts(rate, *, lam, length):
    return {
        "architecture": architectures.Apart((16,)),
        "horizon": on_policy.Horizon(probes.GAMMA, lam=lam, scale=1.0),
        "descent": on_policy.Descent(rate),
        "entropy": 0.01,
        "environments": ENVIRONMENTS,
        "length": length,
    }


def of_state_values(learner, state, features):
    held = jax.vmap(state.mean)(features)[1]
    return jnp.broadcast_to(held[:, None], (len(features), probes.ACTIONS))


ALL_OF_IT = {
    "worth": dqn.Categorical(-4.0, 4.0, 17),
    "last": dqn.Noisy(0.5),
    "chooser": dqn.double,
    "body": dqn.duelling,
}
BY_PARTS = {"chooser": dqn.double, "sync": dqn.Softly(0.05), "epsilon": 0.1}
SOFT = {"hidden": (16, 16), "actor_rate": 5e-3, "critic_rate": 1e-2, "tau": 0.05, "weight_decay": 0.0, "alpha": 0.02}
DENOISING = SOFT | {"actor_rate": 2e-3, "alpha": 0.3, "schedule": variance_preserving(2)}
# Returns over 3 epochs count what was done after an action, not the best that could be: with more at random, `end` is lost.
LEARNERS = {
    "dqn": Contender(q_network(), 200, of_q_network),
    "double-prioritised-3-steps": Contender(q_network(buffers.Prioritised(256), 3, **BY_PARTS), 300, of_q_network, 0.2),
    "rainbow": Contender(q_network(buffers.Prioritised(512), **ALL_OF_IT), 200, of_q_network, 0.2),
    "sac": Contender(lambda: off_policy_learner(sac.SAC(**SOFT)), 300, of_critics, 0.2),
    "d2sac": Contender(lambda: off_policy_learner(d2sac.D2SAC(**DENOISING)), 500, of_critics, 0.2),
    "ppo": Contender(
        lambda: ppo.PPO(minibatches=2, **on_policy_parts(1e-2, lam=0.5, length=8)), 100, of_state_values, 0.2
    ),
    "reinforce": Contender(
        lambda: reinforce.Reinforce(**on_policy_parts(3e-2, lam=1.0, length=8)), 300, of_state_values, 0.2
    ),
}


@functools.cache
def trained(name: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Train on all probes; return the actions int[P, S] and the values float[P, S, K] of all situations."""
    contender = LEARNERS[name]
    learner = contender.make()
    together = epochs.stack([probe.environment for probe in PROBES.values()])
    seen = epochs.stack(
        [epochs.stack([p.observation(row) for row in range(probes.SITUATIONS)]) for p in PROBES.values()]
    )

    @quickly
    @functools.partial(jax.vmap, in_axes=(0, 0, None))
    def run(environment, seen, key):
        environments = rollout.repeat(environment, ENVIRONMENTS)
        state = learner.init(environments, key=key)
        state = jax.lax.fori_loop(
            0, contender.iterations, lambda _, state: learner.iterate(environments, state)[0], state
        )
        actor = learner.actor(state)
        values = contender.values(learner, state, seen.features) if contender.values else None
        return jax.vmap(lambda one: actor(one, key))(seen), values

    actions, values = run(together, seen, jax.random.key(SEED))
    return np.asarray(actions), None if values is None else np.asarray(values)


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize("learner", LEARNERS)
def test_every_learner_solves_every_probe(learner, probe):
    actions, values = trained(learner)
    where, fault, right = list(PROBES).index(probe), PROBES[probe].fault, PROBES[probe].solve()
    for row in PROBES[probe].rows:
        chosen = actions[where, row]
        assert right[row, chosen] == right[row].max(), f"{fault}: situation {row}, action {chosen}"
        if values is not None:
            held = values[where, row, chosen]
            assert held == pytest.approx(right[row].max(), abs=LEARNERS[learner].tolerance), f"{fault}: situation {row}"


FAULTS = ("horizon", "end", "mask-after")  # one for each probe


class Spoilt(buffers.AbstractMemory):
    """A memory that tells something else than what happened."""

    inner: buffers.Uniform
    fault: Array  # int[], number of the fault

    def empty(self, example):
        return self.inner.empty(example)

    def add(self, memory, new):
        discount = jnp.where(self.fault == 0, 0.0, jnp.where(self.fault == 1, probes.GAMMA, new.discount))
        new = dataclasses.replace(new, discount=discount, next_allowed=new.next_allowed | (self.fault == 2))
        return self.inner.add(memory, new)

    def draw(self, memory, count, *, key):
        return self.inner.draw(memory, count, key=key)

    def revalue(self, memory, rows, errors):
        return self.inner.revalue(memory, rows, errors)


def test_a_learner_with_a_fault_fails_the_probe_that_is_made_for_it():
    @quickly
    @jax.vmap
    def run(environment, seen, fault):
        learner, environments = (
            q_network(Spoilt(buffers.Uniform(512), fault))(),
            rollout.repeat(environment, ENVIRONMENTS),
        )
        state = learner.init(environments, key=jax.random.key(1))
        state = jax.lax.fori_loop(0, 100, lambda _, state: learner.iterate(environments, state)[0], state)
        return learner.actor(state)(seen, jax.random.key(0))

    made_for = [PROBES[name] for name in FAULTS]
    worlds = epochs.stack([probe.environment for probe in made_for])
    seen = epochs.stack([probe.observation(0) for probe in made_for])
    actions = run(worlds, seen, jnp.arange(len(FAULTS), dtype=jnp.int32))
    for probe, action in zip(made_for, np.asarray(actions), strict=True):
        right = probe.solve()[0]
        assert right[action] < right.max(), probe.name
