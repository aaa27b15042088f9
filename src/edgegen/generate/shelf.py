"""A folder of models that come while a gateway runs: found by name only, checked before they are used, noted once they are served.

A gateway is told a name, never a path or an address. What it serves it notes beside the model (`published.json`), and that is what
it finds again after a restart.
"""

import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgegen.core.errors import EdgegenError, InputError, UnknownNameError
from edgegen.generate.adapter_files import BASES, CARD, LARGEST_CARD_BYTES, PROFILE, AdapterError, Card, check

PUBLISHED = "published.json"
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Publication:
    """A model that is served from here: its name, the nodes that may run it, and its files."""

    name: str
    nodes: tuple[str, ...]
    folder: Path

    @property
    def profile(self) -> Path:
        """The file with what was measured about it."""
        return self.folder / PROFILE


class Shelf:
    """One folder of models. It need not exist: then nothing is there."""

    def __init__(self, root: Path):
        self.root = root

    def folder(self, name: str) -> Path:
        """Return the folder of a model.

        **Raises** `InputError` for what is no name, `UnknownNameError` for one that is not here.
        """
        self.check_name(name)
        folder = self.root / name
        inside = folder.is_dir() and folder.resolve() == self.root.resolve() / name  # no way out by a symbolic link
        if not inside or not (folder / CARD).is_file():
            raise UnknownNameError("model folder", name, self.names(), param="name")
        return folder

    def check_name(self, name: str) -> None:
        """Refuse what no model here may be called. **Raises** `InputError`."""
        if NAME.fullmatch(name) is None or name == BASES:
            raise InputError(
                "the name of a published model has 1 to 64 small letters, digits, dots, dashes and underscores, begins with"
                f" a letter or a digit and is not {BASES!r}; got {name!r}",
                param="name",
            )

    def names(self) -> list[str]:
        """Return the names of the models that are here, served or not."""
        return sorted(path.parent.name for path in self.root.glob(f"*/{CARD}") if NAME.fullmatch(path.parent.name))

    def card(self, name: str) -> Card:
        """Check a model's files and return its card. **Raises** `InputError` for what cannot be used."""
        folder = self.folder(name)
        card = check(folder, self.root / BASES)
        if card.name != name:
            raise AdapterError(f"{folder / CARD} says that it is {card.name!r}; a folder is called as its model")
        if not (folder / PROFILE).is_file():
            raise AdapterError(f"{folder} has no {PROFILE}: measure the model before it is published")
        if (folder / PROFILE).stat().st_size > LARGEST_CARD_BYTES:
            raise AdapterError(f"{folder / PROFILE} is larger than {LARGEST_CARD_BYTES} bytes")
        return card

    def note(self, name: str, nodes: Sequence[str]) -> None:
        """Write down that a model is served, and where."""
        write_json(self.folder(name) / PUBLISHED, {"nodes": list(nodes)})

    def published(self, on_trouble: Callable[[str], None]) -> Iterator[Publication]:
        """Give what was noted and can be used; `on_trouble` hears of what cannot."""
        for name in self.names():
            if not (self.root / name / PUBLISHED).is_file():
                continue
            try:
                self.card(name)
                yield Publication(name, _nodes(self.root / name / PUBLISHED), self.folder(name))
            except (EdgegenError, OSError) as error:
                on_trouble(f"the published model {name!r} is left out: {error}")


def write_json(path: Path, value: Any) -> None:
    """Write a file so that whoever reads it finds the old one or the new one, whole."""
    handle, fresh = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(json.dumps(value, indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.chmod(fresh, 0o644)
        os.replace(fresh, path)
    except BaseException:
        os.unlink(fresh)
        raise


def _nodes(path: Path) -> tuple[str, ...]:
    if path.stat().st_size > LARGEST_CARD_BYTES:
        raise AdapterError(f"{path} has {path.stat().st_size} bytes; expected at most {LARGEST_CARD_BYTES}")
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))["nodes"]
        if not all(isinstance(node, str) for node in kept):
            raise TypeError("nodes are names")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise AdapterError(f"{path} is not a list of nodes: {error}") from None
    return tuple(kept)
