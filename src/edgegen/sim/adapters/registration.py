"""Names for `gymnasium.make` and `gymnasium.make_vec`."""

import importlib
from typing import Any

import gymnasium

from edgegen.sim.adapters.single import SingleEnv
from edgegen.sim.adapters.spaces import UNKNOWN, Limits
from edgegen.sim.adapters.vector import VectorEnv

_HERE = __name__


def register(name: str, build: str, *, limits: Limits = UNKNOWN) -> None:
    """Let Gymnasium know an environment as `name`; `build` is "module:function", (**settings) -> `Environment`.

    What is registered already stays.
    """
    if name in gymnasium.registry:
        return
    gymnasium.register(
        name,
        entry_point=f"{_HERE}:single",
        vector_entry_point=f"{_HERE}:vector",
        kwargs={"build": build, "limits": limits},
    )


def single(build: str, *, limits: Limits = UNKNOWN, **settings: Any) -> SingleEnv:
    """Make what `gymnasium.make` wants."""
    return SingleEnv(_built(build, settings), limits=limits)


def vector(num_envs: int, build: str, *, limits: Limits = UNKNOWN, **settings: Any) -> VectorEnv:
    """Make what `gymnasium.make_vec` wants."""
    return VectorEnv(_built(build, settings), num_envs=num_envs, limits=limits)


def _built(build: str, settings: dict[str, Any]):
    module, _, function = build.partition(":")
    return getattr(importlib.import_module(module), function)(**settings)
