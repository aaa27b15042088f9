"""`edgegen init`."""

from pathlib import Path
from typing import Annotated

import typer

from edgegen.cli.output import AsJson, print_json, say


def init(
    path: Annotated[Path, typer.Argument(help="Where to write the file.")] = Path("edgegen.toml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
    json: AsJson = False,
) -> None:
    """Write a commented configuration: a phone, two edge servers and a cloud, all emulated on this machine."""
    from edgegen.config import template
    from edgegen.core.errors import InputError

    if path.is_dir():
        path = path / "edgegen.toml"
    if path.exists() and not force:
        raise InputError(f"{path} exists; give another path, or --force to overwrite it", param="path")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(template(), encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}", param="path") from None
    if json:
        print_json({"path": str(path)})
    else:
        say(f"wrote {path}; start with: edgegen serve {path}")
