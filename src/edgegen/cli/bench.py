"""`edgegen bench`."""

from typing import Annotated

import typer

from edgegen.cli.output import AsJson, print_bars, print_json, print_table, say


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
        print_bars(f"edgegen bench {name}", report.bars)
        say(", ".join(f"{key}: {value}" for key, value in report.provenance.items()))
    if any(bar.ok is False for bar in report.bars):
        raise typer.Exit(1)
