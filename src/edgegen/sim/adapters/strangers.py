"""Policies of other projects in our simulator, and ours in their loops.

What they have in common is a method `predict(observation, ...) -> (action, state)`, as agents of Stable-Baselines3 have it.
"""

from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from edgegen.core.arrays import Array
from edgegen.sim import epochs
from edgegen.sim.environment import Codec, Observation


class Predictor(Protocol):
    """Whatever chooses actions from observations, as other projects write it."""

    def predict(self, observation: np.ndarray, **options: Any) -> tuple[Any, Any]:
        """Return an action for each observation, and a state that is ignored."""
        ...


class Guest:
    """An actor of ours, (observation, key) -> int[], with a method `predict` for the loops of others."""

    def __init__(self, actor: Callable[[Observation, Array], Array], *, actions: int, seed: int = 0):
        """Let an actor choose among so many actions; draws of its own come from the seed."""
        self._actor = jax.jit(jax.vmap(actor))
        self._actions, self._key = actions, jax.random.key(seed)

    def predict(
        self, observation: np.ndarray, *rest: Any, action_masks: np.ndarray | None = None, **options: Any
    ) -> tuple[np.ndarray, None]:
        """Return an action for one observation [D], or for many [B, D]; without masks, all actions are allowed."""
        del rest, options
        features = jnp.asarray(np.atleast_2d(observation), jnp.result_type(float))
        shape = (len(features), self._actions)
        allowed = jnp.ones(shape, bool) if action_masks is None else jnp.asarray(action_masks, bool).reshape(shape)
        self._key, key = jax.random.split(self._key)
        actions = np.asarray(self._actor(Observation(features, allowed), jax.random.split(key, len(features))))
        return (actions if np.ndim(observation) > 1 else actions[0]), None


def policy(predictor: Predictor, codec: Codec, **options: Any) -> epochs.Policy:
    """Return a predictor of others as a policy of a world of ours; it is asked for all episodes at once.

    It runs in Python, called from compiled code, so it must not use JAX itself. `options` go to `predict`, such as
    `deterministic=True`.
    """

    def ask(features: np.ndarray) -> np.ndarray:
        rows = np.asarray(features, np.float32)
        actions, _ = predictor.predict(rows.reshape(-1, rows.shape[-1]), **options)
        return np.asarray(actions, np.int32).reshape(rows.shape[:-1])

    def decide(view: Any, key: Array) -> Any:
        del key
        features = codec.observe(view)
        wanted = jax.ShapeDtypeStruct(features.shape[:-1], jnp.int32)
        return codec.decode(view, jax.pure_callback(ask, wanted, features, vmap_method="broadcast_all"))

    return decide
