"""Learners by name: tuned ones, and those of the publication whose system they are compared in (Du et al. 2024, arXiv:2303.13052).

The tuned ones were tuned on the choice of a provider (`papers.aaas`) with one thread of a small machine in mind. The published
ones (`...-published`) have the sizes and rates of the source; it takes one gradient step per environment step.
"""

from collections.abc import Callable

from edgegen.core.errors import UnknownNameError
from edgegen.learn import dqn
from edgegen.learn.architectures import Apart
from edgegen.learn.buffers import Uniform
from edgegen.learn.d2sac import D2SAC
from edgegen.learn.learner import AbstractLearner
from edgegen.learn.off_policy import OffPolicy
from edgegen.learn.on_policy import Descent, Horizon
from edgegen.learn.ppo import PPO
from edgegen.learn.reinforce import Reinforce
from edgegen.learn.sac import SAC


def ppo() -> PPO:
    """Return PPO with short rollouts and large steps, whose rate falls as it goes; it may be stopped at any time."""
    return PPO(
        horizon=Horizon(gamma=0.9, lam=0.5),
        descent=Descent(rate=6e-3, steady=500.0),
        clip=0.4,
        entropy=0.003,
        environments=128,
        length=32,
        epochs=4,
        minibatches=8,
    )


def small(algorithm: SAC | D2SAC) -> OffPolicy:
    """Return a learner with small batches and many environments: a gradient step per 32 environment steps."""
    return OffPolicy(
        algorithm=algorithm,
        memory=Uniform(100_000),
        gamma=0.5,
        environments=64,
        steps=4,
        updates=8,
        batch=128,
        n=1,
        warm_up=4096,
    )


def published(algorithm: SAC | D2SAC) -> OffPolicy:
    """Return a learner with the sizes of the source."""
    sizes = {"environments": 64, "updates": 64, "batch": 512, "n": 3}
    return OffPolicy(algorithm=algorithm, memory=Uniform(1_000_000), gamma=0.95, **sizes)


PRESETS: dict[str, Callable[[], AbstractLearner]] = {
    "ppo": ppo,
    "ppo-published": lambda: PPO(architecture=Apart(hidden=(256, 256))),
    "reinforce": lambda: Reinforce(),
    "dqn": dqn.dqn,
    "double": dqn.double_dqn,
    "prioritised": dqn.prioritised,
    "rainbow": dqn.rainbow,
    "sac": lambda: small(SAC(actor_rate=1e-3, hidden=(64, 64))),
    "sac-published": lambda: published(SAC()),
    "d2sac": lambda: small(D2SAC(actor_rate=1e-3, hidden=(64, 64))),
    "d2sac-published": lambda: published(D2SAC()),
}


def learner(name: str) -> AbstractLearner:
    """Return a learner by name.

    **Raises** `UnknownNameError`.
    """
    if name not in PRESETS:
        raise UnknownNameError("learner", name, PRESETS, param="learner")
    return PRESETS[name]()
