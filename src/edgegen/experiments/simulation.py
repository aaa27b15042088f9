"""Policies side by side on many instances of a system on the simulator, block by block, so that nothing computed is lost."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from edgegen.core.result import interval
from edgegen.sim import evaluation
from edgegen.sim.epochs import Policy
from edgegen.sim.system import System

BLOCK = 8  # instances that are simulated at once
REWARD = "reward"


@dataclasses.dataclass(frozen=True)
class Block:
    """The sums over every episode of some instances under one policy."""

    policy: str
    first: int  # number of the first instance
    sums: dict[str, np.ndarray]  # by metric, float[N, E]

    def columns(self, system: str) -> dict[str, Any]:
        """Return the block as rows of the schema `tables.SIMULATED`, by columns."""
        metrics = list(self.sums)
        instances, episodes = self.sums[metrics[0]].shape
        count, own = instances * episodes, np.arange(instances).repeat(episodes)
        return {
            "system": [system] * (count * len(metrics)),
            "instance": np.tile(self.first + own, len(metrics)).tolist(),
            "episode": np.tile(np.arange(episodes), instances * len(metrics)).tolist(),
            "policy": [self.policy] * (count * len(metrics)),
            "metric": np.repeat(metrics, count).tolist(),
            "value": np.concatenate([column.ravel() for column in self.sums.values()]).tolist(),
        }


@dataclasses.dataclass(frozen=True)
class Simulation:
    """What to simulate. Every policy serves the same episodes of the same instances."""

    system: System
    policies: Mapping[str, Policy]
    instances: int
    episodes: int
    seed: int
    settings: Mapping[str, int | float]

    @property
    def size(self) -> int:
        """How many blocks it takes."""
        return -(-self.instances // self._block) * len(self.policies)

    @property
    def _block(self) -> int:
        return min(self.instances, BLOCK)

    def blocks(self) -> Iterator[Block]:
        """Yield the results as they come. Blocks have the same shape, so each policy is compiled once."""
        for first in range(0, self.instances, self._block):
            numbers = range(first, first + self._block)  # the last block may go beyond the end
            worlds, keys = self.system.instances(numbers, episodes=self.episodes, seed=self.seed, **self.settings)
            kept = min(self._block, self.instances - first)
            for name, policy in self.policies.items():
                found = evaluation.evaluate(worlds, {name: policy}, keys, weights=self.system.weights)
                yield Block(name, first, {metric: column[:kept] for metric, column in found[name].items()})


def summary(blocks: Sequence[Block]) -> list[dict[str, Any]]:
    """Return one entry per policy and metric: mean, 95 % interval and number of the samples.

    A sample is the mean over the episodes of an instance; where there is one instance, it is an episode.
    """
    found: dict[tuple[str, str], list[np.ndarray]] = {}
    for block in blocks:
        for metric, column in block.sums.items():
            found.setdefault((block.policy, metric), []).append(column)
    entries = []
    for (policy, metric), columns in found.items():
        sums = np.concatenate(columns)
        samples = sums[0] if len(sums) == 1 else sums.mean(axis=1)
        entries.append({"policy": policy, "metric": metric, **interval(samples)})
    return entries
