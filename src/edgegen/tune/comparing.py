"""One federated run beside what it has to be measured by: everything in one place, and every site alone.

All of them make the same number of local steps in all, so that none has seen more pictures than another: `sites` sites of
`rounds` rounds of `steps` steps. In one place there is no averaging, and nobody's pictures are private any more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edgegen.tune import local
from edgegen.tune.federation.in_process import run_in_process
from edgegen.tune.federation.learners import Arrays
from edgegen.tune.federation.records import Progress
from edgegen.tune.federation.rounds import Around
from edgegen.tune.federation.settings import FederatedSettings
from edgegen.tune.judging import Exam, Marks
from edgegen.tune.parts import count_bytes
from edgegen.tune.pictures import Workshop
from edgegen.tune.running import spending

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What a way of learning brought."""

    name: str
    marks: Marks
    arrays: Arrays
    payload_bytes: int  # of one site's upload in a round, before headers
    progress: Progress | None = None  # of a federated run

    def gain(self, before: Marks) -> float:
        """Return by how much the judged quality of novel objects rose."""
        return self.marks.novel - before.novel


def untouched(workshop: Workshop, exam: Exam) -> Marks:
    """Return what the base draws as it is."""
    return workshop.examine(workshop.start, exam)


def federated(workshop: Workshop, settings: FederatedSettings, exam: Exam, *, name: str, tell: Tell) -> Outcome:
    """Run the rounds in this process, and judge what came of them."""

    def told(progress: Progress) -> None:
        last = progress.history[-1]
        tell(f"{name}: round {last.number} of {settings.rounds}, loss {last.metrics.get('loss', float('nan')):.3f}")

    options = workshop.task.options()
    around = Around(epsilon=spending(settings, options), combine=workshop.combine(), on_round=told)
    progress = run_in_process(
        workshop.learner, workshop.task.spread.sites, settings, workshop.start, around=around
    )  # fmt: skip
    sent = workshop.learner(0).sends(progress.arrays, turn=1)
    return Outcome(
        name, workshop.examine(progress.arrays, exam), progress.arrays, count_bytes(sent, settings.bits), progress
    )


def in_one_place(workshop: Workshop, steps: int, exam: Exam, *, tell: Tell) -> Outcome:
    """Train on the pictures of all sites together: what moving them all would bring."""
    tell(f"in one place: {steps} steps")
    return _trained(workshop, range(workshop.task.spread.sites), steps, exam, "in one place")


def alone(workshop: Workshop, site: int, steps: int, exam: Exam, *, tell: Tell) -> Outcome:
    """Train on one site's pictures only."""
    name = f"{workshop.site(site).name} alone"
    tell(f"{name}: {steps} steps")
    return _trained(workshop, [site], steps, exam, name)


def _trained(workshop: Workshop, sites: Any, steps: int, exam: Exam, name: str) -> Outcome:
    workshop.parts.put(workshop.base, workshop.start)
    local.train(workshop.base, workshop.examples(list(sites)), workshop.task.local, steps=steps, key=[*sites, 0])
    arrays = workshop.parts.start(workshop.base)
    return Outcome(name, workshop.examine(arrays, exam), arrays, 0)


def lacking(outcome: Outcome, workshop: Workshop, site: int) -> float:
    """Return the quality of the object of which a site has least."""
    return outcome.marks.by_object()[workshop.site(site).lacks]
