"""What Flower's programs need on disk: the app's folder, a home with one connection, and an environment without the network."""

import json
import os
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from edgegen.core.errors import InputError

CONNECTION = "edgegen"
PACKAGE = "edgegen_federated"
MARK = "EDGEGEN_FEDERATION"  # in the environment of every process of a run, so that all of them can be found

# Flower reports use, looks for newer versions and installs an app's dependencies, each over the network, unless told not to.
OFFLINE = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
}

_APP = """# Written by edgegen for one run.
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "federated"
version = "{version}"
description = "Federated fine-tuning with edgegen"
license = "Apache-2.0"
dependencies = ["flwr>=1.41,<1.42"]

[tool.flwr.app]
publisher = "edgegen"

[tool.flwr.app.components]
serverapp = "{package}.server:app"
clientapp = "{package}.client:app"

[tool.flwr.app.config]
{config}
"""
_MODULE = '"""Written by edgegen."""\n\nfrom edgegen.tune.federation.app import {part} as app\n\n__all__ = ["app"]\n'


def write_app(folder: Path, run_config: Mapping[str, str | int | float]) -> Path:
    """Write the Flower app with this configuration into `folder/app`, and return where it is."""
    from edgegen import __version__

    app = folder / "app"
    shutil.rmtree(app, ignore_errors=True)
    (app / PACKAGE).mkdir(parents=True)
    # A JSON string is a TOML string, and a JSON number a TOML number.
    config = "\n".join(f"{name} = {json.dumps(value)}" for name, value in run_config.items())
    (app / "pyproject.toml").write_text(_APP.format(version=__version__, package=PACKAGE, config=config))
    (app / PACKAGE / "__init__.py").write_text('"""Written by edgegen."""\n')
    for part in ("client", "server"):
        (app / PACKAGE / f"{part}.py").write_text(_MODULE.format(part=part))
    return app


def write_home(folder: Path, address: str, authority: Path | None) -> Path:
    """Write a home for Flower's command line that knows one connection, and return it; the user's own is left alone."""
    home = folder / "flower"
    home.mkdir(parents=True, exist_ok=True)
    trust = f"root-certificates = {json.dumps(str(authority.resolve()))}" if authority else "insecure = true"
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "{CONNECTION}"\n\n[superlink.{CONNECTION}]\naddress = {json.dumps(address)}\n{trust}\n'
    )
    return home


def environment(home: Path, mark: str) -> dict[str, str]:
    """Return the environment of a run's processes: offline, with Flower's programs found, and what we can import importable."""
    return {
        **os.environ,
        **OFFLINE,
        "FLWR_HOME": str(home.resolve()),
        "PATH": os.pathsep.join([str(scripts()), os.environ.get("PATH", os.defpath)]),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "NO_PROXY": ",".join(filter(None, [os.environ.get("NO_PROXY"), "127.0.0.1", "localhost", "::1"])),
        MARK: mark,
    }


def scripts() -> Path:
    """Return the folder of Flower's programs. **Raises** `InputError` if they are not installed."""
    beside = Path(sysconfig.get_path("scripts"))
    if (beside / "flower-superlink").exists():
        return beside
    found = shutil.which("flower-superlink")
    if found is None:
        raise InputError("Flower's programs are not installed; install edgegen[federated]")
    return Path(found).parent
