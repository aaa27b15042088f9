"""Run the demo: choose the best fixed-steps policy in virtual time, then both policies live on the same arrivals."""

import asyncio
import dataclasses
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from edgegen import __version__
from edgegen.config import Config
from edgegen.demo.drive import Outcome, send_all
from edgegen.demo.report import write_report
from edgegen.demo.score import Judged, Score, judge_all, score
from edgegen.demo.sheet import contact_sheet
from edgegen.dispatch.catalog import Catalog
from edgegen.dispatch.fleet import Fleet
from edgegen.dispatch.replay import simulate
from edgegen.experiments.arrivals import Ask, draw_asks, to_requests
from edgegen.observe.logs import set_up
from edgegen.registry import DEFAULT, load_policy
from edgegen.serve.compose import compose
from edgegen.serve.run import in_thread


@dataclasses.dataclass(frozen=True)
class Progress:
    """Whom the demo tells how far it is."""

    stage: Callable[[str], None]  # a new stage begins
    outcome: Callable[[str, Outcome], None]  # a request of a policy ended


@dataclasses.dataclass(frozen=True)
class Demo:
    """What the demo found."""

    scores: list[Score]
    folder: Path
    load: dict[str, float]  # load of the machine before and after
    seed: int

    def to_dict(self) -> dict:
        """Return the result as plain data for JSON."""
        return {
            "edgegen": __version__,
            "seed": self.seed,
            "machine_load": self.load,
            "policies": [row.to_dict() for row in self.scores],
            "files": {name: str(self.folder / name) for name in ("report.html", "contact-sheet.png", "result.json")},
        }


def run_demo(
    config: Config, fleet: Fleet, *, folder: Path, count: int, seconds: float, seed: int, progress: Progress
) -> Demo:
    """Send `count` real prompts over HTTP, first under the best fixed-steps policy and then under the planner.

    Writes report.html, contact-sheet.png and result.json into `folder`.
    """
    set_up("warning")  # standard output is for the result
    origins = [node.name for node in fleet.nodes if node.tier == "device"]
    asks = draw_asks(count, seconds=seconds, origins=origins, seed=seed)
    progress.stage("choosing the best fixed-steps policy for these arrivals, in virtual time")
    baseline, expected = best_fixed_steps(config, fleet, asks)
    load_before = os.getloadavg()[0]
    runs: dict[str, Sequence[Judged]] = {}
    for policy in (baseline, DEFAULT):
        progress.stage(f"{count} requests in {seconds:g} s under {policy}")
        told = lambda outcome, policy=policy: progress.outcome(policy, outcome)  # noqa: E731
        runs[policy] = run_live(config, fleet, policy, asks, told)
    load = {"before": round(load_before, 2), "after": round(os.getloadavg()[0], 2)}
    demo = Demo([score(policy, judged) for policy, judged in runs.items()], folder, load, seed)
    notes = (
        f"{baseline} was chosen before the runs, as the fixed-steps policy with the most expected good pictures on these "
        f"arrivals in virtual time ({expected:.1f} of {count}).",
        "Nodes are worker processes on this machine whose steps are padded to declared times; links are emulated; energy is "
        f"declared watts times seconds. Machine load {load['before']} before, {load['after']} after.",
    )
    progress.stage("writing the report")
    folder.mkdir(parents=True, exist_ok=True)
    contact_sheet(runs, folder / "contact-sheet.png")
    write_report(folder / "report.html", demo.scores, runs, notes)
    (folder / "result.json").write_text(json.dumps(demo.to_dict(), indent=2) + "\n")
    return demo


def run_live(
    config: Config, fleet: Fleet, policy: str, asks: Sequence[Ask], told: Callable[[Outcome], None]
) -> list[Judged]:
    """Send the requests to a gateway of their own under a policy and judge; `told` is called with every outcome."""
    return judge_all(send_live(config, fleet, policy, asks, told))


def send_live(
    config: Config, fleet: Fleet, policy: str, asks: Sequence[Ask], told: Callable[[Outcome], None]
) -> list[Outcome]:
    """Send the requests to a gateway of their own under a policy; the workers are processes that make real pictures."""
    with in_thread(lambda: compose(config, fleet, policy=policy)) as live:
        return asyncio.run(send_all(live.url, asks, on_outcome=told))


def best_fixed_steps(config: Config, fleet: Fleet, asks: Sequence[Ask]) -> tuple[str, float]:
    """Return the fixed-steps policy that expects the most good pictures, and that number, from the fleet in virtual time.

    Every offered step count is tried with every model and with whichever model answers first.
    """
    catalog = Catalog(fleet)
    requests = to_requests(config, asks)
    best, most = "", -1.0
    for steps in fleet.steps:
        for model in (None, *range(len(fleet.models))):
            name = f"fixed-steps:steps={steps}" + ("" if model is None else f",model={model}")
            ended = simulate(catalog, load_policy(name), requests, policy_name=name)
            good = sum(outcome.start.quality for outcome in ended if outcome.met_deadline and outcome.start is not None)
            if good > most:
                best, most = name, good
    return best, most
