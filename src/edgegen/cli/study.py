"""`edgegen study`: vary a scenario, draw many instances, compare methods."""

import contextlib
import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from edgegen.cli.output import AsJson, print_json, print_table, say

DEFAULT_METHODS = "plan,equal-shares,greedy-by-channel,fixed-steps-20,all-local"


def study(
    scenario: Annotated[str, typer.Argument(metavar="SCENARIO.toml", help="A scenario file, or a packaged name.")] = "",
    vary: Annotated[
        list[str] | None,
        typer.Option(help="Field and values, such as users.count=5,10,20; repeat it for a grid."),
    ] = None,
    instances: Annotated[int, typer.Option(help="Instances drawn at every point.", min=1, max=10_000)] = 10,
    methods: Annotated[str, typer.Option(help="Names with commas between, or `all` but exact.")] = DEFAULT_METHODS,
    seed: Annotated[int | None, typer.Option(help="Of the first instance; default: the scenario's.", min=0)] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="File for one row per plan, written as they come.")] = None,
    pictures: Annotated[Path | None, typer.Option(help="Folder for a figure per metric (PNG).")] = None,
    list_methods: Annotated[bool, typer.Option("--list-methods", help="List the methods.")] = False,
    json: AsJson = False,
) -> None:
    """Compare planning methods on many instances of a scenario, whose fields may be varied.

    Every point draws the same random numbers, so points and methods differ in nothing else. Intervals hold 95 %.
    """
    from edgegen.core.errors import InputError
    from edgegen.plan.certified.methods import METHODS, summary

    if list_methods:
        rows = [(name, summary(name)) for name in METHODS]
        if json:
            print_json([{"name": name, "summary": text} for name, text in rows])
        else:
            print_table("methods", ("name", "what it does"), rows)
        return
    if not scenario:
        raise InputError("give a scenario file; `edgegen plan --list-scenarios` shows the packaged ones")
    from edgegen.experiments.study import Study
    from edgegen.experiments.vary import parse_vary, points
    from edgegen.plan.scenario import scenario_text
    from edgegen.plan.scenario.loading import read_toml

    text = scenario_text(scenario)
    raw = read_toml(text, source=scenario)
    varied = [parse_vary(one) for one in vary or []]
    chosen = points(raw, varied, source=scenario)
    plan = Study(chosen, _methods(methods), instances, chosen[0].file.seed if seed is None else seed)
    keys = [one.key for one in varied]
    rows, interrupted = _run(plan, keys, csv)
    _report(plan, rows, keys, scenario, text, json, pictures)
    if interrupted:
        say(f"interrupted after {len(rows)} of {plan.size} plans; what is above comes from these")
        raise typer.Exit(130)


def _methods(text: str) -> list[str]:
    from edgegen.core.errors import InputError
    from edgegen.plan.certified.methods import EXACT, METHODS, method

    names = [name.strip() for name in text.split(",") if name.strip()]
    if names == ["all"]:
        return [name for name in METHODS if name != EXACT]
    for name in names:
        method(name)
    if not names or len(set(names)) != len(names):
        raise InputError(f"--methods expects different names with commas between, got {text!r}", param="--methods")
    return names


def _run(plan: Any, keys: list[str], path: Path | None) -> tuple[list[dict[str, Any]], bool]:
    """Return the rows, and whether Ctrl-C ended the work early."""
    from edgegen.cli.profile_view import progress_bar

    rows: list[dict[str, Any]] = []
    with _writer(path, keys) as write, progress_bar() as progress:
        try:
            for row in plan.rows(lambda done: progress("planning", done, plan.size)):
                write(row)
                rows.append(row)
        except KeyboardInterrupt:
            if not rows:
                raise
            return rows, True
    return rows, False


@contextlib.contextmanager
def _writer(path: Path | None, keys: list[str]) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Give a function that writes a row to the CSV file at once, so that nothing that was computed is lost."""
    from edgegen.core.errors import InputError
    from edgegen.experiments.study import ROW

    if path is None:
        yield lambda row: None
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w", encoding="utf-8", newline="")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}", param="--csv") from None
    with file:
        writer = csv.DictWriter(file, [*keys, *ROW])
        writer.writeheader()

        def write(row: dict[str, Any]) -> None:
            writer.writerow(row)
            file.flush()

        yield write
    say(f"wrote {path}")


def _report(
    plan: Any, rows: list, keys: list[str], scenario: str, text: str, json: bool, pictures: Path | None
) -> None:
    import hashlib

    from edgegen import __version__
    from edgegen.experiments.planning import plain
    from edgegen.experiments.study import summary

    entries = summary(rows, keys)
    drawn: list[str] = []
    if pictures is not None:
        from edgegen.experiments.study_pictures import draw_study

        drawn = [str(path) for path in draw_study(entries, keys, pictures, title=plan.points[0].file.name)]
        say(f"wrote {len(drawn)} figures to {pictures}")
    if json:
        provenance = {
            "edgegen": __version__,
            "scenario": scenario,
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
            "seeds": [plan.seed, plan.seed + plan.instances - 1],
            "methods": list(plan.methods),
        }
        print_json(
            plain({"varied": keys, "summary": entries, "rows": rows, "pictures": drawn, "provenance": provenance})
        )
        return
    columns = [*keys, "method", "no plan", "objective", "above plan %", "error", "seconds", "local %", "gap %", "ms"]
    table = [_table_row(entry, keys) for entry in entries]
    if not any(entry["infeasible"] for entry in entries):
        at = columns.index("no plan")
        columns, table = [*columns[:at], *columns[at + 1 :]], [(*row[:at], *row[at + 1 :]) for row in table]
    title = f"{plan.points[0].file.name}: {plan.instances} instances per point, means with 95 % intervals, per user"
    print_table(title, columns, table, whole=len(keys) + 1)
    violations = sum(entry["violations"] for entry in entries)
    say(f"{len(rows)} plans, {violations} broken limits; a rule without a plan counts what refusing everybody costs")


def _table_row(entry: dict[str, Any], keys: list[str]) -> tuple:
    def figure(name: str, factor: float = 1.0, spread: bool = False) -> str:
        found = entry[name]
        if found["mean"] is None:
            return ""
        half = "" if found["low"] is None or not spread else f" ± {_short(factor * (found['high'] - found['mean']), 2)}"
        return f"{_short(factor * found['mean'])}{half}"

    return (
        *(entry[key] for key in keys),
        entry["method"],
        f"{entry['infeasible']} of {entry['instances']}" if entry["infeasible"] else "",
        figure("objective", spread=True),
        figure("above_plan", spread=True) if entry["method"] != "plan" else "",
        figure("error"),
        figure("mean_s"),
        figure("local_share", 100),
        figure("gap", 100),
        figure("cpu_s", 1e3),
    )


def _short(value: float, digits: int = 3) -> str:
    """Write a number with few digits and never with an exponent where a person reads it."""
    return f"{value:.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"
