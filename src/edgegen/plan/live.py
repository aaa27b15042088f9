"""The planner with a certificate as a policy: every waiting task, node, model and step count at once.

Nodes with queues are planned by `plan.queues`, nodes that divide their compute by `plan.certified`; a State that has
both is planned by `plan.joint`, and then nothing is proven.
"""

import dataclasses
import math
import time
from typing import ClassVar

import equinox as eqx
import numpy as np

from edgegen.core.decision import Certificate, Decision
from edgegen.core.policy import AbstractPolicy, HostPolicy
from edgegen.core.state import State, on_host
from edgegen.physics.options import options
from edgegen.plan.certified.divided import is_divided, plan_divided
from edgegen.plan.joint import plan as planned_jointly
from edgegen.plan.queues.planner import Limits, plan_queues
from edgegen.plan.single import plan_single


class CertifiedPlanner(AbstractPolicy):
    """Plan all waiting tasks together and say how far from the best possible plan that is at most.

    A task for which nothing meets its limits even alone is rejected; one that found no room beside the others waits.

    `effort` bounds the number of node values that are computed and `rounds` the work on the bound. They are counts, so
    that the same State gives the same plan on any machine. `budget_ms` is the time after which the best plan so far is
    used (the gateway sets it); a decision that was cut says so, and how far it had come.
    """

    plans_at_once: ClassVar[int] = 64
    retargets: ClassVar[bool] = True

    effort: int = eqx.field(default=8_000, static=True)
    rounds: int = eqx.field(default=12, static=True)
    budget_ms: float = eqx.field(default=math.inf, static=True)

    def __check_init__(self):
        for name in ("effort", "rounds", "budget_ms"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be greater than 0, got {getattr(self, name)}")
        for name in ("effort", "rounds"):
            if not isinstance(getattr(self, name), int):
                raise ValueError(f"{name} must be a whole number, got {getattr(self, name)}")

    def decide(self, state: State, *, key=None) -> Decision:
        del key
        until_s = time.perf_counter() + self.budget_ms / 1e3
        return _plan(state, Limits(self.effort, self.rounds, until_s))

    def within(self, budget_s: float) -> AbstractPolicy:
        return dataclasses.replace(self, budget_ms=min(self.budget_ms, 1e3 * budget_s))

    def again(self, certificate: Certificate) -> AbstractPolicy:
        limits = Limits(int(certificate.effort), int(certificate.rounds), cut=bool(certificate.cut))
        return HostPolicy(lambda state, key: _plan(state, limits))


def _plan(state: State, limits: Limits) -> Decision:
    state = on_host(state)
    table = options(state)
    live = np.flatnonzero(state.tasks.live)
    if live.size == 0:
        return Decision.hold(state)
    if live.size == 1:
        return plan_single(state, table, int(live[0]))
    if state.nodes.shared[1:][state.nodes.live[1:]].any():
        return plan_divided(state, table) if is_divided(state, table) else planned_jointly(state).decision
    return plan_queues(state, table, limits, last=state.tasks.planned)
