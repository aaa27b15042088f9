"""`edgegen bench`."""

from typing import Annotated

import typer

from edgegen.cli.output import AsJson, print_json, print_table, say


def bench(
    name: Annotated[str, typer.Argument(help="A benchmark, or `list`.")] = "list",
    json: AsJson = False,
) -> None:
    """Measure the bars of a benchmark; exit code 1 when one is missed."""
    from edgegen.bench import benchmarks, measure

    if name == "list":
        entries = benchmarks()
        if json:
            print_json([{"name": key, "summary": module.SUMMARY} for key, module in entries.items()])
        else:
            rows = [(key, module.SUMMARY) for key, module in entries.items()]
            print_table("benchmarks", ("name", "what it measures"), rows)
        return
    report = measure(name, progress=say)
    if json:
        print_json(report.to_dict())
    else:
        rows = [
            (b.bar, f"{b.value:.4g}", b.unit, b.goal, {True: "yes", False: "NO", None: ""}[b.ok], b.n, _interval(b))
            for b in report.bars
        ]
        print_table(f"edgegen bench {name}", ("bar", "value", "unit", "goal", "ok", "n", "95 % interval"), rows)
        say(", ".join(f"{key}: {value}" for key, value in report.provenance.items()))
    if any(bar.ok is False for bar in report.bars):
        raise typer.Exit(1)


def _interval(bar) -> str:
    return "" if bar.low is None or bar.high is None else f"{bar.low:.4g} to {bar.high:.4g}"
