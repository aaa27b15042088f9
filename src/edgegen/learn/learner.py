"""What every learner is: `init`, `iterate` as often as one likes, and an actor at any time.

An iteration is a rollout of some steps in E environments at once and the updates that follow it. It is pure: `jax.jit` and
`jax.lax.scan` over iterations give a whole training loop in one compiled call. Numbers among the hyper-parameters are leaves,
so learners with other settings are stacked and vmapped like seeds; sizes are static.
"""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx

from edgegen.core.arrays import Array
from edgegen.sim.environment import Environment, Observation

Actor = Callable[[Observation, Array], Array]  # (one observation, key) -> int[]
Metrics = dict[str, Array]  # float[] by name, means over an iteration


class AbstractLearner(eqx.Module):
    """An algorithm with its hyper-parameters. The environments it is given have leaves [E, ...] (see `rollout.repeat`)."""

    environments: eqx.AbstractVar[int]  # E, in how many it acts at once

    @abc.abstractmethod
    def init(self, environments: Environment, *, key) -> Any:
        """Return the state before training: parameters, optimisers, environments, memory, key."""

    @abc.abstractmethod
    def iterate(self, environments: Environment, state: Any) -> tuple[Any, Metrics]:
        """Roll out and update once; the metrics hold `reward`, the mean per environment step."""

    @abc.abstractmethod
    def actor(self, state: Any) -> Actor:
        """Return what has been learnt as an actor that does not explore; an `equinox.Module`."""

    @property
    @abc.abstractmethod
    def steps_per_iteration(self) -> int:
        """Environment steps, over all environments."""

    @property
    @abc.abstractmethod
    def updates_per_iteration(self) -> int:
        """Gradient steps."""

    @property
    def steps_before(self) -> int:
        """Environment steps that `init` takes, over all environments."""
        return 0
