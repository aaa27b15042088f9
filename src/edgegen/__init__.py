"""Generative AI served at the network edge: decide where, on which model and with how many steps, then run it."""

import importlib

__version__ = "0.1.0"

_LAZY = {
    "Decision": "edgegen.core.decision",
    "State": "edgegen.core.state",
    "Ledger": "edgegen.core.ledger",
    "Profile": "edgegen.core.profile",
    "Curve": "edgegen.core.curve",
    "AbstractPolicy": "edgegen.core.policy",
    "HostPolicy": "edgegen.core.policy",
    "EdgegenError": "edgegen.core.errors",
    "load_policy": "edgegen.registry",
}

__all__ = [
    "AbstractPolicy",
    "Curve",
    "Decision",
    "EdgegenError",
    "HostPolicy",
    "Ledger",
    "Profile",
    "State",
    "__version__",
    "load_policy",
]


def __getattr__(name: str):
    """Import a public name when it is first used, so that `import edgegen` stays light."""
    if name not in _LAZY:
        raise AttributeError(f"module 'edgegen' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return list(__all__)
