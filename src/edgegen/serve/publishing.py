"""A model joins the catalogue of a running gateway: checked, rehearsed, told to the workers, and then one event of the dispatcher.

Nothing that is under way is touched. The files are checked and the policy is asked about the larger catalogue in a thread, on a
policy of its own, so that what it compiles for it is compiled before the first request. One model comes at a time.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import structlog

from edgegen.config import Config, NodeSection
from edgegen.core.errors import InputError, UnknownNameError
from edgegen.core.profile import Profile
from edgegen.dispatch.catalog import Catalog
from edgegen.dispatch.measured import model_added
from edgegen.dispatch.messages import ModelAdded
from edgegen.dispatch.rehearsal import rehearse
from edgegen.generate.adapter_files import PROFILE
from edgegen.generate.shelf import Shelf
from edgegen.registry import load_policy
from edgegen.serve.intake import Intake
from edgegen.serve.problems import Problem
from edgegen.serve.runtime import Runtime
from edgegen.serve.views import model_view

log = structlog.get_logger(__name__)


class Publisher:
    """Puts models from a shelf into the catalogue of a runtime."""

    def __init__(self, config: Config, runtime: Runtime, intake: Intake):
        self._config, self._runtime, self._intake = config, runtime, intake
        folder = config.gateway.models_folder
        self._shelf = Shelf(Path(folder)) if folder else None
        self._one = asyncio.Lock()

    async def publish(self, name: str, nodes: Sequence[str] | None = None) -> dict[str, Any]:
        """Serve a model of the shelf from now on, and after a restart; return how it is listed.

        nodes: that may run it; without them, those that run its base. **Raises** `InputError` for what is wrong with the name,
        the files or the nodes, `Problem` (404, 409) for a model that is not there, or served already.
        """
        if self._shelf is None:
            raise InputError("this gateway takes no new models: its configuration has an empty gateway.models_folder")
        async with self._one:
            self._check_new(name)
            try:
                event = await asyncio.to_thread(self._prepare, self._shelf, name, nodes)
            except UnknownNameError as error:
                if error.kind != "model folder":
                    raise
                raise Problem(404, str(error), param="name", code="model_not_found") from None
            await asyncio.to_thread(self._shelf.note, name, list(event.speeds))
            self._runtime.add(event, str(self._shelf.folder(name).resolve()))
            self._intake.admit(name)
        log.info("a model was published", model=name, nodes=list(event.speeds))
        return model_view(self._runtime, event.spec)

    def _check_new(self, name: str) -> None:
        if name in self._runtime.dispatcher.catalog.models:
            text = f"the model {name!r} is served already; publish another one under another name"
            raise Problem(409, text, param="name", code="model_exists")

    def _prepare(self, shelf: Shelf, name: str, nodes: Sequence[str] | None) -> ModelAdded:
        """Check everything that may be wrong, and compile what has to be; runs in a thread."""
        card, fleet = shelf.card(name), self._runtime.dispatcher.fleet
        profile = Profile.load(shelf.folder(name) / PROFILE)
        event = model_added(self._config, fleet, name, profile, self._nodes(nodes, card.base))
        catalog = Catalog(fleet.with_model(event.spec, event.speeds, event.categories))
        rehearse(load_policy(self._runtime.policy).within(self._config.policy.budget), catalog)
        return event

    def _nodes(self, wanted: Sequence[str] | None, base: str) -> list[str]:
        able = [node for node in self._config.nodes if self._learns(node)]
        if wanted is None:
            found = [node.name for node in able if base in node.models]
            if found:
                return found
            raise InputError(
                f"no node runs its base {base!r} and takes new models; say which nodes are to run it:"
                f" {', '.join(node.name for node in able) or 'none takes new models'}",
                param="nodes",
            )
        for name in wanted:
            node = self._config.node(name) if name in {one.name for one in self._config.nodes} else None
            if node is None:
                raise UnknownNameError("node", name, [one.name for one in able], param="nodes")
            if node not in able:
                raise InputError(
                    f"node {name!r} takes no new models while it runs: its worker is of the kind {node.worker.kind!r}, which"
                    f" does not read this machine's files; nodes that do: {', '.join(one.name for one in able) or 'none'}",
                    param="nodes",
                )
        return list(dict.fromkeys(wanted))

    def _learns(self, node: NodeSection) -> bool:
        return self._runtime.roads.workers[node.name].abilities.learns
