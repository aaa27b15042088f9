"""Everything that a run in processes of its own is started with, as files: what sites may know, and what only the server needs.

Sites get the learner's factory and its options, by Flower's run configuration. The server reads `launch.json` in the run's
folder: settings, how many sites, and by name what measures and what accounts. The first arrays lie beside it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Context

from edgegen.core.errors import InputError
from edgegen.tune.federation.learners import AbstractLearner, Arrays, load
from edgegen.tune.federation.records import RunFolder
from edgegen.tune.federation.rounds import Around
from edgegen.tune.federation.settings import FederatedSettings, parse

LAUNCH, START = "launch.json", "start.npz"
SERVER_PID, ERROR = "server.pid", "error.txt"  # of the ServerApp, for who watches it


@dataclass(frozen=True)
class Launch:
    """One run of the Flower app. Functions are named as `module:function` and called with `options`."""

    learner: str  # makes a site's learner: (site, sites, options) -> AbstractLearner
    sites: int
    settings: FederatedSettings
    folder: Path  # of the run: its history, its arrays, its logs
    options: Mapping[str, Any] = field(default_factory=dict)  # plain values for the functions
    judge: str | None = None  # options -> judge of the global arrays, at the server
    epsilon: str | None = None  # (settings, options) -> epsilon of so many rounds
    combine: str | None = None  # options -> what makes the new arrays in mode 'fedex'
    wait_s: float = 600.0  # how long sites are waited for

    def write(self, start: Arrays) -> None:
        """Put the launch and the first arrays into the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        np.savez(self.folder / START, allow_pickle=False, **{n: np.asarray(v, np.float32) for n, v in start.items()})
        plain = {name: value for name, value in vars(self).items() if name not in ("settings", "folder", "options")}
        plain |= {
            "settings": self.settings.model_dump(mode="json"),
            "options": dict(self.options),
            "names": list(start),
        }
        (self.folder / LAUNCH).write_text(json.dumps(plain, indent=1))

    def run_folder(self) -> RunFolder:
        """Return where the run is written down."""
        return RunFolder(self.folder, run_identity(self.settings, self.sites, self.options))

    def run_config(self) -> dict[str, str | int]:
        """Return what the ServerApp and the ClientApps are told."""
        return {
            "learner": self.learner,
            "sites": self.sites,
            "options": json.dumps(dict(self.options)),
            "folder": str(self.folder.resolve()),
        }

    def around(self) -> Around:
        """Return what stands around the run, with the named functions loaded."""
        return Around(
            judge=load(self.judge, param="judge")(self.options) if self.judge else None,
            epsilon=load(self.epsilon, param="epsilon")(self.settings, self.options) if self.epsilon else None,
            combine=load(self.combine, param="combine")(self.options) if self.combine else None,
            wait_s=self.wait_s,
            expected=self.sites,
        )


def read_launch(folder: str | Path) -> tuple[Launch, Arrays]:
    """Return the launch that a folder holds, and the first arrays.

    **Raises** `InputError` if there is none.
    """
    path = Path(folder)
    try:
        plain = json.loads((path / LAUNCH).read_text())
        settings, names = parse(plain.pop("settings")), plain.pop("names")
        with np.load(path / START, allow_pickle=False) as file:
            start = {name: file[name] for name in names}
        return Launch(settings=settings, folder=path, **plain), start
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} holds no launch of a federated run: {error}", param="folder") from None


def learner_of(context: Context) -> AbstractLearner:
    """Return the learner of the site that this context belongs to."""
    site = int(context.node_config["partition-id"])
    options = json.loads(str(context.run_config["options"]))
    return load(str(context.run_config["learner"]))(site, int(context.run_config["sites"]), options)


def run_identity(settings: FederatedSettings, sites: int, options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what a run folder is recognised by."""
    return {**settings.model_dump(mode="json"), "sites": sites, "options": dict(options or {})}
