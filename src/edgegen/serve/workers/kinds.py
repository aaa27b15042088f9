"""Which kinds of workers there are: one row per kind, from a node's `worker` in the configuration to a worker.

A kind is one file beside this one; what it needs is imported when a node asks for it.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

from edgegen.config import (
    OpenAIWorkerSection,
    ProcessWorkerSection,
    PullWorkerSection,
    ReplayWorkerSection,
)
from edgegen.serve.workers.client import ProcessWorker
from edgegen.serve.workers.instant import InstantWorker
from edgegen.serve.workers.openai_engine import EngineWorker
from edgegen.serve.workers.protocol import AbstractWorker
from edgegen.serve.workers.pull import PullWorker
from edgegen.serve.workers.replay import ReplayWorker

# `builtin` and `instant` are processes that make real pictures and a ready one; `inside` answers in this process.
Maker = Literal["builtin", "instant", "inside"]


@dataclasses.dataclass(frozen=True)
class Site:
    """What all workers of a gateway share."""

    maker: Maker = "builtin"
    folders: Mapping[str, str] = dataclasses.field(default_factory=dict)  # of models that are not built in


def _process(node: str, section: ProcessWorkerSection, site: Site) -> AbstractWorker:
    del section
    return (
        InstantWorker(node) if site.maker == "inside" else ProcessWorker(node, maker=site.maker, folders=site.folders)
    )


def _engine(node: str, section: OpenAIWorkerSection, site: Site) -> AbstractWorker:
    del site
    return EngineWorker.of(node, section)


def _pull(node: str, section: PullWorkerSection, site: Site) -> AbstractWorker:
    del site
    return PullWorker(node, grace_s=section.grace)


def _replay(node: str, section: ReplayWorkerSection, site: Site) -> AbstractWorker:
    del section, site
    return ReplayWorker(node)


KINDS: dict[str, Callable[[str, Any, Site], AbstractWorker]] = {
    "process": _process,
    "openai": _engine,
    "pull": _pull,
    "replay": _replay,
}


def make_worker(node: str, section: Any, site: Site) -> AbstractWorker:
    """Return the worker, not opened yet, that a node's section describes."""
    return KINDS[section.kind](node, section, site)
