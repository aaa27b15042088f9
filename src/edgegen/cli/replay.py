"""`edgegen replay`: a trace in virtual time, and how much of it a fleet bears."""

from pathlib import Path
from typing import Annotated, Any

import typer

from edgegen.cli.output import AsJson, print_json, print_table, say

SHOWN = (
    "attainment",
    "goodput_hz",
    "quality_in_time",
    "p50_s",
    "p95_s",
    "p99_s",
    "joules_per_good",
    "money_usd",
    "refused",
)


PICTURED = ("attainment", "goodput_hz", "quality_in_time", "p50_s", "p95_s", "joules_per_good")


def replay(
    trace: Annotated[
        str, typer.Argument(help="A named trace (--list), a trace file (.csv) or a journal (.jsonl).")
    ] = "",
    fleet: Annotated[
        str | None,
        typer.Option(
            help="Configuration with the machines, or `diffserve`; default: ./edgegen.toml, or the built-in one."
        ),
    ] = None,
    policy: Annotated[list[str] | None, typer.Option(help="A policy, or `oracle` for the bound; repeat it.")] = None,
    rate: Annotated[float | None, typer.Option(help="Requests per second on average.", min=1e-6)] = None,
    scale: Annotated[float, typer.Option(help="So many times as many requests.", min=1e-6)] = 1.0,
    duration: Annotated[str | None, typer.Option(help="Only the beginning, such as '60 s'.")] = None,
    deadline: Annotated[
        str | None, typer.Option(help="Of every request, such as '2 s' or '1 s to 5 s'; default: mixed.")
    ] = None,
    min_quality: Annotated[float | None, typer.Option(help="Of every request; default: mixed.", min=0, max=1)] = None,
    seeds: Annotated[int, typer.Option(help="How often it is drawn; two or more give intervals.", min=1, max=1000)] = 1,
    seed: Annotated[int, typer.Option(help="Of the first draw.", min=0)] = 0,
    find_capacity: Annotated[
        float | None, typer.Option(help="Search the highest rate at which this share of requests keeps its limits.")
    ] = None,
    picture: Annotated[Path | None, typer.Option(help="File for a figure of means and intervals (PNG).")] = None,
    list_traces: Annotated[bool, typer.Option("--list", help="List the named traces.")] = False,
    json: AsJson = False,
) -> None:
    """Let policies serve a trace in virtual time: the dispatcher of the gateway, on what profiles say about the machines.

    All policies get the same requests. Intervals hold 95 %, over the seeds.
    """
    from edgegen.core.errors import InputError

    if list_traces:
        _list(json)
        return
    if not trace:
        raise InputError("give a trace; `edgegen replay --list` shows the named ones")
    from edgegen.assemble import build_fleet
    from edgegen.config import find_config
    from edgegen.core.provenance import of_run
    from edgegen.dispatch.catalog import Catalog
    from edgegen.experiments.fleets_of_papers import FLEETS, packaged_fleet
    from edgegen.experiments.replaying import Replay, traffic
    from edgegen.registry import DEFAULT

    config = packaged_fleet(fleet) if fleet in FLEETS else find_config(fleet)
    demand = traffic(
        trace, config, rate_hz=rate, scale=scale, seconds=_seconds(duration), mix=_mix(deadline, min_quality)
    )
    names = list(dict.fromkeys(policy or [DEFAULT]))
    work = Replay(Catalog(build_fleet(config)), demand, names, range(seed, seed + seeds))
    facts = of_run(
        {"trace": trace, "rate_hz": demand.rate_hz, "seconds": str(demand.seconds), "policies": names}, seed=seed
    )
    if find_capacity is not None:
        _capacity(work, find_capacity, facts, json)
    else:
        _compare(work, trace, facts, picture, json)


def _list(json: bool) -> None:
    from edgegen.experiments.traces import SUMMARIES

    if json:
        print_json([{"name": name, "summary": words} for name, words in SUMMARIES.items()])
    else:
        print_table("traces", ("name", "what it is"), list(SUMMARIES.items()))


def _seconds(text: str | None) -> float | None:
    from edgegen.core.errors import InputError
    from edgegen.core.units import parse_quantity

    if text is None:
        return None
    seconds = parse_quantity(text, "time")
    if not seconds > 0:
        raise InputError(f"--duration expects a time > 0, got {text!r}", param="--duration")
    return seconds


