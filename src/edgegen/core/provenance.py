"""Where, when and by what figures and tables were made, so that a file can be traced to the run that wrote it."""

import datetime as dt
import hashlib
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgegen import __version__

Facts = dict[str, str | int | float | bool]


def machine(load_before: float) -> Facts:
    """Return where and when something was measured that began at this load."""
    return {
        "edgegen": __version__,
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "load_before": round(load_before, 2),
        "load_after": round(os.getloadavg()[0], 2),
    }


def of_run(config: Mapping[str, Any], *, seed: int) -> Facts:
    """Return what a file must say of the run that writes it; `config` is plain data that decides the result."""
    text = json.dumps(config, sort_keys=True)
    facts = machine(os.getloadavg()[0])
    del facts["load_after"]  # a run that writes as it goes has not ended
    return {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        **facts,
        "revision": revision(),
        "seed": seed,
        "config": text,
        "config_sha256": hashlib.sha256(text.encode()).hexdigest(),
    }


def revision() -> str:
    """Return the git revision of the code that runs, with a plus where files differ from it; empty outside of a checkout."""
    package = Path(__file__).parents[1]

    def git(*words: str) -> str:
        command = ["git", "-C", str(package), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")  # a package that is installed inside of another checkout
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return ""
