"""What is written down of a run: one record per round, the arrays after the last one, and a folder that survives a kill.

The folder holds `history.json` and the arrays that it names. The arrays are written first, under a new name; replacing
`history.json` is the one moment at which a round counts as done. A kill at any other moment leaves the round before.
"""

import dataclasses
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgegen.core.errors import InputError
from edgegen.tune.federation.learners import Arrays

HISTORY = "history.json"
VERSION = 1
MAY_CHANGE = {"rounds", "max_bytes", "plateau", "patience"}  # how long a run goes on may be decided again


@dataclass(frozen=True)
class Round:
    """One round: who took part, what it cost, and what it brought."""

    number: int  # from 1
    asked: int  # sites
    answered: int
    late: int  # had not answered at the deadline
    failed: int  # answered with an error, or with what cannot be used
    down_bytes: int  # serialised messages to the sites, for training and judging
    up_bytes: int
    down_payload_bytes: int  # the numbers in them
    up_payload_bytes: int
    elapsed_s: float
    changed: bool  # whether the arrays are new; False if too few answered to put anything together
    metrics: dict[str, float] = field(default_factory=dict)  # the sites' own while training, weighted mean
    quality: dict[str, float] = field(default_factory=dict)  # of the arrays after the round
    sites: dict[str, dict[str, float]] = field(default_factory=dict)  # the same numbers of each site, by its number
    epsilon: float | None = None  # spent up to here

    @property
    def wire_bytes(self) -> int:
        """Bytes in both directions."""
        return self.down_bytes + self.up_bytes


@dataclass(frozen=True)
class Progress:
    """How far a run has come."""

    arrays: Arrays  # global, after the last round
    history: tuple[Round, ...] = ()
    ended: str | None = None  # why, once it has


class RunFolder:
    """A run on disk. `settings` are those of the run: a folder of another run is not gone on with."""

    def __init__(self, path: str | Path, settings: dict[str, Any]):
        self.path = Path(path)
        self._settings = json.loads(json.dumps(settings))

    def write(self, progress: Progress) -> None:
        """Replace what the folder holds, in one moment."""
        self.path.mkdir(parents=True, exist_ok=True)
        name = f"arrays-{len(progress.history):05d}.npz"
        with _Whole(self.path / name) as file:
            np.savez(file, allow_pickle=False, **progress.arrays)
        record = {
            "version": VERSION,
            "settings": self._settings,
            "arrays": name,
            "names": list(progress.arrays),
            "ended": progress.ended,
            "history": [dataclasses.asdict(record) for record in progress.history],
        }
        with _Whole(self.path / HISTORY) as file:
            file.write(json.dumps(record, indent=1).encode())
        for old in self.path.glob("arrays-*.npz"):
            if old.name != name:
                old.unlink(missing_ok=True)

    def read(self) -> Progress | None:
        """Return how far the run has come, or None if it has not begun.

        **Raises** `InputError` if the folder belongs to a run with other settings, or holds something else.
        """
        if not (self.path / HISTORY).exists():
            return None
        try:
            record = json.loads((self.path / HISTORY).read_text())
            if changed := _changed(record["settings"], self._settings):
                raise InputError(
                    f"{self.path} holds a run with other settings ({', '.join(changed)}); go on with the same ones, or"
                    " choose another folder",
                    param="folder",
                )
            with np.load(self.path / record["arrays"], allow_pickle=False) as file:
                arrays = {name: file[name] for name in record["names"]}
            history = tuple(Round(**entry) for entry in record["history"])
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise InputError(f"{self.path} does not hold a run that can be read: {error}", param="folder") from None
        return Progress(arrays, history, record["ended"])


def _changed(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Return the settings that are not as they were, of those that decide what a round does."""
    return sorted(name for name in {*old, *new} - MAY_CHANGE if old.get(name) != new.get(name))


class _Whole:
    """A file that appears whole under its name, or not at all."""

    def __init__(self, path: Path):
        self._path, self._fresh = path, path.with_name(path.name + ".new")

    def __enter__(self):
        self._file = self._fresh.open("wb")
        return self._file

    def __exit__(self, kind, error, trace) -> None:
        with self._file:
            self._file.flush()
            os.fsync(self._file.fileno())
        if kind is None:
            os.replace(self._fresh, self._path)
        else:
            self._fresh.unlink(missing_ok=True)
