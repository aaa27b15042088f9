"""Many environments at once for learners that know Gymnasium."""

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from edgegen.core.errors import InputError
from edgegen.sim import epochs
from edgegen.sim.adapters import spaces
from edgegen.sim.adapters.machine import Machine
from edgegen.sim.environment import Environment


class VectorEnv(gymnasium.vector.VectorEnv):
    """Environments as a `gymnasium.vector.VectorEnv` that restarts in the same step.

    With `num_envs` they are copies of one instance; without, `environments` is a stack of instances. `infos` has `action_mask`
    (int8[B, K]) and `ledger` (float64[B] by name); where an episode ended also `final_obs`, with the flags `_final_obs`, as in
    Gymnasium's own. Environment b with seed s is a `SingleEnv` with seed s + b, until the first restart.
    """

    def __init__(
        self, environments: Environment, *, num_envs: int | None = None, limits: spaces.Limits = spaces.UNKNOWN
    ):
        """Compile on the first reset. `limits` bound the features."""
        self._machine = spaces.one_agent(Machine(environments, num_envs))
        self.num_envs = self._machine.count
        self.metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}
        self.single_observation_space = spaces.features(self._machine, limits)
        self.single_action_space = spaces.actions(self._machine)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    def reset(
        self, *, seed: int | Sequence[int] | None = None, options: dict | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode everywhere: with the seed for the first, the next ones for the others, or one for each."""
        del options
        if seed is None or isinstance(seed, int | np.integer):
            super().reset(seed=None if seed is None else int(seed))
            begin = int(self.np_random.integers(2**31 - self.num_envs)) if seed is None else int(seed)
            seeds = range(begin, begin + self.num_envs)
        else:
            seeds = list(seed)
        if len(seeds) != self.num_envs:
            raise InputError(f"expected {self.num_envs} seeds, got {len(seeds)}", param="seed")
        seen = self._machine.reset(seeds)
        return seen.features, {"action_mask": spaces.mask(seen.allowed)}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Carry out an action everywhere, int[B]; where an episode ends, the observation is that of the next one."""
        seen = self._machine.step(actions)
        terminated, truncated = seen.terminated, seen.truncated
        infos: dict[str, Any] = {"action_mask": spaces.mask(seen.allowed), "ledger": seen.ledger}
        ended = terminated | truncated
        if ended.any():
            final, last = np.full(self.num_envs, None, dtype=object), seen.final_features
            for row in np.flatnonzero(ended):
                final[row] = last[row]
            infos |= {"final_obs": final, "_final_obs": ended}
        return seen.features, seen.reward, terminated, truncated, infos

    def chooser(self, policy: epochs.Policy):
        """Return what a policy of the world, which may look at all of it, would do now: seed -> actions, int[B]."""
        choose = self._machine.chooser(policy)
        return lambda seed=0: choose(seed)
