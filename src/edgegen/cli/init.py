"""`edgegen init`."""

from pathlib import Path
from typing import Annotated

import typer

from edgegen.cli.output import AsJson, print_json, say


def init(
    path: Annotated[
        Path | None, typer.Argument(help="Where to write the file; default: edgegen.toml, or the scenario's name.")
    ] = None,
    scenario: Annotated[
        str | None, typer.Option(help="Write this packaged planning scenario instead, such as `cell.toml`.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
    json: AsJson = False,
) -> None:
    """Write a commented configuration: a phone, two edge servers and a cloud, all emulated on this machine.

    With --scenario: a packaged planning scenario, as a start for one of your own.
    """
    from edgegen.core.errors import InputError

    name, text = ("edgegen.toml", _template()) if scenario is None else _scenario(scenario)
    path = Path(name) if path is None else path
    if path.is_dir():
        path = path / name
    if path.exists() and not force:
        raise InputError(f"{path} exists; give another path, or --force to overwrite it", param="path")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}", param="path") from None
    if json:
        print_json({"path": str(path)})
    else:
        say(f"wrote {path}; start with: edgegen {'serve' if scenario is None else 'plan'} {path}")


def _template() -> str:
    from edgegen.config import template

    return template()


def _scenario(name: str) -> tuple[str, str]:
    """Return file name and text of a packaged scenario."""
    from edgegen.core.errors import UnknownNameError
    from edgegen.plan.scenario.loading import packaged_scenarios, packaged_text

    name = name if name.endswith(".toml") else f"{name}.toml"
    if name not in packaged_scenarios():
        raise UnknownNameError("packaged scenario", name, packaged_scenarios(), param="--scenario")
    return name, packaged_text(name)
