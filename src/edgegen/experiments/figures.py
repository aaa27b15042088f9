"""What all figures share: colours, bare axes, files that say where they come from; and two kinds of figure of results.

A file that was drawn with its provenance carries it as metadata of the PNG (text under `edgegen`), and in small print below.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgegen.core.errors import InputError
from edgegen.core.provenance import Facts
from edgegen.core.result import interval

GREY, LIGHT, RED = "#8a8f98", "#e6e8eb", "#c0392b"
COLOURS = ("#2f6db5", "#e0802b", "#3a9a5b", "#8d5fb8", "#c44f7c", "#22a3b8", "#a8862a", "#6b4f3a", "#5b7fe0", "#7aa33a")
KEY = "edgegen"
MOST_PANELS = 12
_PRINTED = ("command", "edgegen", "revision", "seed", "date")


def save(figure: Any, path: Path, *, provenance: Facts | None = None, param: str = "--pictures") -> Path:
    """Write a figure as PNG.

    **Raises** `InputError` when the file cannot be written.
    """
    if provenance is not None:
        words = ", ".join(f"{key} {provenance[key]}" for key in _PRINTED if provenance.get(key) not in (None, ""))
        figure.supxlabel(words, x=0.01, ha="left", fontsize=5.5, color=GREY, wrap=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(
            path, dpi=130, format="png", metadata=None if provenance is None else {KEY: json.dumps(provenance)}
        )
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}", param=param) from None
    return path


def provenance_of(path: Path) -> Facts | None:
    """Return the provenance in a PNG file, where there is one."""
    from PIL import Image

    with Image.open(path) as image:
        text = image.info.get(KEY)
    return None if text is None else json.loads(text)


def bare(axes: Any) -> None:
    """Remove the frame that says nothing."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def draw_intervals(entries: Sequence[dict[str, Any]], path: Path, *, title: str, provenance: Facts) -> Path:
    """Draw one panel per metric: the mean and its 95 % interval by policy. `entries` are those of a simulation's summary.

    **Raises** `InputError` for more panels than can be read, or a file that cannot be written.
    """
    from matplotlib.figure import Figure

    metrics = list(dict.fromkeys(entry["metric"] for entry in entries))
    names = list(dict.fromkeys(entry["policy"] for entry in entries))
    if not 0 < len(metrics) <= MOST_PANELS:
        raise InputError(f"expected 1 to {MOST_PANELS} metrics, got {len(metrics)}; choose some", param="--metrics")
    across = min(len(metrics), 3)
    down = -(-len(metrics) // across)
    figure = Figure(figsize=(1.6 + 3.4 * across, (0.8 + 0.3 * len(names)) * down + 1.0), layout="constrained")
    panels = figure.subplots(down, across, sharey=True, squeeze=False)
    for axes in panels.ravel()[len(metrics) :]:
        axes.axis("off")
    for axes, metric in zip(panels.ravel(), metrics, strict=False):
        bare(axes)
        axes.grid(axis="x", color=LIGHT, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.set_title(metric, fontsize=9)
        axes.tick_params(labelsize=8)
        for entry in entries:
            if entry["metric"] == metric and entry["mean"] is not None:
                _whisker(axes, entry, names.index(entry["policy"]))
        axes.set_yticks(range(len(names)), names, fontsize=8)
    panels[0, 0].set_ylim(len(names) - 0.5, -0.5)
    figure.suptitle(title, fontsize=11)
    return save(figure, path, provenance=provenance, param="--picture")


def _whisker(axes: Any, entry: Mapping[str, Any], row: int) -> None:
    shade, mean = COLOURS[row % len(COLOURS)], entry["mean"]
    spread = None if entry["low"] is None else [[mean - entry["low"]], [entry["high"] - mean]]
    axes.errorbar(mean, row, xerr=spread, fmt="o", markersize=5, color=shade, capsize=3, linewidth=1.6)


def draw_curves(
    lines: Mapping[str, tuple[np.ndarray, np.ndarray]],
    path: Path,
    *,
    title: str,
    across: str,
    up: str,
    provenance: Facts,
    levels: Mapping[str, float] | None = None,
    scale: str = "linear",
    least: float | None = None,
) -> Path:
    """Draw learning curves: by name the places on the axis, [X], and values [S, X]; the band is the 95 % interval over S seeds.

    `levels` are what others reach without learning, by name; `scale` is matplotlib's, of the axis across; what is below `least` is not
    shown.

    **Raises** `InputError` when the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.4), layout="constrained")
    axes = figure.subplots()
    bare(axes)
    axes.grid(axis="y", color=LIGHT, linewidth=0.8)
    for number, (name, (x, values)) in enumerate(lines.items()):
        shade, found = COLOURS[number % len(COLOURS)], [interval(column) for column in np.asarray(values).T]
        mean, low, high = (np.array([one[side] for one in found], dtype=float) for side in ("mean", "low", "high"))
        axes.plot(
            x, mean, color=shade, linewidth=1.6, label=f"{name} ({len(values)} seed{'s' if len(values) > 1 else ''})"
        )
        axes.fill_between(x, low, high, color=shade, alpha=0.15, linewidth=0)  # of one seed there is none
    for name, level in (levels or {}).items():
        axes.axhline(level, color=GREY, linewidth=0.8, linestyle="--", zorder=0)
        axes.annotate(name, (1.0, level), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=7)
    axes.set(xlabel=across, ylabel=up, xscale=scale)
    axes.set_ylim(bottom=least)
    figure.legend(loc="outside right center", frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=11)
    return save(figure, path, provenance=provenance, param="--picture")
