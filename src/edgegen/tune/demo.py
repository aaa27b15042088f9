"""The demo: two sites that know different things teach a built-in model all of them, and pictures show it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgegen.tune.federation.records import Progress
from edgegen.tune.judging import Exam
from edgegen.tune.pictures import Workshop
from edgegen.tune.radio.sizes import declared
from edgegen.tune.radio.terrain import draw_places, usual_round
from edgegen.tune.running import Run, carry_out, describe
from edgegen.tune.showing import quality_rows, rounds_table, sheet

SITES, PICTURES, ALPHA, ROUNDS, STEPS = 2, 240, 0.3, 8, 80
PER_OBJECT, PER_KNOWN = 12, 8
MODEL = "sd-1.5"  # of the modelled radio times: nobody has trouble to send the built-in adapter


@dataclass(frozen=True)
class Shown:
    """What the demo shows."""

    folder: Path
    pictures: list[Path]
    round_columns: tuple[str, ...]
    rounds: list[tuple[Any, ...]]
    qualities: list[tuple[Any, ...]]
    radio: dict[str, float]  # of a round at the declared size
    quality_columns: tuple[str, ...] = ("of", "before", "after")

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "run": str(self.folder),
            "pictures": [str(file) for file in self.pictures],
            "rounds": [dict(zip(self.round_columns, row, strict=True)) for row in self.rounds],
            "quality": [dict(zip(self.quality_columns, row, strict=True)) for row in self.qualities],
            "radio": self.radio,
        }


def run_demo(
    folder: Path, *, seed: int, tell: Callable[[str], None], rounds: int = ROUNDS, steps: int = STEPS
) -> Shown:
    """Run it, and write a sheet of pictures for each site into the folder of the run."""
    spread = {"sites": SITES, "pictures": PICTURES, "alpha": ALPHA, "seed": seed}
    run = describe({"spread": spread}, {"mode": "ffa", "rounds": rounds, "steps": steps, "seed": seed})
    workshop, exam = Workshop(run.task), Exam.of(PER_OBJECT, PER_KNOWN)
    places = [workshop.site(number) for number in range(SITES)]
    for site in places:
        shown = ", ".join(f"{share:.0%} {name}" for name, share in zip(workshop.base.words, site.shares, strict=True))
        tell(f"{site.name}: {len(site.pictures)} pictures that never leave it, the novel ones of {shown}")
    tell(f"judging what {run.task.base} draws before: {len(exam.scenes)} held-out captions")
    before = workshop.examine(workshop.start, exam)
    radio = modelled(run)
    tell(
        f"a round of {MODEL} at this rank would move {radio['bytes'] / 1e6:.2f} MB per site and take {radio['time_s']:.1f} s by radio,"
        f" a whole network {radio['full_bytes'] / 1e9:.2f} GB and {radio['full_time_s'] / 60:.0f} min"
    )
    progress = carry_out(run, folder, told=lambda done: tell(_round(done, run)))
    tell("judging what it draws now")
    after = workshop.examine(progress.arrays, exam)
    files = []
    for site in places:
        files.append(folder / f"{site.name}.png")
        sheet(site, {"before": before, "after": after}).save(files[-1])
    columns, lines = rounds_table(progress, [radio["time_s"]] * len(progress.history))
    return Shown(folder, files, columns, lines, quality_rows({"before": before, "after": after}, places), radio)


def modelled(run: Run) -> dict[str, float]:
    """Return what a round of this run would move and cost by radio at a declared size, and one of whole networks."""
    task, sizes = run.task, declared(MODEL)
    samples = np.full(task.spread.sites, float(task.spread.pictures))
    places = draw_places(samples, np.random.default_rng(task.spread.seed))
    found: dict[str, float] = {}
    for prefix, mode in (("", task.mode), ("full_", "full")):
        moved, cost = usual_round(
            places, sizes, mode, rank=task.lora.rank, bits=run.settings.bits, steps=run.settings.steps, batch=task.local.batch
        )  # fmt: skip
        found |= {
            f"{prefix}bytes": moved,
            f"{prefix}time_s": cost.time_s,
            f"{prefix}energy_j": float(cost.energy_j.sum()),
        }
    return found


def _round(progress: Progress, run: Run) -> str:
    last = progress.history[-1]
    return (
        f"round {last.number} of {run.settings.rounds}: loss {last.metrics.get('loss', float('nan')):.3f},"
        f" {last.down_bytes / 1e3:.0f} kB down, {last.up_bytes / 1e3:.0f} kB up, {last.elapsed_s:.0f} s"
    )