def _mix(deadline: str | None, min_quality: float | None) -> Any:
    """Return how requests differ; what is given holds for all of them."""
    from edgegen.core.errors import InputError
    from edgegen.core.units import parse_quantity
    from edgegen.experiments.arrivals import Mix

    changes: dict[str, Any] = {}
    if deadline is not None:
        parts = [parse_quantity(part.strip(), "time") for part in deadline.split(" to ")]
        if len(parts) > 2 or not 0 < parts[0] <= parts[-1]:
            raise InputError(f"--deadline expects '2 s' or '1 s to 5 s', got {deadline!r}", param="--deadline")
        changes["deadlines"] = ((1.0, parts[0], parts[-1]),)
        changes["metered"] = 0.0  # budgets of the mix are those of small pictures
    if min_quality is not None:
        changes |= {"floored": 1.0, "floors": (min_quality, min_quality)}
    elif deadline is not None:
        changes["floored"] = 0.0
    return Mix(**changes)


def _compare(work: Any, trace: str, facts: dict, picture: Path | None, json: bool) -> None:
    from edgegen.cli.profile_view import progress_bar
    from edgegen.experiments.figures import draw_intervals
    from edgegen.experiments.replaying import FIGURES, entries

    rows: list[dict[str, Any]] = []
    total = len(work.policies) * len(work.seeds)
    with progress_bar() as progress:
        progress("replaying", 0, total)
        for row in work.rows():
            rows.append(row)
            progress("replaying", len(rows), total)
    found = entries(rows)
    counts = sorted({row["requests"] for row in rows})
    span = f"{counts[0]} to {counts[-1]} requests" if len(counts) > 1 else f"{counts[0]} requests"
    title = f"{trace}: {work.traffic.rate_hz:.3g}/s on average, {span}, {len(work.seeds)} seeds"
    if picture is not None:
        shown = [entry for entry in found if entry["metric"] in PICTURED]
        say(f"wrote {draw_intervals(shown, picture, title=title, provenance=facts)}")
    if json:
        print_json({"rows": _finite(rows), "summary": found, "provenance": facts})
        return
    cells = {(entry["policy"], entry["metric"]): _cell(entry) for entry in found}
    shown_figures = [figure for figure in FIGURES if figure in SHOWN]
    print_table(
        title,
        ("policy", *shown_figures),
        [(name, *(cells[name, figure] for figure in shown_figures)) for name in work.policies],
        whole=1,
    )


def _capacity(work: Any, share: float, facts: dict, json: bool) -> None:
    from edgegen.core.errors import InputError
    from edgegen.experiments.replaying import ORACLE, find_capacity

    if ORACLE in work.policies:
        raise InputError("the oracle is a bound and no policy; leave it out of --find-capacity", param="--policy")
    found = []
    for policy in work.policies:
        tell = lambda rate_hz, kept, policy=policy: say(f"{policy}: {rate_hz:.3g}/s, {kept:.1%} keep their limits")  # noqa: E731
        found.append(find_capacity(work.catalog, work.traffic, policy, share=share, seeds=work.seeds, told=tell))
    if json:
        rows = [
            {
                "policy": f.policy,
                "rate_hz": f.rate_hz,
                "above_hz": _number(f.above_hz),
                "tried": [list(t) for t in f.tried],
            }
            for f in found
        ]
        print_json({"share": share, "capacity": rows, "provenance": facts})
        return
    rows = [(f.policy, f"{f.rate_hz:.3g}", f"{f.above_hz:.3g}", len(f.tried)) for f in found]
    print_table(
        f"highest rate at which {share:.1%} of the requests keep their limits",
        ("policy", "requests per second", "no longer at", "runs"),
        rows,
        whole=1,
    )


def _finite(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: _number(value) if isinstance(value, float) else value for key, value in row.items()} for row in rows]


def _number(value: float) -> float | None:
    return value if abs(value) < float("inf") else None


def _cell(entry: dict[str, Any]) -> str:
    if entry["mean"] is None:
        return "-"
    half = "" if entry["low"] is None else f" ± {entry['high'] - entry['mean']:.2g}"
    return f"{entry['mean']:.3g}{half}"
