"""`edgegen keys`."""

import asyncio
import dataclasses
import math
import os
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from edgegen.cli.output import AsJson, print_json, print_table, say

app = typer.Typer(help="Make, list and revoke the API keys of a gateway, and see what they took.", no_args_is_help=True)

ConfigFile = Annotated[Path | None, typer.Option("--config", help="Configuration that names the database.")]
Url = Annotated[str | None, typer.Option("--database", help="The database; default: the configured one.")]


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="Whom the key is for.")],
    scope: Annotated[
        list[str], typer.Option(help="What it opens, repeatable: images, jobs, plan, observe, worker, admin.")
    ] = ["images", "jobs", "plan"],  # noqa: B006 - typer reads it once
    rate: Annotated[str | None, typer.Option(help="Pictures over time, on average: '2/s', '100/h'.")] = None,
    burst: Annotated[int, typer.Option(min=1, help="Pictures that may come at once after a pause.")] = 8,
    concurrent: Annotated[int | None, typer.Option(min=1, help="Pictures under way at a time.")] = None,
    energy: Annotated[str | None, typer.Option(help="Energy per window: '500 J', '2 kJ'.")] = None,
    cost: Annotated[str | None, typer.Option(help="Money per window: '1.50 USD'.")] = None,
    window: Annotated[str, typer.Option(help="How long a window is, in whole hours: '1 h', '24 h'.")] = "24 h",
    config: ConfigFile = None,
    database: Url = None,
    json: AsJson = False,
) -> None:
    """Make a key. It is shown once, and only its hash is kept."""
    from edgegen.core.units import parse_quantity
    from edgegen.serve.quotas import Quota

    quota = Quota(
        rate_per_s=math.inf if rate is None else _rate(rate),
        burst=float(burst),
        concurrent=math.inf if concurrent is None else float(concurrent),
        energy_j=math.inf if energy is None else parse_quantity(energy, "energy"),
        cost_usd=math.inf if cost is None else parse_quantity(cost, "money"),
        window_s=_window(window),
    )
    kept, text = _with(config, database, lambda store: store.add(name, scope, quota))
    if json:
        print_json({**dataclasses.asdict(kept), "key": text})
        return
    say(f"key {kept.name} ({', '.join(kept.scopes)}; {_limits(kept.quota)}); this is the only time that it is shown:")
    typer.echo(text)


@app.command("list")
def list_keys(config: ConfigFile = None, database: Url = None, json: AsJson = False) -> None:
    """List the keys, revoked ones included."""
    found = _with(config, database, lambda store: store.all())
    if json:
        print_json([dataclasses.asdict(kept) for kept in found])
        return
    rows = [
        (kept.name, kept.id, ", ".join(kept.scopes), _limits(kept.quota), _day(kept.created_s), _day(kept.revoked_s))
        for kept in found
    ]
    print_table(f"{len(rows)} keys", ("name", "id", "scopes", "limits", "made", "revoked"), rows)


@app.command("revoke")
def revoke(
    name: Annotated[str, typer.Argument(help="The name or the id of a key.")],
    config: ConfigFile = None,
    database: Url = None,
) -> None:
    """Revoke a key; running gateways refuse it within a second or two."""
    kept = _with(config, database, lambda store: store.revoke(name))
    say(f"key {kept.name} ({kept.id}) is revoked")


@app.command("usage")
def usage(
    last: Annotated[str, typer.Option(help="How far to look back, to the full hour: '24 h'.")] = "24 h",
    config: ConfigFile = None,
    database: Url = None,
    json: AsJson = False,
) -> None:
    """Show what every key took: requests, pictures, energy and money."""
    from edgegen.core.units import parse_quantity

    since_s = time.time() - parse_quantity(last, "time")
    found = _with(config, database, lambda store: store.taken(since_s))
    if json:
        print_json(found)
        return
    rows = [
        (row["name"], row["requests"], row["refused"], row["pictures"], row["energy_j"], row["cost_usd"])
        for row in found
    ]
    columns = ("key", "requests", "refused (429)", "pictures", "energy (J)", "cost (USD)")
    print_table(f"usage of the last {last}", columns, rows)


def _with(config: Path | None, url: str | None, work: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
    """Do something with the keys of the database that is meant."""
    from edgegen.config import find_config
    from edgegen.core.errors import ConfigError
    from edgegen.serve.storage.database import ENVIRONMENT_NAME, Database
    from edgegen.serve.storage.keys import KeyStore

    chosen = url or os.environ.get(ENVIRONMENT_NAME) or find_config(config).storage.url
    if not chosen:
        raise ConfigError("the configuration names no database ([storage] url is empty); give --database")

    async def main() -> Any:
        opened = Database(chosen)
        await opened.open()
        try:
            return await work(KeyStore(opened))
        finally:
            await opened.close()

    return asyncio.run(main())


def _rate(text: str) -> float:
    """Return pictures per second for text such as "2/s" or "100/h"."""
    from edgegen.core.errors import InputError
    from edgegen.core.units import parse_quantity

    count, _, unit = text.partition("/")
    try:
        rate_per_s = float(count) / parse_quantity(f"1 {unit.strip()}", "time")
    except (ValueError, InputError):
        raise InputError(f"expected a rate such as '2/s' or '100/h', got {text!r}", param="rate") from None
    return rate_per_s


def _window(text: str) -> float:
    from edgegen.core.errors import InputError
    from edgegen.core.units import parse_quantity

    window_s = parse_quantity(text, "time")
    if window_s < 3600 or window_s % 3600:
        raise InputError(f"expected a window of whole hours such as '24 h', got {text!r}", param="window")
    return window_s


def _limits(quota: dict[str, float]) -> str:
    parts = []
    if "rate_per_s" in quota:
        parts.append(f"{quota['rate_per_s']:.3g} pictures/s, {quota['burst']:g} at once")
    if "concurrent" in quota:
        parts.append(f"{quota['concurrent']:g} under way")
    per = f"per {quota['window_s'] / 3600:g} h"
    parts += [f"{quota[key]:g} {unit} {per}" for key, unit in (("energy_j", "J"), ("cost_usd", "USD")) if key in quota]
    return "; ".join(parts) or "no limits"


def _day(at_s: float | None) -> str:
    return "" if at_s is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(at_s))
