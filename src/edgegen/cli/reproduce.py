"""`edgegen reproduce`: check what a published system claims."""

from pathlib import Path
from typing import Annotated, Any

import typer

from edgegen.cli.output import AsJson, print_bars, print_json, print_table, say


def reproduce(
    name: Annotated[str, typer.Argument(help="A published system, or `list`.")] = "list",
    table: Annotated[Path | None, typer.Option(help="File for one row per figure: .csv or .parquet.")] = None,
    json: AsJson = False,
) -> None:
    """Measure what a published system claims, beside what its source gives; exit code 1 when a claim does not hold."""
    import os

    from edgegen import papers

    if name == "list":
        listed = [(key, papers.load(key)) for key in papers.names()]
        if json:
            print_json([{"name": key, "title": m.CITATION.title, "source": m.CITATION.identifier} for key, m in listed])
        else:
            rows = [(key, m.CITATION.title, m.CITATION.year, m.CITATION.identifier) for key, m in listed]
            print_table("published systems", ("name", "title", "year", "source"), rows)
        return
    from edgegen.core.provenance import machine, of_run

    paper, before = papers.load(name), os.getloadavg()[0]
    bars = paper.claims(say)
    facts = of_run({"paper": name}, seed=0) | machine(before)
    if table is not None:
        _write(table, name, bars, facts)
    if json:
        print_json({"paper": name, "source": paper.CITATION.identifier, "bars": _plain(bars), "provenance": facts})
    else:
        print_bars(f"{paper.CITATION.title} ({paper.CITATION.identifier})", bars)
        say(", ".join(f"{key}: {facts[key]}" for key in machine(before)))
    if any(bar.ok is False for bar in bars):
        raise typer.Exit(1)


def _plain(bars: list) -> list[dict[str, Any]]:
    return [bar.to_dict() for bar in bars]


def _write(path: Path, name: str, bars: list, facts: dict) -> None:
    from edgegen.experiments.tables import CLAIMED, writing

    rows = [{"paper": name, "claim": row.pop("bar"), **row} for row in _plain(bars)]
    with writing(path, CLAIMED, facts) as write:
        write({column: [row[column] for row in rows] for column in CLAIMED})
    say(f"wrote {path}")
