"""What an oracle is told and what it answers."""

import dataclasses
import math

import numpy as np

from edgegen.core.checks import positive
from edgegen.plan.certified.checker import check
from edgegen.plan.certified.instance import REFUSED, Instance


@dataclasses.dataclass(frozen=True)
class Effort:
    """When an oracle stops.

    target: note when the solver first has a plan that costs at most this. to_target: stop there.
    """

    gap: float = 1e-4  # relative, between the best plan and the solver's bound
    limit_s: float = 300.0  # process time
    target: float = -math.inf
    to_target: bool = False

    def __post_init__(self):
        positive(self, "gap", "limit_s")


@dataclasses.dataclass(frozen=True)
class Answer:
    """The best plan of a solver, in the columns that the checker reads. Arrays are [N]; without a plan, `node` is -1."""

    node: np.ndarray
    model: np.ndarray
    steps: np.ndarray
    clock_hz: np.ndarray
    uplink_hz: np.ndarray
    downlink_hz: np.ndarray
    objective: float  # what these columns cost by the checker's arithmetic; inf without a plan
    bound: float  # the solver's own lower bound
    status: str  # in the solver's words
    claimed: float  # what the solver thinks its plan costs
    seconds: float  # process time of the solver, its start from Python not counted
    first_s: float  # process time until `target` was reached; inf if it was not


def answer(instance: Instance, columns: dict[str, np.ndarray], **known) -> Answer:
    """Return an answer whose objective is computed from its columns."""
    draft = Answer(**columns, objective=known["claimed"], **known)
    return dataclasses.replace(draft, objective=check(instance, draft).objective)


def no_plan(instance: Instance, **known) -> Answer:
    """Return the answer of a solver that found nothing."""
    columns = blank_columns(instance.users)
    return Answer(**columns, objective=math.inf, claimed=math.inf, **known)


def blank_columns(users: int) -> dict[str, np.ndarray]:
    """Return the columns of a plan in which nobody is served."""
    columns = {name: np.zeros(users) for name in ("clock_hz", "uplink_hz", "downlink_hz")}
    counts = {name: np.zeros(users, dtype=np.int64) for name in ("model", "steps")}
    return {"node": np.full(users, REFUSED), **counts, **columns}
