"""A system on the simulator: how its instances are drawn, who decides in it, what is rewarded, what a learner sees."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Generic

import jax
import numpy as np

from edgegen.core.arrays import Array
from edgegen.core.errors import InputError, UnknownNameError
from edgegen.sim import epochs, evaluation
from edgegen.sim.environment import Codec
from edgegen.sim.epochs import Policy, W

Settings = Mapping[str, int | float]


@dataclasses.dataclass(frozen=True)
class System(Generic[W]):
    """What commands, studies and learners need to know of a system, whichever it is.

    Instance k and its episodes depend on the seed, k and the settings, not on how many others there are.
    """

    draw: Callable[..., W]  # (key, **settings) -> an instance; the same settings give the same shapes
    policies: Mapping[str, Policy]
    weights: Mapping[str, float]  # reward = weights x ledger
    codec: Callable[[W], Codec]  # of instances of these shapes
    settings: Settings  # what `draw` takes by name, with the values that hold where nothing is said

    def with_settings(self, given: Mapping[str, str]) -> dict[str, int | float]:
        """Return all settings, with those that are given, as text, in place of the usual ones.

        **Raises** `InputError` for a name that is no setting, or a value that is not a number of its kind.
        """
        settings = dict(self.settings)
        for name, text in given.items():
            if name not in settings:
                raise UnknownNameError("setting", name, settings, param=name)
            kind = type(settings[name])
            try:
                settings[name] = kind(text)
            except ValueError:
                words = "a whole number" if kind is int else "a number"
                raise InputError(f"{name} must be {words}, got {text!r}", param=name) from None
        return settings

    def chosen(self, names: Sequence[str]) -> dict[str, Policy]:
        """Return policies by name.

        **Raises** `UnknownNameError`.
        """
        for name in names:
            if name not in self.policies:
                raise UnknownNameError("policy", name, self.policies)
        return {name: self.policies[name] for name in names}

    def instances(
        self, numbers: Sequence[int], *, episodes: int, seed: int, **settings: int | float
    ) -> tuple[W, Array]:
        """Return instances with these numbers, leaves [N, ...], and keys [N, E] of their episodes."""
        of_instances, of_episodes = jax.random.split(jax.random.key(seed))
        worlds = [self.draw(jax.random.fold_in(of_instances, number), **settings) for number in numbers]
        keys = jax.vmap(lambda number: jax.random.split(jax.random.fold_in(of_episodes, number), episodes))
        return epochs.stack(worlds), keys(np.asarray(numbers, dtype=np.int32))

    def evaluate(
        self,
        instances: int,
        *,
        episodes: int = 1,
        seed: int = 0,
        policies: Mapping[str, Policy] | None = None,
        **settings: int | float,
    ) -> dict[str, dict[str, np.ndarray]]:
        """Let policies, usually all, serve the same episodes; the result is that of `evaluation.evaluate`."""
        worlds, keys = self.instances(range(instances), episodes=episodes, seed=seed, **settings)
        return evaluation.evaluate(worlds, policies or self.policies, keys, weights=self.weights)
