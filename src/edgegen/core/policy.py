"""Everything that chooses is a policy: `decide(state, key=key) -> Decision`.

A policy is memoryless: what must be remembered is in the State, so a restart loses nothing and one journal line
explains a decision. Policies made of policies are in `core.compose`.
"""

import abc
from collections.abc import Callable
from typing import ClassVar

import equinox as eqx

from edgegen.core.decision import Certificate, Decision
from edgegen.core.state import State


class AbstractPolicy(eqx.Module):
    """Look at a State and return a Decision; change nothing.

    `key` is a JAX random key or None; policies that draw nothing ignore it. A decision that breaks a rule is mended by
    `core.rules.repair` before any world obeys it.
    """

    plans_at_once: ClassVar[int] = 8
    """So many waiting tasks a policy plans together in a few milliseconds; of more, the live side shows the most urgent."""

    @abc.abstractmethod
    def decide(self, state: State, *, key=None) -> Decision:
        """Return one row per task of `state`."""

    retargets: ClassVar[bool] = False
    """Whether started tasks are shown to the policy, so that it may change their steps."""

    def within(self, budget_s: float) -> "AbstractPolicy":
        """Return this policy with a limit on how long a decision may take; most policies need none."""
        del budget_s
        return self

    def again(self, certificate: Certificate) -> "AbstractPolicy":
        """Return a policy that decides as this one did when `certificate` says that its time was over (`cut`)."""
        del certificate
        return self


class HostPolicy(AbstractPolicy):
    """Any NumPy or SciPy function `(state, key) -> Decision` as a policy."""

    function: Callable = eqx.field(static=True)

    def decide(self, state: State, *, key=None) -> Decision:
        return self.function(state, key)
