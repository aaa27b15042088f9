"""`edgegen storage`."""

from typing import Annotated

import typer

from edgegen.cli.output import AsJson, print_json, print_table, say

app = typer.Typer(help="What jobs are kept in.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep `move` a command of its own, also while there is no other."""


@app.command()
def move(
    source: Annotated[str, typer.Argument(metavar="FROM", help="A database, as in [storage] url.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="An empty database; its tables are made.")],
    json: AsJson = False,
) -> None:
    """Copy all jobs, keys and events into another database. No gateway may work on the one that is read."""
    import asyncio
    import time

    from edgegen.serve.storage.moving import move as copy

    counts = asyncio.run(copy(source, target, now_s=time.time(), told=lambda name, count: say(f"{name}: {count}")))
    if json:
        print_json(counts)
    else:
        print_table("moved", ("table", "rows"), list(counts.items()))
