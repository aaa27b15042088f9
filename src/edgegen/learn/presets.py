"""Learners by name, with the settings that were found good, or those of a publication."""

from collections.abc import Callable
from typing import Any

from edgegen.core.errors import UnknownNameError
from edgegen.learn.buffers import Uniform
from edgegen.learn.d2sac import D2SAC
from edgegen.learn.learner import AbstractLearner
from edgegen.learn.off_policy import OffPolicy
from edgegen.learn.sac import SAC

PRESETS: dict[str, Callable[[], AbstractLearner]] = {
    "sac": lambda: OffPolicy(SAC(), Uniform(100_000), n=3),
    "d2sac": lambda: OffPolicy(D2SAC(), Uniform(100_000), n=3),
}


def learner(name: str) -> AbstractLearner:
    """Return a learner by name.

    **Raises** `UnknownNameError`.
    """
    if name not in PRESETS:
        raise UnknownNameError("learner", name, PRESETS, param="learner")
    return PRESETS[name]()


def environments(learner: Any) -> int:
    """Return in how many environments at once a learner acts (E)."""
    return learner.environments
