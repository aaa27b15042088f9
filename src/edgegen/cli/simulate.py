"""`edgegen simulate`: let policies run a published system on the simulator, and compare them."""

import contextlib
from pathlib import Path
from typing import Annotated, Any

import typer

from edgegen.cli.output import AsJson, print_json, print_table, say


def simulate(
    system: Annotated[str, typer.Argument(help="A published system; --list shows them.")] = "",
    policies: Annotated[str, typer.Option(help="Names with commas between, or `all`.")] = "all",
    instances: Annotated[int, typer.Option(help="Instances that are drawn.", min=1, max=100_000)] = 10,
    episodes: Annotated[int, typer.Option(help="Episodes of every instance.", min=1, max=1_000_000)] = 1,
    seed: Annotated[int, typer.Option(help="Of everything that chance decides.", min=0)] = 0,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the system, such as devices=20; repeat it for more.")
    ] = None,
    metrics: Annotated[str, typer.Option(help="What table and picture show, with commas between, or `all`.")] = "all",
    table: Annotated[
        Path | None,
        typer.Option(help="File for one row per episode and metric, .csv or .parquet, written as they come."),
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="File for a figure of means and intervals (PNG).")] = None,
    list_systems: Annotated[bool, typer.Option("--list", help="List systems, policies and settings.")] = False,
    json: AsJson = False,
) -> None:
    """Compare policies on a published system; every policy serves the same episodes of the same instances.

    Intervals hold 95 %, over the means of instances; of one instance, over its episodes.
    """
    from edgegen import papers
    from edgegen.core.errors import InputError, UnknownNameError

    if list_systems:
        _list(papers.simulated(), json)
        return
    if not system:
        raise InputError("give a system; `edgegen simulate --list` shows them")
    known = papers.simulated()
    if system not in known:
        raise UnknownNameError("system on the simulator", system, known)
    from edgegen.core.provenance import of_run
    from edgegen.experiments.simulation import Simulation, summary

    model = known[system].SYSTEM
    settings = model.with_settings(_settings(setting or []))
    names = list(model.policies) if policies == "all" else _names(policies, "--policies")
    plan = Simulation(model, model.chosen(names), instances, episodes, seed, settings)
    config = {"system": system, "policies": names, "instances": instances, "episodes": episodes, "settings": settings}
    facts = of_run(config, seed=seed)
    blocks, interrupted = _run(plan, system, table, facts)
    entries = _shown(summary(blocks), metrics)
    _report(plan, system, entries, facts, picture, json)
    if interrupted:
        say(f"interrupted after {len(blocks)} of {plan.size} blocks; what is above comes from these")
        raise typer.Exit(130)


def _list(known: dict[str, Any], json: bool) -> None:
    listed = [(name, module.CITATION, module.SYSTEM) for name, module in known.items()]
    if json:
        print_json(
            [
                {"name": n, "source": c.identifier, "policies": list(s.policies), "settings": dict(s.settings)}
                for n, c, s in listed
            ]
        )
        return
    rows = [
        (
            name,
            about.identifier,
            ", ".join(of.policies),
            ", ".join(f"{key}={value:g}" for key, value in of.settings.items()),
        )
        for name, about, of in listed
    ]
    print_table("systems on the simulator", ("name", "source", "policies", "settings"), rows)


def _names(text: str, option: str) -> list[str]:
    from edgegen.core.errors import InputError

    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names or len(set(names)) != len(names):
        raise InputError(f"{option} expects different names with commas between, got {text!r}", param=option)
    return names


def _settings(given: list[str]) -> dict[str, str]:
    from edgegen.core.errors import InputError

    pairs = [one.partition("=") for one in given]
    for one, (key, sign, value) in zip(given, pairs, strict=True):
        if not (key and sign and value):
            raise InputError(f"--set expects name=value, such as devices=20, got {one!r}", param="--set")
    found = {key.strip(): value.strip() for key, _, value in pairs}
    if len(found) != len(pairs):
        raise InputError(f"--set names a setting twice: {', '.join(given)}", param="--set")
    return found


def _run(plan: Any, system: str, path: Path | None, facts: dict) -> tuple[list, bool]:
    """Return the blocks, and whether Ctrl-C ended the work early; what the table holds by then stays."""
    from edgegen.cli.profile_view import progress_bar
    from edgegen.experiments.tables import SIMULATED, writing

    blocks: list = []
    try:
        with contextlib.ExitStack() as stack:
            write = (lambda columns: None) if path is None else stack.enter_context(writing(path, SIMULATED, facts))
            progress = stack.enter_context(progress_bar())
            progress("simulating", 0, plan.size)
            for block in plan.blocks():
                write(block.columns(system))
                blocks.append(block)
                progress("simulating", len(blocks), plan.size)
    except KeyboardInterrupt:
        if not blocks:
            raise
        return blocks, True
    finally:
        if path is not None and path.exists():
            say(f"wrote {path}")
    return blocks, False


def _shown(entries: list[dict[str, Any]], metrics: str) -> list[dict[str, Any]]:
    from edgegen.core.errors import UnknownNameError
    from edgegen.experiments.simulation import REWARD

    known = list(dict.fromkeys(entry["metric"] for entry in entries))
    known.sort(key=lambda name: name != REWARD)  # it comes first
    chosen = known if metrics == "all" else _names(metrics, "--metrics")
    for name in chosen:
        if name not in known:
            raise UnknownNameError("metric", name, known, param="--metrics")
    return [entry for name in chosen for entry in entries if entry["metric"] == name]


def _report(plan: Any, system: str, entries: list, facts: dict, picture: Path | None, json: bool) -> None:
    title = f"{system}: {plan.instances} x {plan.episodes} (instances x episodes), means with 95 % intervals"
    if picture is not None:
        from edgegen.experiments.figures import draw_intervals

        say(f"wrote {draw_intervals(entries, picture, title=title, provenance=facts)}")
    if json:
        print_json({"summary": entries, "provenance": facts})
        return
    metrics = list(dict.fromkeys(entry["metric"] for entry in entries))
    cells = {(entry["policy"], entry["metric"]): _cell(entry) for entry in entries}
    names = list(dict.fromkeys(entry["policy"] for entry in entries))
    print_table(title, ("policy", *metrics), [(n, *(cells[n, metric] for metric in metrics)) for n in names], whole=1)


def _cell(entry: dict[str, Any]) -> str:
    half = "" if entry["low"] is None else f" ± {entry['high'] - entry['mean']:.2g}"
    return f"{entry['mean']:.4g}{half}"
