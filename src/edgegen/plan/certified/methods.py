"""Every way to plan an instance, by name: the planner, the exact method, the alternating method, and the simple rules."""

from collections.abc import Callable
from types import MappingProxyType

import numpy as np

from edgegen.core.errors import UnknownNameError
from edgegen.plan.certified.alternating import alternating
from edgegen.plan.certified.baselines import BASELINES
from edgegen.plan.certified.instance import Instance
from edgegen.plan.certified.planner import GOAL, CertifiedPlan, exact, plan

PLAN, EXACT = "plan", "exact"
Method = Callable[[Instance, np.random.Generator], CertifiedPlan]


def _plan(instance: Instance, rng: np.random.Generator) -> CertifiedPlan:
    """The planner: prices, moves, and branches until the gap is small."""
    del rng
    return plan(instance)


def _exact(instance: Instance, rng: np.random.Generator) -> CertifiedPlan:
    """Branch and bound until the optimum is proven; for a dozen users or so."""
    del rng
    return exact(instance)


METHODS: MappingProxyType[str, Method] = MappingProxyType(
    {PLAN: _plan, EXACT: _exact, "alternating": alternating, **BASELINES}
)
"""The methods by name."""


def method(name: str, *, goal: float = GOAL, branches: int | None = None) -> Method:
    """Return a method; the planner stops at the gap `goal` or after `branches`.

    **Raises** `UnknownNameError`.
    """
    if name not in METHODS:
        raise UnknownNameError("method", name, METHODS, param="method")
    if name == PLAN:
        return lambda instance, rng: plan(instance, goal=goal, branches=branches)
    return METHODS[name]


def summary(name: str) -> str:
    """Return what a method does, in a line."""
    return (METHODS[name].__doc__ or "").partition("\n")[0]
