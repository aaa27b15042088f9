"""How commands print: tables for people, JSON for programs, one sentence for errors."""

import contextlib
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any

import typer

from edgegen.core.errors import EdgegenError, InfeasibleError, InputError, WorkerError
from edgegen.core.result import Bar

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

WIDE = 180


def print_json(value: Any) -> None:
    """Print plain data as indented JSON."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, whole: int = 0) -> None:
    """Print a table; cells are text, numbers are aligned right. The first `whole` columns are never broken."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape  # names such as servers[0] are no markup
    from rich.table import Table

    rows = [list(row) for row in rows]
    table = Table(title=escape(title) or None, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    for index, name in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[index], int | float) or row[index] == "" for row in rows)
        table.add_column(escape(name), justify="right" if numeric else "left", overflow="fold", no_wrap=index < whole)
    for row in rows:
        table.add_row(*[escape(cell) if isinstance(cell, str) else f"{cell:g}" for cell in row])
    console = Console()
    if not console.is_terminal:  # a file or a pipe has no width of its own
        console = Console(width=max(console.width, WIDE))
    console.print(table)


def print_bars(title: str, bars: Sequence[Bar]) -> None:
    """Print measured figures beside their goals, and beside what is published where something is."""
    columns = ["bar", "value", "unit", "goal", "ok", "n", "95 % interval", "published"]
    rows = [
        [
            *(bar.bar, f"{bar.value:.4g}", bar.unit, bar.goal, {True: "yes", False: "NO", None: ""}[bar.ok], bar.n),
            "" if bar.low is None or bar.high is None else f"{bar.low:.4g} to {bar.high:.4g}",
            "" if bar.published is None else f"{bar.published:.4g}",
        ]
        for bar in bars
    ]
    if not any(row[-1] for row in rows):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    print_table(title, columns, rows)


def say(text: str, *, style: str | None = None) -> None:
    """Tell people what is going on, on the error stream, so that standard output stays data."""
    from rich.console import Console

    Console(stderr=True, highlight=False).print(text, markup=False, style=style)


@contextlib.contextmanager
def working(text: str) -> Iterator[None]:
    """Show on the error stream that something is going on, where there is a terminal to show it on."""
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield


def report_error(error: EdgegenError) -> int:
    """Print the error as one sentence and return the exit code that stands for it."""
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True).print(Text.assemble(("error: ", "bold red"), str(error)))
    if isinstance(error, InfeasibleError):
        return 3
    if isinstance(error, WorkerError):
        return 4
    return 2 if isinstance(error, InputError) else 1
