"""`edgegen demo`."""

from pathlib import Path
from typing import Annotated

import typer

from edgegen.cli.output import AsJson, print_json, print_table, say


def demo(
    config: Annotated[
        Path | None, typer.Option(help="A configuration; default: the fleet that `edgegen init` writes.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("edgegen-runs/demo"),
    count: Annotated[int, typer.Option(min=1, max=10_000, help="Requests per policy.")] = 60,
    seconds: Annotated[float, typer.Option(min=1.0, help="Time over which they arrive.")] = 30.0,
    seed: Annotated[int, typer.Option(help="Decides prompts, deadlines, origins and noise.")] = 1,
    json: AsJson = False,
) -> None:
    """Make real pictures under two policies on the same arrivals, and compare them."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    from edgegen.assemble import build_fleet
    from edgegen.config import default_config, load_config
    from edgegen.demo.report import COLUMNS, table_row
    from edgegen.demo.run import Progress, run_demo

    settings = load_config(config) if config else default_config()
    console = Console(stderr=True, highlight=False)
    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bar(*columns, console=console, transient=True) as bar:
        tasks: dict[str, object] = {}

        def advance(policy, outcome) -> None:
            if policy not in tasks:
                tasks[policy] = bar.add_task(policy, total=count)
            bar.advance(tasks[policy])  # type: ignore[arg-type]
            del outcome

        progress = Progress(stage=console.print, outcome=advance)
        found = run_demo(
            settings, build_fleet(settings), folder=out, count=count, seconds=seconds, seed=seed, progress=progress
        )
    if json:
        print_json(found.to_dict())
        return
    by_policy = [table_row(row) for row in found.scores]
    names, *figures = zip(COLUMNS, *by_policy, strict=True)
    print_table(f"{count} requests per policy, seed {seed}", names, figures)
    say("good: in time, and the judge finds everything that the caption says. Rates with 95 % intervals.")
    say(f"machine load {found.load['before']} before, {found.load['after']} after")
    say(f"report: {out / 'report.html'}   pictures: {out / 'contact-sheet.png'}   numbers: {out / 'result.json'}")
