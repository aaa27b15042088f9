"""What an environment shows and takes, as spaces of Gymnasium."""

import gymnasium
import numpy as np

from edgegen.core.errors import InputError
from edgegen.sim.adapters.machine import Machine

Limits = tuple[float, float]  # between which all features are; infinite where that is not known
UNKNOWN: Limits = (-np.inf, np.inf)


def features(machine: Machine, limits: Limits) -> gymnasium.spaces.Box:
    """Features of one agent in one environment, float32[D]."""
    return gymnasium.spaces.Box(limits[0], limits[1], (machine.width,), np.float32)


def actions(machine: Machine) -> gymnasium.spaces.Discrete:
    """Actions of one agent in one environment."""
    return gymnasium.spaces.Discrete(machine.actions)


def mask(allowed: np.ndarray) -> np.ndarray:
    """Which actions are allowed, as `Discrete.sample` takes it: int8."""
    return allowed.astype(np.int8)


def one_agent(machine: Machine) -> Machine:
    """Return the machine of a world where one agent decides.

    **Raises** `InputError` for one with several.
    """
    if machine.agents is not None:
        raise InputError(f"{machine.agents} agents decide here: use edgegen.sim.adapters.parallel", param="environment")
    return machine
