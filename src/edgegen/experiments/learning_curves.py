"""Learning curves: what a learner earned against what it used up, as a table and as a picture."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgegen.core.errors import InputError
from edgegen.experiments.figures import COLOURS, GREY, bare, save
from edgegen.learn.checkpoint import Row


def write_curve(path: Path, curve: Sequence[Row]) -> Path:
    """Write a row per point: the three currencies, then the metrics, then the evaluation (`evaluated_...`), if there was one.

    **Raises** `InputError` when the file cannot be written.
    """
    rows = [
        {"environment_steps": row.steps, "gradient_steps": row.updates, "cpu_s": row.cpu_s}
        | row.metrics
        | {f"evaluated_{name}": value for name, value in (row.evaluation or {}).items()}
        for row in curve
    ]
    names = list(dict.fromkeys(name for row in rows for name in row))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names, restval="")
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise InputError(f"cannot write the table {path}: {error}", param="--table") from None
    return path


def draw_curve(path: Path, curve: Sequence[Row], *, title: str, levels: Mapping[str, float] | None = None) -> Path:
    """Draw the evaluated reward over processor time; `levels` are what others earn, by name."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes: Any = figure.subplots()
    bare(axes)
    evaluated = [row for row in curve if row.evaluation]
    if not evaluated:
        raise InputError("there is nothing to draw: the curve has no evaluations", param="--picture")
    x, y = [row.cpu_s for row in evaluated], [row.evaluation["reward"] for row in evaluated if row.evaluation]
    axes.plot(x, y, "o-", color=COLOURS[0], markersize=4)
    for name, level in (levels or {}).items():
        axes.axhline(level, color=GREY, linewidth=0.8, linestyle="--")
        axes.annotate(name, (0.995, level), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8)
    axes.set_xlabel(f"processor time of training [s] ({evaluated[-1].steps:,} environment steps at the end)")
    axes.set_ylabel("reward of an evaluation episode")
    axes.set_title(title, fontsize=11)
    return save(figure, path)
