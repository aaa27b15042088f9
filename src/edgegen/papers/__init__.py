"""Published systems, one file each, on top of the shared parts.

Every file opens with its citation and says what was read in the source, what was derived, and what was guessed. It has a
`CITATION`, and `claims(progress) -> list[Bar]`: the source's directional claims, checked on fixed seeds. A system that runs on the
simulator has a `SYSTEM` (`edgegen.sim.system`), too.
"""

import importlib
import pkgutil
from types import ModuleType

from edgegen.core.errors import UnknownNameError


def names() -> list[str]:
    """Return the names of all systems."""
    return sorted(found.name for found in pkgutil.iter_modules(__path__))


def load(name: str) -> ModuleType:
    """Return a system's module.

    **Raises** `UnknownNameError`.
    """
    if name not in names():
        raise UnknownNameError("paper", name, names())
    return importlib.import_module(f"{__name__}.{name}")


def simulated() -> dict[str, ModuleType]:
    """Return the systems that run on the simulator."""
    modules = {name: load(name) for name in names()}
    return {name: module for name, module in modules.items() if hasattr(module, "SYSTEM")}
