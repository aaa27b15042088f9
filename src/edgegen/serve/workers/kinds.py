"""Which kinds of workers there are: one row per kind, from a node's `worker` in the configuration to a worker.

A kind is one file beside this one; what it needs is imported when a node asks for it.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Literal

from edgegen.config import NodeSection, OpenAIWorkerSection, PullWorkerSection, RayWorkerSection
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


def _process(node: NodeSection, site: Site) -> AbstractWorker:
    if site.maker == "inside":
        return InstantWorker(node.name)
    return ProcessWorker(node.name, maker=site.maker, folders=site.folders)


def _engine(node: NodeSection, site: Site) -> AbstractWorker:
    del site
    assert isinstance(node.worker, OpenAIWorkerSection)
    return EngineWorker.of(node.name, node.worker)


def _pull(node: NodeSection, site: Site) -> AbstractWorker:
    del site
    assert isinstance(node.worker, PullWorkerSection)
    return PullWorker(node.name, grace_s=node.worker.grace)


def _ray(node: NodeSection, site: Site) -> AbstractWorker:
    from edgegen.serve.workers.ray_serve import RayWorker

    assert isinstance(node.worker, RayWorkerSection)
    maker = "instant" if site.maker == "inside" else site.maker
    return RayWorker(node.name, node.worker, models=node.models, maker=maker, folders=site.folders)


def _replay(node: NodeSection, site: Site) -> AbstractWorker:
    del site
    return ReplayWorker(node.name)


KINDS: dict[str, Callable[[NodeSection, Site], AbstractWorker]] = {
    "process": _process,
    "openai": _engine,
    "pull": _pull,
    "ray": _ray,
    "replay": _replay,
}


def make_worker(node: NodeSection, site: Site) -> AbstractWorker:
    """Return the worker, not opened yet, that a node's section describes. **Raises** `ConfigError`."""
    return KINDS[node.worker.kind](node, site)
