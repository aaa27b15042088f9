"""A world in which several agents decide at once, for learners that know PettingZoo."""

from typing import Any

import gymnasium
import numpy as np
import pettingzoo

from edgegen.core.errors import InputError
from edgegen.sim.adapters import spaces
from edgegen.sim.adapters.machine import Machine
from edgegen.sim.environment import Environment


class ParallelEnv(pettingzoo.ParallelEnv):
    """An `Environment` whose observations have a row per agent, as a `pettingzoo.ParallelEnv`.

    All agents have the same reward, and the episode ends for all of them at once. `infos[agent]` has `action_mask` (int8[K]) and, after
    a step, the common `ledger` (float by name). `state()` is what all agents see together.
    """

    def __init__(self, environment: Environment, *, name: str = "edgegen", limits: spaces.Limits = spaces.UNKNOWN):
        """Compile on the first reset. `limits` bound the features."""
        self._machine = Machine(environment, 1)
        if self._machine.agents is None:
            raise InputError("one agent decides here: use edgegen.sim.adapters.single", param="environment")
        self.metadata = {"name": name, "render_modes": [], "is_parallelizable": True}
        self.render_mode = None
        self.possible_agents = [f"agent_{number}" for number in range(self._machine.agents)]
        self.agents: list[str] = []
        self._features = {agent: spaces.features(self._machine, limits) for agent in self.possible_agents}
        self._actions = {agent: spaces.actions(self._machine) for agent in self.possible_agents}
        self._random, self._seen = np.random.default_rng(), np.zeros((0,), np.float32)

    def observation_space(self, agent: str) -> gymnasium.spaces.Space:
        """Return what an agent sees."""
        return self._features[agent]

    def action_space(self, agent: str) -> gymnasium.spaces.Space:
        """Return what an agent can do."""
        return self._actions[agent]

    def reset(
        self, seed: int | None = None, options: dict | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, dict[str, Any]]]:
        """Begin an episode; without a seed, another one each time."""
        del options
        if seed is not None:
            self._random = np.random.default_rng(seed)
        begin = int(self._random.integers(2**31)) if seed is None else seed
        seen = self._machine.reset([begin])
        self.agents, self._seen = list(self.possible_agents), seen.features[0]
        masks = spaces.mask(seen.allowed[0])
        return self._by_agent(self._seen), {agent: {"action_mask": masks[row]} for row, agent in enumerate(self.agents)}

    def step(self, actions: dict[str, int]):
        """Carry out an action of every agent."""
        if missing := [agent for agent in self.agents if agent not in actions]:
            raise InputError(f"no action for {', '.join(missing)}", param="actions")
        if not self.agents:
            raise InputError("the episode is over: call reset first", param="actions")
        seen = self._machine.step(np.asarray([[actions[agent] for agent in self.agents]]))
        self._seen, masks = seen.final_features[0], spaces.mask(seen.final_allowed[0])
        ledger = {name: float(entry[0]) for name, entry in seen.ledger.items()}
        infos = {agent: {"action_mask": masks[row], "ledger": dict(ledger)} for row, agent in enumerate(self.agents)}
        rewards = dict.fromkeys(self.agents, float(seen.reward[0]))
        terminated, truncated = bool(seen.terminated[0]), bool(seen.truncated[0])
        terminations, truncations = dict.fromkeys(self.agents, terminated), dict.fromkeys(self.agents, truncated)
        observations = self._by_agent(self._seen)
        if terminated or truncated:
            self.agents = []
        return observations, rewards, terminations, truncations, infos

    def state(self) -> np.ndarray:
        """Return what all agents see together, float32[A * D]."""
        return self._seen.reshape(-1).copy()

    def _by_agent(self, features: np.ndarray) -> dict[str, np.ndarray]:
        return {agent: features[row].copy() for row, agent in enumerate(self.possible_agents)}
