"""Asking the policy, and what is done when its answer cannot be obeyed."""

import dataclasses

import numpy as np

from edgegen.core.decision import HOLD, REJECT, Certificate, Decision
from edgegen.core.policy import AbstractPolicy
from edgegen.core.rules import repair
from edgegen.core.state import LOCAL, State
from edgegen.dispatch.choices import Option, Table


@dataclasses.dataclass(frozen=True)
class Choice:
    """What is to happen to one waiting request: an option, or waiting (None), or a refusal."""

    option: Option | None
    clock: float = 1.0
    refused: bool = False
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Answer:
    """A policy's answer for all waiting requests. `resident` is set when it wants other models in memory."""

    choices: list[Choice]
    note: str = ""
    certificate: Certificate | None = None
    resident: np.ndarray | None = None


class Decider:
    """One policy whose answers are checked. It never raises: a policy that does is replaced by the built-in choice."""

    def __init__(self, policy: AbstractPolicy, name: str):
        self.policy, self.name = policy, name
        self.plans_at_once, self.retargets = policy.plans_at_once, policy.retargets
        self._decide = policy.decide  # an equinox module makes a new wrapper at every access

    def choose(self, table: Table) -> Answer:
        """Return one choice per request of the table."""
        try:
            decision = self._decide(table.state)
            columns = _columns(decision, len(table.rows), table.state)
        except Exception as error:  # whatever a policy of anybody's does, the requests must go on
            note = f"policy {self.name} failed ({type(error).__name__}: {error})"
            return Answer([builtin_choice(table, at, note) for at in range(len(table.rows))], note)
        asked = [_read(table, at, column) for at, column in enumerate(columns)]
        mended = asked if None not in asked else self._mend(table, decision, asked)
        choices = [
            choice or builtin_choice(table, at, f"{self.name} chose what cannot run")
            for at, choice in enumerate(mended)
        ]
        note = "; ".join(sorted({choice.note for choice in choices if choice.note}))
        return Answer(choices, note, getattr(decision, "certificate", None), _resident(table.state, decision))

    def _mend(self, table: Table, decision: Decision, asked: list[Choice | None]) -> list[Choice | None]:
        """Repair the rows that cannot be obeyed; a row that can only wait after that stays None."""
        try:
            columns = _columns(repair(table.state, decision), len(table.rows), table.state)
        except Exception:
            return asked
        mended = []
        for at, (choice, column) in enumerate(zip(asked, columns, strict=True)):
            again = choice or _read(table, at, column)
            mended.append(None if choice is None and again is not None and again.option is None else again)
        return mended


def builtin_choice(table: Table, at: int, note: str = "") -> Choice:
    """Return the cheapest option within the limits, or the least bad one; waiting only when nothing can run."""
    option = table.best(at)
    if option is None:
        return Choice(None, note=note)
    return Choice(option, clock=float(table.options.clock[at][option]), note=note)


def _columns(decision: Decision, count: int, state: State) -> list[tuple]:
    """Return node, model, steps, trials and compute share of the first rows as plain numbers."""
    columns = []
    for name in ("node", "model", "steps", "trials", "compute_share"):
        column = np.asarray(getattr(decision, name))
        if column.shape != (state.task_count,):
            raise ValueError(f"column {name} must have shape ({state.task_count},), got {column.shape}")
        columns.append(column[:count].tolist())
    return list(zip(*columns, strict=True))


def _read(table: Table, at: int, column: tuple) -> Choice | None:
    """Return a row of a decision as a choice, or None when it cannot be obeyed."""
    node, model, steps, trials, share = column
    if node == HOLD:
        return Choice(None)
    if node == REJECT:
        return Choice(None, refused=True)
    step = table.catalog.step_rows.get(steps)
    nodes, models, _ = table.options.possible.shape[1:]
    if step is None or trials != 1 or not (0 <= node < nodes and 0 <= model < models):
        return None
    option = Option(int(node), int(model), step)
    if not table.options.possible[at][option]:
        return None
    clock = float(share) if node == LOCAL and table.state.nodes.shared[LOCAL] else 1.0
    return Choice(option, clock=min(clock, 1.0)) if 0 < clock < np.inf else None


def _resident(state: State, decision: Decision) -> np.ndarray | None:
    wanted = decision.resident
    if wanted is state.nodes.resident:
        return None
    wanted = np.asarray(wanted)
    if wanted.shape != state.nodes.resident.shape or np.array_equal(wanted, state.nodes.resident):
        return None
    return wanted.astype(bool)
