"""The directional claims of the published systems that edgegen carries, checked on fixed seeds."""

import importlib
import pkgutil
from collections.abc import Callable

from edgegen.core.result import Bar

NAME = "papers"
SUMMARY = "what the published systems claim against their benchmarks, and how near to the optimum our versions come"


def run(progress: Callable[[str], None]) -> list[Bar]:
    """Check every paper's claims; takes about a minute on one core."""
    from edgegen import papers

    names = sorted(found.name for found in pkgutil.iter_modules(papers.__path__))
    modules = [importlib.import_module(f"{papers.__name__}.{name}") for name in names]
    return [bar for module in modules for bar in module.claims(progress)]
