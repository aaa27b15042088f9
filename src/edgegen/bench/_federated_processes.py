"""A real SuperLink with three SuperNodes on loopback, and what becomes of a run when one of them is killed."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

from edgegen.core.result import Bar

SITES, ROUNDS, KILLED_ROUNDS, STEPS = 3, 2, 4, 2
DEADLINE_S = 120.0


def process_bars(progress: Callable[[str], None]) -> list[Bar]:
    """Two quiet rounds; then a run whose SuperNode is killed after the first round, and its SuperLink after the second."""
    return [*_quiet(progress), *_killed(progress)]


def _quiet(progress: Callable[[str], None]) -> list[Bar]:
    from edgegen.tune.federation.processes import Federation

    with tempfile.TemporaryDirectory() as folder, Federation(_launch(Path(folder), ROUNDS)) as federation:
        done = federation.wait(lambda one: progress(f"processes: round {len(one.history)} of {ROUNDS}"))
        pids = federation.pids()
        federation.stop()
        left = federation.pids()
    name = f"SuperLink and {SITES} SuperNodes, {ROUNDS} rounds"
    answered = sum(one.answered for one in done.history)
    return [
        Bar.at_least(f"{name}: answers", answered, SITES * ROUNDS, n=SITES * ROUNDS),
        Bar.at_most(f"{name}: failures and late answers", sum(one.failed + one.late for one in done.history), 0),
        Bar.report(f"{name}: seconds of a round", max(one.elapsed_s for one in done.history), unit="s", n=ROUNDS),
        Bar.at_most(f"{name}: processes left of {len(pids)} and more", len(left), 0),
    ]


def _killed(progress: Callable[[str], None]) -> list[Bar]:
    from edgegen.tune.federation.processes import Federation

    with tempfile.TemporaryDirectory() as folder, Federation(_launch(Path(folder), KILLED_ROUNDS)) as federation:

        def kill(one) -> None:
            progress(f"processes with kills: round {len(one.history)} of {KILLED_ROUNDS}")
            if len(one.history) == 1:
                os.kill(federation.supernodes[1].pid, signal.SIGKILL)
            if len(one.history) == 2:
                assert federation.superlink is not None
                os.kill(federation.superlink.pid, signal.SIGKILL)

        done = federation.wait(kill)
        restarted = federation.restarted
        federation.stop()
        left = federation.pids()
    last = done.history[-1]
    return [
        Bar.at_least("one SuperNode and the SuperLink killed: rounds finished", len(done.history), KILLED_ROUNDS),
        Bar.at_least("processes started again", restarted, 2),
        Bar.at_least("sites that answer in the last round", last.answered, SITES),
        Bar.at_most("processes left", len(left), 0),
    ]


def _launch(folder: Path, rounds: int):
    from edgegen.tune.federation.launch import Launch
    from edgegen.tune.pictures import Workshop
    from edgegen.tune.running import LEARNER, describe

    rules = {"rounds": rounds, "steps": STEPS, "deadline_s": DEADLINE_S}
    run = describe({"spread": {"sites": SITES, "pictures": 16}}, rules)
    made = Launch(LEARNER, SITES, run.settings, folder, run.task.options())
    made.write(Workshop(run.task).start)
    return made
