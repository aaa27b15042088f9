"""Learners by name: tuned ones, and those of the publication whose system they are compared in (Du et al. 2024, arXiv:2303.13052).

The tuned ones were tuned on the choice of a provider (`papers.aaas`) with one thread of a small machine in mind. The published
ones (`...-published`) have the sizes and rates of the source; off the policy it takes one gradient step per environment step.
"""

from collections.abc import Callable

from edgegen.core.errors import UnknownNameError
from edgegen.learn import dqn
from edgegen.learn.algorithm import AbstractAlgorithm
from edgegen.learn.architectures import Alone, Together
from edgegen.learn.buffers import AbstractMemory, Prioritised, Uniform
from edgegen.learn.d2sac import D2SAC
from edgegen.learn.descent import Averaging
from edgegen.learn.learner import AbstractLearner
from edgegen.learn.networks import mish
from edgegen.learn.off_policy import OffPolicy
from edgegen.learn.on_policy import Descent, Horizon, as_they_are
from edgegen.learn.ppo import PPO
from edgegen.learn.reinforce import Reinforce
from edgegen.learn.sac import SAC

SMALL = (64, 64)  # hidden units, where the source has 256: more steps per second


def ppo() -> PPO:
    """Return PPO with short looks ahead and large steps; it may be stopped at any time."""
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


def ppo_published() -> PPO:
    """Return what the source compares with: a single gradient step on every 1,000 steps of one environment."""
    return PPO(
        architecture=Together(hidden=(256, 256), activation=mish),
        horizon=Horizon(gamma=0.95, lam=0.95, scale=1.0, weigh=as_they_are),
        descent=Descent(rate=1e-3, weight_decay=1e-4),
        averaging=Averaging(0.0),
        clip=0.2,
        entropy=0.0,
        environments=1,
        length=1000,
        epochs=1,
        minibatches=1,
    )


def reinforce() -> Reinforce:
    """Return REINFORCE with a learned baseline."""
    return Reinforce(
        horizon=Horizon(gamma=0.9, lam=1.0),
        descent=Descent(rate=6e-3, steady=500.0),
        entropy=0.003,
        environments=128,
        length=16,
    )


def reinforce_published() -> Reinforce:
    """Return what the source compares with: a gradient step on every single decision, so that only its own reward counts.

    The source starts the last layer larger.
    """
    return Reinforce(
        architecture=Alone(hidden=(256, 256), activation=mish),
        horizon=Horizon(gamma=0.95, lam=1.0, scale=1.0, weigh=as_they_are),
        descent=Descent(rate=1e-3, weight_decay=1e-4, steepest=float("inf")),
        averaging=Averaging(0.0),
        entropy=0.0,
        environments=1,
        length=1,
    )


def small(algorithm: AbstractAlgorithm, memory: AbstractMemory | None = None) -> OffPolicy:
    """Return a learner with small batches and many environments: a gradient step per 32 environment steps."""
    return OffPolicy(
        algorithm=algorithm,
        memory=memory or Uniform(dqn.CAPACITY),
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
    return OffPolicy(algorithm=algorithm, memory=Uniform(1_000_000), averaging=Averaging(0.0), gamma=0.95, **sizes)


PRESETS: dict[str, Callable[[], AbstractLearner]] = {
    "ppo": ppo,
    "ppo-published": ppo_published,
    "reinforce": reinforce,
    "reinforce-published": reinforce_published,
    "dqn": lambda: small(dqn.DQN(hidden=SMALL)),
    "dqn-published": dqn.dqn,
    "double": lambda: small(dqn.DQN(chooser=dqn.double, hidden=SMALL)),
    "double-published": dqn.double_dqn,
    "prioritised": lambda: small(dqn.DQN(chooser=dqn.double, hidden=SMALL), Prioritised(dqn.CAPACITY)),
    "prioritised-published": dqn.prioritised,
    "rainbow": lambda: small(
        dqn.DQN(
            worth=dqn.Categorical(), last=dqn.Noisy(), chooser=dqn.double, body=dqn.duelling, epsilon=0.0, hidden=SMALL
        ),
        Prioritised(dqn.CAPACITY),
    ),
    "rainbow-published": dqn.rainbow,
    "sac": lambda: small(SAC(alpha=0.2, actor_rate=1e-3, hidden=SMALL)),
    "sac-published": lambda: published(SAC()),
    "d2sac": lambda: small(D2SAC(alpha=0.1, actor_rate=1e-3, hidden=SMALL)),
    "d2sac-published": lambda: published(D2SAC()),
}


def learner(name: str) -> AbstractLearner:
    """Return a learner by name.

    **Raises** `UnknownNameError`.
    """
    if name not in PRESETS:
        raise UnknownNameError("learner", name, PRESETS, param="learner")
    return PRESETS[name]()
