"""What an off-policy learner is given: parameters, two ways to act on them, and one update on a batch.

An algorithm knows nothing of environments, of memories and of n: `off_policy.OffPolicy` collects, stores and samples for it.
Numbers are leaves, so algorithms with other settings are stacked and vmapped; sizes are static.
"""

import abc
from typing import Any

import equinox as eqx

from edgegen.core.arrays import Array
from edgegen.learn.batch import Batch
from edgegen.learn.learner import Metrics


class AbstractAlgorithm(eqx.Module):
    """E environments, B transitions, D features, K actions."""

    @abc.abstractmethod
    def init_params(self, observation_size: int, actions: int, *, key) -> Any:
        """Return all that is learnt and remembered: networks, their targets, optimisers. A pytree of arrays."""

    @abc.abstractmethod
    def act(self, params: Any, observation: Array, allowed: Array, *, key) -> Array:
        """Return actions int32[E] that explore, for float[E, D] and bool[E, K]."""

    @abc.abstractmethod
    def greedy(self, params: Any, observation: Array, allowed: Array) -> Array:
        """Return the actions int32[E] that are held to be best, for float[E, D] and bool[E, K]."""

    @abc.abstractmethod
    def update(self, params: Any, batch: Batch, weights: Array, *, key) -> tuple[Any, Array, Metrics]:
        """Take one gradient step; `weights` float[B] (all 1 where transitions are drawn evenly) multiply the losses.

        Also returns float[B], by how much the targets were missed (>= 0), which a memory may sample by, and metrics float[].
        """

    @abc.abstractmethod
    def deployed(self, params: Any) -> Any:
        """Return the part of the parameters that `greedy` reads, the rest None: what a trained agent takes along."""
