"""Run SCIP on one of the formulations and read its plan."""

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from edgegen.core.errors import InputError
from edgegen.plan.certified.instance import Instance
from edgegen.plan.certified.oracles import formulations
from edgegen.plan.certified.oracles.answer import Answer, Effort, answer, blank_columns, no_plan
from edgegen.plan.certified.oracles.formulations import Built


def naive(instance: Instance, effort: Effort) -> Answer:
    """Solve the model as it is written down."""
    return _solve(instance, effort, formulations.naive)


def reduced(instance: Instance, effort: Effort) -> Answer:
    """Solve the model with the device's clock eliminated."""
    return _solve(instance, effort, formulations.reduced)


def conic(instance: Instance, effort: Effort) -> Answer:
    """Solve the model as second-order cones; rates may be 0.3 % too high, so the bound stays a bound."""
    return _solve(instance, effort, formulations.conic)


def square_root(instance: Instance, effort: Effort) -> Answer:
    """Solve an instance without limits and shared bands, all clocks eliminated.

    **Raises** `InputError` for another instance.
    """
    return _solve(instance, effort, formulations.square_root)


def _scip() -> Any:
    """Return the module `pyscipopt`.

    **Raises** `InputError` when it is not installed.
    """
    try:
        import pyscipopt
    except ImportError as error:
        raise InputError("this oracle needs SCIP, which is not installed: pip install 'edgegen[oracles]'") from error
    return pyscipopt


def _solve(instance: Instance, effort: Effort, formulation: Callable[[Any, Any, Instance], Built]) -> Answer:
    scip = _scip()
    model = scip.Model()
    model.hideOutput()
    built = formulation(scip, model, instance)
    model.setObjective(scip.quicksum(built.cost))
    model.setParam("limits/gap", effort.gap)
    model.setParam("timing/clocktype", 1)  # process time: other work on the machine is not SCIP's
    model.setParam("limits/time", effort.limit_s)
    model.setParam("constraints/nonlinear/tightenlpfeastol", False)  # its LP solver would warn that it cannot
    watch = _watch(scip, effort)
    model.includeEventhdlr(watch, "target", "notes when the target is reached")
    began_s = time.process_time()
    model.optimize()
    seconds = time.process_time() - began_s
    known = {
        "bound": model.getDualbound()
        if abs(model.getDualbound()) < model.infinity()
        else math.copysign(math.inf, model.getDualbound()),
        "status": str(model.getStatus()),
        "seconds": seconds,
        "first_s": watch.reached_s - began_s,
    }
    if model.getNSols() == 0:
        return no_plan(instance, **known)
    return answer(instance, _columns(model, instance, built), claimed=model.getObjVal(), **known)


def _watch(scip, effort: Effort):
    """Return an event handler that notes the process time at which the target was reached, and may stop SCIP there."""

    class Watch(scip.Eventhdlr):
        reached_s = math.inf

        def eventinit(self):
            self.model.catchEvent(scip.SCIP_EVENTTYPE.BESTSOLFOUND, self)

        def eventexit(self):
            self.model.dropEvent(scip.SCIP_EVENTTYPE.BESTSOLFOUND, self)

        def eventexec(self, event):
            del event
            best = self.model.getSolObjVal(self.model.getBestSol())  # the primal bound is still the one before
            if math.isinf(self.reached_s) and best <= effort.target:
                self.reached_s = time.process_time()
                if effort.to_target:
                    self.model.interruptSolve()

    return Watch()


def _columns(model, instance: Instance, built: Built) -> dict[str, np.ndarray]:
    """Read the plan; the shares of a server are stretched to fill it, which takes back what unused pairs keep."""
    columns = blank_columns(instance.users)
    share = np.zeros((instance.users, 3))
    for (n, m, s), z in built.taken.items():
        if model.getVal(z) > 0.5:
            columns["node"][n], columns["steps"][n] = m, instance.steps[s]
            columns["model"][n] = instance.model[s]
            share[n] = built.share_hz(n, m, s, lambda variable: max(model.getVal(variable), 0.0))
    for m in range(instance.servers):
        mine = columns["node"] == m + 1
        used = share[mine].sum(axis=0)
        capacity = [instance.server_hz[m], instance.uplink_hz[m], instance.downlink_hz[m]]
        share[mine] *= np.where(used > 0, np.array(capacity) / np.maximum(used, 1e-30), 0.0)
    return columns | {"clock_hz": share[:, 0], "uplink_hz": share[:, 1], "downlink_hz": share[:, 2]}
