"""The loop around a learner: compiled chunks of iterations, three currencies, a curve, checkpoints.

Environment steps, gradient steps and CPU-seconds are counted side by side, because learners that are equal in one of them are
not in another. A chunk is one compiled call with as many iterations as it is told, so nothing is compiled twice.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from edgegen.core.arrays import Array
from edgegen.core.errors import EdgegenError, InputError
from edgegen.learn import checkpoint as checkpoints
from edgegen.learn import records
from edgegen.learn.checkpoint import Row
from edgegen.learn.learner import AbstractLearner, Actor, Metrics
from edgegen.sim import epochs, evaluation
from edgegen.sim.environment import Codec, Environment

Evaluate = Callable[[Actor], Mapping[str, float]]  # what an actor is worth, by name


@dataclasses.dataclass(frozen=True)
class Budget:
    """What a training may use up; it stops at what runs out first."""

    steps: float = math.inf  # environment steps, never exceeded
    updates: float = math.inf  # gradient steps, never exceeded
    cpu_s: float = math.inf  # of this process, compilation included; the chunk in which it runs out is finished

    def __post_init__(self):
        for field in dataclasses.fields(self):
            if not (amount := getattr(self, field.name)) > 0:
                raise InputError(f"{field.name} must be > 0, got {amount}", param=field.name)
        if math.inf == self.steps == self.updates == self.cpu_s:
            raise InputError("a budget needs an end: give steps, updates or cpu_s", param="budget")

    def iterations(self, learner: AbstractLearner) -> float:
        """Return how many iterations steps and updates allow."""
        by_steps = _whole(self.steps - learner.steps_before, learner.steps_per_iteration)
        return min(by_steps, _whole(self.updates, learner.updates_per_iteration))


def _whole(amount: float, each: int) -> float:
    return amount // each if math.isfinite(amount) else amount  # infinity // 2 is not a number


@dataclasses.dataclass(frozen=True)
class Trained:
    """What came of a training."""

    state: Any  # of the learner
    actor: Actor
    curve: list[Row]
    stopped: str  # the budget that ran out: steps, updates or cpu_s


@dataclasses.dataclass(frozen=True)
class Saving:
    """Where checkpoints go, and how often. A file that is there is gone on from."""

    path: Path
    every: int = 10  # chunks; there is one at the end, too


def train(
    learner: AbstractLearner,
    environments: Environment,
    *,
    key: Array,
    budget: Budget,
    chunk: int = 100,
    evaluate: Evaluate | None = None,
    evaluate_every: int = 10,
    progress: Callable[[Row], None] | None = None,
    saving: Saving | None = None,
) -> Trained:
    """Train until a budget runs out: environments with leaves [E, ...], `chunk` iterations per row of the curve.

    `evaluate` is called after every so many chunks, and at the end.
    """
    most = budget.iterations(learner)
    if most < 1:
        raise InputError("the budget does not allow for a single iteration of this learner", param="budget")
    started = time.process_time()
    state, curve = _begin(learner, environments, key, saving)
    cpu_s, chunks = (curve[-1].cpu_s if curve else 0.0) + time.process_time() - started, len(curve)
    while not (stopped := _stopped(budget, learner, curve)):
        started = time.process_time()
        done = curve[-1].iterations if curve else 0
        count = int(min(chunk, most - done))
        state, sums = _advance((learner, environments), state, jnp.int32(count))
        metrics = {name: float(column) / count for name, column in jax.device_get(sums).items()}
        cpu_s += time.process_time() - started
        row = _row(learner, done + count, cpu_s, metrics)
        chunks += 1
        last = bool(_stopped(budget, learner, [row]))
        if evaluate and (last or chunks % evaluate_every == 0):
            row = dataclasses.replace(row, evaluation=dict(evaluate(learner.actor(state))))
        curve.append(row)
        if saving and (last or chunks % saving.every == 0):
            checkpoints.save(saving.path, _config(learner, environments, key), state, curve)
        if progress:
            progress(row)
    return Trained(state=state, actor=learner.actor(state), curve=curve, stopped=stopped)


def evaluation_of(worlds: epochs.AbstractWorld, codec: Codec, keys: Array) -> Evaluate:
    """Return a function that lets an actor serve E episodes of N worlds: means of the ledger and the reward, and its deviation.

    Worlds have leaves [N, ...], keys are [N, E]; every call has the same episodes.
    """

    def evaluate(actor: Actor) -> dict[str, float]:
        policy = {"actor": codec.policy(actor)}
        sums = evaluation.evaluate(worlds, policy, keys, weights=codec.weights)["actor"]
        means = {name: float(column.mean()) for name, column in sums.items()}
        return means | {"reward_sd": float(np.std(sums["reward"], ddof=1)) if sums["reward"].size > 1 else 0.0}

    return evaluate


def _begin(
    learner: AbstractLearner, environments: Environment, key: Array, saving: Saving | None
) -> tuple[Any, list[Row]]:
    if saving and saving.path.exists():
        like = eqx.filter_eval_shape(learner.init, environments, key=key)
        return checkpoints.load(saving.path, _config(learner, environments, key), like)
    return _init(learner, environments, key), []


def _config(learner: AbstractLearner, environments: Environment, key: Array) -> dict[str, Any]:
    return records.settings({"learner": learner, "environments": environments, "key": key})


@eqx.filter_jit
def _init(learner: AbstractLearner, environments: Environment, key: Array) -> Any:
    return learner.init(environments, key=key)


@eqx.filter_jit(donate="all-except-first")  # the memory is written in place, not copied from chunk to chunk
def _advance(fixed: tuple[AbstractLearner, Environment], state: Any, count: Array) -> tuple[Any, Metrics]:
    learner, environments = fixed

    def once(_: Array, carry: tuple[Any, Metrics]) -> tuple[Any, Metrics]:
        state, sums = carry
        state, metrics = learner.iterate(environments, state)
        return state, jax.tree.map(jnp.add, sums, metrics)

    metrics = jax.eval_shape(lambda state: learner.iterate(environments, state)[1], state)
    return jax.lax.fori_loop(0, count, once, (state, jax.tree.map(jnp.zeros_like, metrics)))


def _row(learner: AbstractLearner, iterations: int, cpu_s: float, metrics: dict[str, float]) -> Row:
    steps = learner.steps_before + iterations * learner.steps_per_iteration
    if wrong := [f"{name} is {value}" for name, value in metrics.items() if not math.isfinite(value)]:
        raise EdgegenError(f"training went astray before step {steps}: {', '.join(wrong)}; lower the learning rate")
    return Row(iterations, steps, iterations * learner.updates_per_iteration, cpu_s, metrics)


def _stopped(budget: Budget, learner: AbstractLearner, curve: list[Row]) -> str:
    """Return the budget that has run out, if any."""
    if not curve:
        return ""
    row = curve[-1]
    if row.cpu_s >= budget.cpu_s:
        return "cpu_s"
    if row.iterations >= budget.iterations(learner):
        return "steps" if row.steps + learner.steps_per_iteration > budget.steps else "updates"
    return ""
