"""What the looking routes answer, gathered from the dispatcher, the store and the registry."""

from typing import Any

from edgegen.dispatch.fleet import ModelSpec
from edgegen.registry import policies
from edgegen.serve.runtime import Runtime
from edgegen.serve.store import Record


def nodes_view(runtime: Runtime) -> dict[str, Any]:
    """Return the machines as they stand now."""
    return runtime.nodes()


def models_view(runtime: Runtime) -> dict[str, Any]:
    """Return the models in OpenAI's shape, with what was measured about them."""
    return {"object": "list", "data": [model_view(runtime, model) for model in runtime.dispatcher.fleet.models]}


def model_view(runtime: Runtime, model: ModelSpec) -> dict[str, Any]:
    """Return one model as it is listed."""
    fleet = runtime.dispatcher.fleet
    rows = zip(fleet.categories, model.quality, strict=False)
    return {
        "id": model.name,
        "object": "model",
        "created": int(runtime.began),
        "owned_by": "edgegen",
        "edgegen": {
            "nodes": [node.name for node in fleet.nodes if model.name in node.speeds],
            "steps": list(fleet.steps),
            "quality": {category: list(row) for category, row in rows if row},
            "memory_bytes": model.memory_bytes,
        },
    }


def policies_view(current: str) -> dict[str, Any]:
    """Return the policies by name; `current` is the one that decides here."""
    return {
        "current": current,
        "data": [
            {
                "name": entry.name,
                "summary": entry.summary,
                "options": list(entry.options),
                "current": current.partition(":")[0] == entry.name,
            }
            for entry in policies()
        ],
    }


def story_view(record: Record) -> dict[str, Any]:
    """Return everything that is known about one picture."""
    return {
        **record.listed(),
        "group": record.group,
        "offer": record.offer,
        "decision": record.decision,
        "state_digest": record.digest,
        "compute_s": record.compute_s,
        "behind_s": record.behind_s,
        "events": record.story,
    }
