"""Nothing that was accepted is lost: gateways and workers are killed (SIGKILL) in the middle of a load of jobs.

Each run sends 300 jobs to a real `edgegen serve` with real worker processes and the built-in model, while the gateway, a worker,
or both are killed 20 times at moments that a seed draws; the client sends again, with the same Idempotency-Key, what it
got no answer to. Afterwards the database is read: every accepted job has ended exactly once, with a picture that is there
or with a reason.
"""

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgegen.bench._chaos import Outcome, Plan, run_chaos
from edgegen.core.result import Bar

NAME = "chaos"
SUMMARY = "300 jobs, 20 kills of gateway, worker or both, 3 times: none lost, none doubled, none hung"
SEEDS = (1, 2, 3)
LEAST_KILLS = 20
OF_INTEREST = ("done", "refused", "failed")


def run(progress: Callable[[str], None]) -> list[Bar]:
    """Do every run and count over all of them."""
    outcomes = []
    for seed in SEEDS:
        progress(f"chaos: run {len(outcomes) + 1} of {len(SEEDS)}")
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            url = f"sqlite:///{place / 'edgegen.db'}"
            outcomes.append(asyncio.run(run_chaos(Plan(seed), place, url, progress)))
        for trouble in outcomes[-1].trouble[:10]:
            progress(f"chaos: {trouble}")
    return bars(outcomes)


def bars(outcomes: list[Outcome]) -> list[Bar]:
    """Return the bars of some runs."""
    accepted = sum(outcome.accepted for outcome in outcomes)
    fewest = min(outcome.kills.total() for outcome in outcomes)
    found = [
        Bar.at_least("kills in a run, fewest", fewest, LEAST_KILLS, n=len(outcomes)),
        Bar.at_most("jobs lost", sum(outcome.lost for outcome in outcomes), 0, n=accepted),
        Bar.at_most("jobs doubled", sum(outcome.doubled for outcome in outcomes), 0, n=accepted),
        Bar.at_most("jobs hung", sum(outcome.hung for outcome in outcomes), 0, n=accepted),
    ]
    told = {f"jobs {status}": sum(outcome.ends[status] for outcome in outcomes) for status in OF_INTEREST}
    told["jobs that another run of the gateway took over"] = sum(outcome.taken_over for outcome in outcomes)
    told["pictures begun more than once"] = sum(outcome.again for outcome in outcomes)
    told["pictures that went on from a checkpoint"] = sum(outcome.resumed for outcome in outcomes)
    found += [Bar.report(label, count, n=accepted) for label, count in told.items()]
    waits = np.array([wait for outcome in outcomes for wait in outcome.recovery_s])
    if len(waits):
        for percent in (50, 95):
            label = f"from a kill of the gateway to the next picture begun, P{percent}"
            found.append(Bar.report(label, float(np.percentile(waits, percent)), unit="s", n=len(waits)))
    return found
