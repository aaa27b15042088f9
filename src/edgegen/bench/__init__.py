"""The bars that edgegen holds itself to, measured. One file per `edgegen bench NAME`.

A benchmark module has a `SUMMARY` and `run(progress) -> list[Bar]`; `progress` is called with a line of text now and then.
"""

import dataclasses
import importlib
import os
import pkgutil
from collections.abc import Callable
from types import ModuleType

from edgegen.core.errors import UnknownNameError
from edgegen.core.provenance import Facts, machine
from edgegen.core.result import Bar


@dataclasses.dataclass(frozen=True)
class Report:
    """The bars of one benchmark and where they were measured."""

    name: str
    bars: list[Bar]
    provenance: Facts

    def to_dict(self) -> dict:
        """Return the report as plain data for JSON."""
        return {
            "benchmark": self.name,
            "bars": [bar.to_dict() for bar in self.bars],
            "provenance": self.provenance,
        }


def benchmarks() -> dict[str, ModuleType]:
    """Return every benchmark by name."""
    names = sorted(found.name for found in pkgutil.iter_modules(__path__) if not found.name.startswith("_"))
    return {name: importlib.import_module(f"{__name__}.{name}") for name in names}


def measure(name: str, *, progress: Callable[[str], None]) -> Report:
    """Run one benchmark.

    **Raises** `UnknownNameError` for a name that is not a benchmark.
    """
    known = benchmarks()
    if name not in known:
        raise UnknownNameError("benchmark", name, known)
    before = os.getloadavg()[0]
    bars = known[name].run(progress)
    return Report(name, bars, machine(before))
