"""Trainings put together: a system, a learner, what it is evaluated on, and the rules that it is shown beside.

A system is a place to learn in (`Place`). Evaluation episodes come from other keys than training, and are the same for everybody.
"""

import dataclasses
import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from edgegen import __version__
from edgegen.config import Config
from edgegen.core.arrays import Array
from edgegen.core.errors import UnknownNameError
from edgegen.core.result import mean_interval
from edgegen.dispatch.fleet import Fleet as Machines
from edgegen.experiments.fleets import fleet_world
from edgegen.experiments.tables import LEARNT
from edgegen.learn import presets, rollout
from edgegen.learn.agent import Card
from edgegen.learn.checkpoint import Row
from edgegen.learn.learner import AbstractLearner, Actor
from edgegen.learn.live import SYSTEM as FLEET
from edgegen.learn.training import Budget, Saving, Trained, evaluation_of, train
from edgegen.papers import aaas
from edgegen.plan import rules
from edgegen.sim import epochs, evaluation, fleet
from edgegen.sim.environment import Codec, Environment

SYSTEMS = ("aaas", FLEET)
HELD_OUT = 20  # instances that are evaluated on where training is on drawn ones
EVALUATION = 7_000_000  # the seed of what everybody is evaluated on, whatever the seed of the training


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a learner learns, and what it is measured by."""

    system: str
    environments: Environment  # leaves [E, ...]
    codec: Codec
    worlds: epochs.AbstractWorld  # leaves [N, ...], to be evaluated on
    keys: Array  # [N, episodes], of the evaluation
    rules: Mapping[str, epochs.Policy]
    settings: Mapping[str, Any]  # that are kept with the agent

    def measure(self, policies: Mapping[str, epochs.Policy]) -> dict[str, dict[str, np.ndarray]]:
        """Return the ledger and the reward of policies on the evaluation episodes (`evaluation.evaluate`)."""
        return evaluation.evaluate(self.worlds, policies, self.keys, weights=self.codec.weights)

    def evaluate(self, actor: Actor) -> dict[str, float]:
        """Return the means of the ledger and the reward of an actor."""
        return dict(evaluation_of(self.worlds, self.codec, self.keys)(actor))

    def interval(self, rewards: np.ndarray) -> tuple[float, float, float]:
        """Return the mean and its 95 % interval of rewards [N, episodes]: over instances, or episodes where there is one instance."""
        return mean_interval(rewards[0] if len(rewards) == 1 else rewards.mean(axis=1))


def on_providers(count: int, *, instances: int, episodes: int, seed: int, masked: bool) -> Place:
    """Return the choice of a provider (`papers.aaas`) for `count` environments.

    With 0 instances it is the one published instance, in training and in evaluation. With more, training has so many drawn
    ones, and evaluation others that it never saw. Masked learners may only choose where a task fits.
    """
    codec = aaas.MASKED if masked else aaas.CODEC
    of_training, (of_evaluation, of_episodes) = jax.random.key(seed), jax.random.split(jax.random.key(EVALUATION))
    if instances:
        drawn = [aaas.draw(key) for key in jax.random.split(of_training, instances)]
        worlds = epochs.stack([aaas.draw(key) for key in jax.random.split(of_evaluation, HELD_OUT)])
        environments = Environment(
            epochs.stack([drawn[at % instances] for at in range(count)]), rollout.repeat(codec, count)
        )
    else:
        pool = aaas.published_pool()
        worlds, environments = epochs.stack([pool]), rollout.repeat(Environment(pool, codec), count)
    keys = jax.random.split(of_episodes, (HELD_OUT if instances else 1, episodes))
    settings = {"instances": instances, "masked": masked}
    return Place("aaas", environments, codec, worlds, keys, aaas.POLICIES, settings)


def on_fleet(
    count: int,
    config: Config,
    *,
    rate_hz: float,
    horizon_s: float,
    episodes: int,
    seed: int,
    machines: Machines | None = None,
) -> Place:
    """Return the fleet of a configuration for `count` environments; the requests of the evaluation are others.

    `machines` are in place of those that the profiles of the configuration give.
    """
    worlds = [
        fleet_world(config, rate_hz=rate_hz, horizon_s=horizon_s, seed=menu, machines=machines)
        for menu in (seed, EVALUATION)
    ]
    menu = worlds[0].menu
    sizes = {"nodes": menu.node_count, "models": menu.model_count, "steps": int(menu.steps.shape[0])}
    codec = fleet.codec_of(sizes["nodes"], sizes["models"], sizes["steps"])
    beside = {
        "greedy-cost": rules.GreedyCost(),
        "greedy-quality": rules.GreedyQuality(),
        "round-robin": rules.RoundRobin(),
    }
    return Place(
        system=FLEET,
        environments=rollout.repeat(Environment(worlds[0], codec), count),
        codec=codec,
        worlds=epochs.stack([worlds[1]]),
        keys=jax.random.split(jax.random.key(EVALUATION), (1, episodes)),
        rules={name: fleet.Deciding(policy) for name, policy in beside.items()},
        settings={**sizes, "rate_hz": rate_hz},
    )


def chosen(name: str) -> tuple[AbstractLearner, int]:
    """Return a learner by name, and in how many environments it acts.

    **Raises** `UnknownNameError`.
    """
    learner = presets.learner(name)
    return learner, learner.environments


def learn(
    place: Place,
    learner: AbstractLearner,
    *,
    seed: int,
    budget: Budget,
    progress: Callable[[Row], None] | None = None,
    checkpoint: Path | None = None,
) -> Trained:
    """Train a learner in a place, a row of the curve about every 20,000 steps or 100 updates; every tenth is evaluated."""
    return train(
        learner,
        place.environments,
        key=jax.random.key(seed),
        budget=budget,
        chunk=chunk(learner),
        evaluate=place.evaluate,
        progress=progress,
        saving=Saving(checkpoint) if checkpoint else None,
    )


def chunk(learner: AbstractLearner) -> int:
    """Return so many iterations that a row of the curve is about 20,000 environment steps or 100 updates, whichever comes first."""
    return max(1, min(round(20_000 / learner.steps_per_iteration), round(100 / learner.updates_per_iteration)))


def card(place: Place, learner: str, trained: Trained, *, seed: int) -> Card:
    """Return what is to be known about a trained agent."""
    last = trained.curve[-1]
    features, actions = (leaf.shape[-1] for leaf in jax.tree.leaves(_seen(place)))
    return Card(
        system=place.system,
        algorithm=learner,
        features=features,
        actions=actions,
        settings=dict(place.settings),
        figures=dict(last.evaluation or {}),
        provenance={
            "seed": seed,
            "environment_steps": last.steps,
            "gradient_steps": last.updates,
            "cpu_s": round(last.cpu_s, 2),
            "date": dt.datetime.now(dt.UTC).date().isoformat(),
            "version": __version__,
        },
    )


def tidy(place: Place, learner: str, curve: Sequence[Row], *, seed: int) -> dict[str, list[Any]]:
    """Return a learning curve as the columns of a table (`tables.LEARNT`): one row per number."""
    found: dict[str, list[Any]] = {name: [] for name in LEARNT}
    for row in curve:
        evaluated = {f"evaluated {name}": number for name, number in (row.evaluation or {}).items()}
        numbers = {"gradient_steps": float(row.updates), "cpu_s": row.cpu_s, **row.metrics, **evaluated}
        for name, number in numbers.items():
            for column, cell in zip(
                found.values(), (place.system, learner, seed, row.steps, name, number), strict=True
            ):
                column.append(cell)
    return found


def _seen(place: Place) -> Any:
    one = jax.tree.map(lambda leaf: leaf[0], place.environments)
    observation = jax.eval_shape(lambda key: one.reset(key)[1], jax.random.key(0))
    return observation.features, observation.allowed


def check_system(name: str) -> None:
    """Refuse a system that nobody can learn in.

    **Raises** `UnknownNameError`.
    """
    if name not in SYSTEMS:
        raise UnknownNameError("system", name, SYSTEMS, param="system")
