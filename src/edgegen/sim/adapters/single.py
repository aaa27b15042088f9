"""One environment for learners that know Gymnasium."""

from typing import Any

import gymnasium
import numpy as np

from edgegen.sim import epochs
from edgegen.sim.adapters import spaces
from edgegen.sim.adapters.machine import Machine, Seen
from edgegen.sim.environment import Environment


class SingleEnv(gymnasium.Env):
    """An `Environment` as a `gymnasium.Env`.

    `info` has `action_mask` (int8[K]) and, after a step, `ledger` (float by name). An episode of which the horizon was reached
    is truncated; it is terminated when the system itself came to an end.
    """

    metadata = {"render_modes": []}

    def __init__(self, environment: Environment, *, limits: spaces.Limits = spaces.UNKNOWN):
        """Compile on the first reset. `limits` bound the features."""
        self.render_mode = None
        self._machine = spaces.one_agent(Machine(environment, 1))
        self.observation_space = spaces.features(self._machine, limits)
        self.action_space = spaces.actions(self._machine)
        self._allowed = np.ones(self._machine.actions, bool)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode; without a seed, another one each time."""
        super().reset(seed=seed)
        del options
        begin = int(self.np_random.integers(2**31)) if seed is None else seed
        seen = self._machine.reset([begin])
        return seen.features[0], {"action_mask": self._mask(seen)}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Carry out an action."""
        seen = self._machine.step(np.asarray([action]))
        ledger = {name: float(entry[0]) for name, entry in seen.ledger.items()}
        info = {"action_mask": self._mask(seen), "ledger": ledger}
        ended = bool(seen.terminated[0]), bool(seen.truncated[0])
        return seen.final_features[0], float(seen.reward[0]), *ended, info

    def action_masks(self) -> np.ndarray:
        """bool[K], which actions are allowed now; under this name learners with masks ask for it."""
        return self._allowed

    def chooser(self, policy: epochs.Policy):
        """Return what a policy of the world, which may look at all of it, would do now: seed -> action."""
        choose = self._machine.chooser(policy)
        return lambda seed=0: int(choose(seed)[0])

    def _mask(self, seen: Seen) -> np.ndarray:
        self._allowed = seen.final_allowed[0]
        return spaces.mask(self._allowed)
