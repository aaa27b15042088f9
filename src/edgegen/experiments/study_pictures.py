"""Figures of a study: one per metric, one line per method, one panel per value of the other varied fields."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgegen.core.errors import InputError
from edgegen.core.units import si_number
from edgegen.experiments.figures import COLOURS, LIGHT, bare, save
from edgegen.experiments.study import METRICS
from edgegen.plan.certified.methods import PLAN

MARKS = "osD^vP*X<>"
MOST_PANELS = 6
WIDE = 8.0  # means that differ by this factor are drawn on a logarithmic axis


def draw_study(entries: Sequence[dict[str, Any]], keys: Sequence[str], folder: Path, *, title: str) -> list[Path]:
    """Write a figure per metric that has values, and return the paths. `entries` are a study's summary.

    **Raises** `InputError` when the folder cannot be written.
    """
    written = []
    for metric, words in METRICS.items():
        if any(entry[metric]["n"] for entry in entries):
            written.append(_draw(entries, keys, Path(folder) / f"{metric}.png", metric, f"{title}: {words}"))
    return written


def _draw(entries: Sequence[dict[str, Any]], keys: Sequence[str], path: Path, metric: str, title: str) -> Path:
    from matplotlib.figure import Figure

    first = keys[0] if keys else None
    panels = list(dict.fromkeys(tuple(entry[key] for key in keys[1:]) for entry in entries))
    if len(panels) > MOST_PANELS:
        raise InputError(f"{len(panels)} panels are too many for a figure; vary fewer values, or use --csv")
    methods = list(dict.fromkeys(entry["method"] for entry in entries))
    if metric == "above_plan":  # the planner is the zero line; the others keep their colours
        entries = [entry for entry in entries if entry["method"] != PLAN]
    figure = Figure(figsize=(1.8 + 4.6 * len(panels), 4.2), layout="constrained")
    many = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, panel in zip(many, panels, strict=True):
        mine = [entry for entry in entries if tuple(entry[key] for key in keys[1:]) == panel]
        _panel(axes, mine, first, metric, methods)
        axes.set_title(", ".join(f"{key} = {value}" for key, value in zip(keys[1:], panel, strict=True)), fontsize=9)
    many[0].set_ylabel(METRICS[metric])
    _scale(many[0], [entry[metric]["mean"] for entry in entries], metric)
    handles, labels = many[0].get_legend_handles_labels()
    if first is not None:
        figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=11)
    return save(figure, path)


def _scale(axes: Any, means: Sequence[float | None], metric: str) -> None:
    """Use a logarithmic axis where the methods are far apart, linear below 1 % for what may be zero."""
    numbers = [mean for mean in means if mean is not None]
    if not numbers or max(numbers) < WIDE * max(min(numbers), 1e-12):
        return
    if metric == "above_plan":
        axes.set_yscale("symlog", linthresh=1.0)
        axes.set_ylim(bottom=min(0.0, *numbers))
    elif min(numbers) > 0 and metric != "utility":
        axes.set_yscale("log")


def _panel(axes: Any, entries: Sequence[dict[str, Any]], first: str | None, metric: str, methods: list[str]) -> None:
    bare(axes)
    axes.grid(axis="y", color=LIGHT, linewidth=0.8)
    axes.set_axisbelow(True)
    if first is None:
        _bars(axes, entries, metric)
        return
    labels = list(dict.fromkeys(entry[first] for entry in entries))
    place = axis_places(labels)
    for number, method in enumerate(methods):  # a method has the same colour in every panel
        mine = [entry for entry in entries if entry["method"] == method and entry[metric]["mean"] is not None]
        if not mine:
            continue
        mine.sort(key=lambda entry: place[entry[first]])
        x = np.array([place[entry[first]] for entry in mine])
        mean = np.array([entry[metric]["mean"] for entry in mine])
        low, high = (
            np.array(
                [entry[metric][side] if entry[metric][side] is not None else entry[metric]["mean"] for entry in mine]
            )
            for side in ("low", "high")
        )
        shade = COLOURS[number % len(COLOURS)]
        line = "-" if number < len(COLOURS) else "--"
        first_of_all = {"linewidth": 2.6, "zorder": 5} if method == PLAN else {"linewidth": 1.4}
        mark = MARKS[number % len(MARKS)]
        axes.plot(x, mean, line, marker=mark, markersize=5, color=shade, label=method, **first_of_all)
        axes.fill_between(x, low, high, color=shade, alpha=0.15, linewidth=0)
    axes.set_xlabel(first)
    if any(si_number(label) is None for label in labels) or len(labels) <= 8:
        axes.set_xticks(list(place.values()), list(place), fontsize=8)


def _bars(axes: Any, entries: Sequence[dict[str, Any]], metric: str) -> None:
    mine = [entry for entry in entries if entry[metric]["mean"] is not None]
    for number, entry in enumerate(mine):
        mean, low, high = (entry[metric][side] for side in ("mean", "low", "high"))
        spread = None if low is None else [[mean - low], [high - mean]]
        axes.bar(number, mean, yerr=spread, color=COLOURS[number % len(COLOURS)], capsize=3)
    axes.set_xticks(range(len(mine)), [entry["method"] for entry in mine], rotation=35, ha="right", fontsize=8)


def axis_places(labels: Sequence[str]) -> dict[str, float]:
    """Return where each value stands on the axis: by its number, or one after the other when one is not a number."""
    numbers = [si_number(label) for label in labels]
    if all(number is not None for number in numbers) and len(set(numbers)) == len(labels):
        return {label: float(number or 0.0) for label, number in zip(labels, numbers, strict=True)}
    return {label: float(position) for position, label in enumerate(labels)}
