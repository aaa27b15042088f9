"""How a profile is shown: tables and small curves in the terminal, a picture of the curves, a bar for long work."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from edgegen.cli.output import print_table
from edgegen.core.curve import Fit
from edgegen.core.errors import InputError
from edgegen.core.profile import Profile
from edgegen.core.units import format_si

BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: list[float]) -> str:
    """Return one bar per value in [0, 1]."""
    return "".join(BARS[round(min(max(value, 0.0), 1.0) * (len(BARS) - 1))] for value in values)


def print_profile(profile: Profile) -> None:
    """Print a profile for people."""
    print_table(f"{profile.model} on {profile.device}", ("figure", "value", "how it is known"), _figures(profile))
    print_table(f"quality ({profile.quality_scale})", *_quality_table(profile))
    if profile.step_points:
        print_table("seconds of one step of a batch", *_time_table(profile))
    fits = _fit_rows(profile)
    if fits:
        print_table(
            "fits, best first (the measured table is what is used)", ("what", "form", "rmse", "max error", "R2"), fits
        )
    print_table("where this comes from", ("", ""), _provenance(profile))


def _figures(profile: Profile) -> list[tuple[str, str, str]]:
    about = profile.provenance
    per_picture_s, last = profile.generate_s(profile.steps[-1]), profile.steps[-1]

    def known(field: str) -> str:
        parts = [about.formulas.get(field, ""), f"ASSUMED: {about.assumed[field]}" if field in about.assumed else ""]
        return "; ".join(part for part in parts if part)

    return [
        ("one step, one picture", format_si(profile.step_s_at(), "s"), known("step_s")),
        ("outside of the steps", format_si(profile.fixed_s, "s"), known("fixed_s")),
        (f"one picture, {last} steps", format_si(per_picture_s, "s"), ""),
        ("load", format_si(profile.load_s, "s"), known("load_s")),
        ("memory", format_si(profile.memory_bytes, "B"), known("memory_bytes")),
        (
            "power",
            format_si(profile.power_w, "W"),
            "; ".join(part for part in (profile.energy_method, profile.energy_scope, known("power_w")) if part),
        ),
        (f"energy, {last} steps", format_si(profile.generate_j(last), "J"), "power x seconds"),
    ]


def _quality_table(profile: Profile) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    columns = ("category", "curve", *(str(count) for count in profile.steps))
    rows = []
    for category in profile.quality:
        values = [profile.quality_at(category, count) for count in profile.steps]
        rows.append((category, sparkline(values), *(f"{value:.2f}" for value in values)))
    return columns, rows


def _time_table(profile: Profile) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    rows = []
    for point in profile.step_points:
        spread = (
            f"{format_si(point.low_s, 's')} to {format_si(point.high_s, 's')}" if point.low_s and point.high_s else ""
        )
        fitted = format_si(profile.step_s_at(point.batch), "s")
        rows.append((str(point.batch), format_si(point.step_s, "s"), spread, str(point.n or ""), fitted))
    return ("batch", "median", "quartiles", "n", "fit"), rows


def _fit_rows(profile: Profile) -> list[tuple[str, ...]]:
    def row(what: str, fit: Fit, unit: Callable[[float], str]) -> tuple[str, ...]:
        return what, fit.curve.form, unit(fit.rmse), unit(fit.max_error), f"{fit.r2:.3f}"

    rows = [
        row(f"quality, {category}", fit, lambda value: f"{value:.3f}")
        for category, fits in profile.quality_fits.items()
        for fit in fits
    ]
    if profile.step_fit:
        rows.append(row("step time", profile.step_fit, lambda value: format_si(value, "s")))
    return rows


def _provenance(profile: Profile) -> list[tuple[str, str]]:
    about = profile.provenance
    rows = [("method", about.method), ("device", about.device), ("date", about.date)]
    rows += [("sampler", profile.sampler)] if profile.sampler else []
    rows += [("pictures judged", f"{about.n} per category and step count")] if about.n else []
    rows += (
        [("load average", f"{about.load_average:g} before the measurement")] if about.load_average is not None else []
    )
    rows += [("source", source) for source in about.sources]
    rows += [("assumed", f"{name}: {why}") for name, why in about.assumed.items() if name.startswith("quality")]
    return rows + [("caution", caution) for caution in about.cautions]


def write_plot(profile: Profile, path: Path) -> None:
    """Draw quality against steps with its points and intervals, and step time against batch, as a PNG file."""
    if path.suffix != ".png":
        raise InputError(f"a plot is written as a .png file, got {path}", param="plot")
    from matplotlib.figure import Figure  # not pyplot: no window, no global state

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for number, category in enumerate(profile.quality):
        colour = f"C{number}"
        left.plot(profile.steps, [profile.quality_at(category, count) for count in profile.steps], color=colour)
        points = profile.quality_points.get(category, ())
        values = np.array([point.quality for point in points])
        lows = np.array([point.quality if point.low is None else point.low for point in points])
        highs = np.array([point.quality if point.high is None else point.high for point in points])
        spread = [np.maximum(values - lows, 0), np.maximum(highs - values, 0)] if len(points) else None
        left.errorbar(
            [point.steps for point in points], values, spread, fmt="o", color=colour, capsize=3, label=category
        )
    left.set(xlabel="denoising steps", ylabel=profile.quality_scale, ylim=(0, 1), title="quality")
    left.legend()
    _plot_time(right, profile)
    figure.suptitle(f"{profile.model} on {profile.device}")
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise InputError(f"cannot write the plot {path}: {error.strerror or error}", param="plot") from error


def _plot_time(axes, profile: Profile) -> None:
    batches = np.array([point.batch for point in profile.step_points] or [1, 2, 4, 8])
    axes.plot(batches, profile.step_s(batches) * 1e3, color="C0", label="fit")
    if profile.step_points:
        medians = [point.step_s * 1e3 for point in profile.step_points]
        axes.plot(batches, medians, "o", color="C1", label="measured")
    axes.set(xlabel="pictures in one step", ylabel="milliseconds", title="one step", ylim=(0, None))
    axes.legend()


@contextlib.contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar on the error stream; the value is a function (what, done, total)."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        tasks = {}

        def update(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done, total=total)

        yield update
