"""General solvers for the planning problem, to compare the planner with. The planner does not use them.

| Name | Solver | What it is given |
| --- | --- | --- |
| `naive` | SCIP | binaries for node and steps; clocks, bands, rates, times and energies are variables |
| `reduced` | SCIP | the device is a table of constants, by the closed form of its clock |
| `conic` | SCIP | second-order cones for the times, and tangents in the place of the rate curves |
| `square_root` | SCIP | the shares of the clock eliminated too; only for instances without limits and shared bands |
| `partition` | HiGHS | set partitioning over all sets of users, whose values come from the planner's own set solver |

SCIP needs the extra `oracles`. Times are process times of one thread.
"""

from collections.abc import Callable
from types import MappingProxyType

from edgegen.core.errors import UnknownNameError
from edgegen.plan.certified.instance import Instance
from edgegen.plan.certified.oracles.answer import Answer, Effort
from edgegen.plan.certified.oracles.partition import partition
from edgegen.plan.certified.oracles.scip import conic, naive, reduced, square_root

Oracle = Callable[[Instance, Effort], Answer]

ORACLES: MappingProxyType[str, Oracle] = MappingProxyType(
    {"naive": naive, "reduced": reduced, "conic": conic, "square_root": square_root, "partition": partition}
)
"""Every oracle by name."""


def solve(name: str, instance: Instance, effort: Effort | None = None) -> Answer:
    """Solve an instance by an oracle.

    **Raises** `UnknownNameError` for a name that is not an oracle, and `InputError` for an instance that it cannot take or
    a solver that is not installed.
    """
    if name not in ORACLES:
        raise UnknownNameError("oracle", name, ORACLES)
    return ORACLES[name](instance, Effort() if effort is None else effort)


__all__ = ["ORACLES", "Answer", "Effort", "Oracle", "solve"]
