"""Policies made of policies."""

import equinox as eqx
import numpy as np

from edgegen.core.arrays import Array, namespace
from edgegen.core.decision import HOLD, Decision
from edgegen.core.policy import AbstractPolicy
from edgegen.core.rules import repair, violated_rows
from edgegen.core.state import State


class Repaired(AbstractPolicy):
    """Mend the decisions of another policy, so that they break no rule."""

    policy: AbstractPolicy

    def decide(self, state: State, *, key=None) -> Decision:
        return repair(state, self.policy.decide(state, key=key))


class Fallback(AbstractPolicy):
    """Ask a second policy about the rows that the first left waiting or decided against the rules."""

    first: AbstractPolicy
    second: AbstractPolicy

    def decide(self, state: State, *, key=None) -> Decision:
        preferred = self.first.decide(state, key=key)
        backup = self.second.decide(state, key=key)
        keep = ~violated_rows(state, preferred) & (preferred.node != HOLD)
        return preferred.select(keep, backup)


class Shadow(AbstractPolicy):
    """Obey one policy; `candidate` is asked on the side and only written down."""

    policy: AbstractPolicy
    candidate: AbstractPolicy

    def decide(self, state: State, *, key=None) -> Decision:
        return self.policy.decide(state, key=key)

    def consider(self, state: State, *, key=None) -> Decision:
        """Return what the candidate would have done; whoever keeps the journal writes it down."""
        return repair(state, self.candidate.decide(state, key=key))


class Mixture(AbstractPolicy):
    """Follow one of several policies, drawn per decision with the given weights."""

    policies: tuple[AbstractPolicy, ...]
    weights: tuple[float, ...] = eqx.field(static=True)

    def __check_init__(self):
        if (
            len(self.policies) != len(self.weights)
            or not self.weights
            or min(self.weights) < 0
            or sum(self.weights) <= 0
        ):
            raise ValueError(f"Mixture needs one weight >= 0 per policy and a positive sum, got {self.weights}")

    def decide(self, state: State, *, key=None) -> Decision:
        import jax

        if key is None:
            raise ValueError("Mixture draws a policy: decide(state, key=...) needs a JAX random key")
        draw, key = jax.random.split(key)
        shares = np.cumsum(np.asarray(self.weights, dtype=np.float64) / sum(self.weights))
        choice = int(np.searchsorted(shares, float(jax.random.uniform(draw)), side="right"))
        return self.policies[min(choice, len(self.policies) - 1)].decide(state, key=key)


class TwoTimescale(AbstractPolicy):
    """Let a slow policy choose the resident models once per period, and a fast one everything else.

    Memoryless: the clock in the State says whether a period begins; between two beginnings nodes keep what they have.
    """

    slow: AbstractPolicy
    fast: AbstractPolicy
    period_s: float = eqx.field(static=True)
    tick_s: float = eqx.field(static=True)

    def __check_init__(self):
        if not 0 < self.tick_s <= self.period_s:
            raise ValueError(f"expected 0 < tick_s <= period_s, got tick_s={self.tick_s}, period_s={self.period_s}")

    def decide(self, state: State, *, key=None) -> Decision:
        xp = namespace(state.clock_s, state.nodes.resident)
        begins: Array = (state.clock_s % self.period_s) < self.tick_s
        slow = self.slow.decide(state, key=key)
        resident = xp.where(begins, slow.resident, state.nodes.resident)
        return self.fast.decide(state, key=key).replace(resident=resident)
