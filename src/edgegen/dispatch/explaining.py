"""Decisions in words: why nothing fits, and what a plan comes to."""

import dataclasses

from edgegen.dispatch.choices import Option, Table
from edgegen.dispatch.deciding import Choice


def refusal(table: Table, at: int = 0) -> str:
    """Say why no option meets the limits, by the one that comes closest."""
    option = table.best(at)
    if option is None:
        return "no node that may run this request is up"
    node, model, steps = table.names(at, option)
    return f"no node, model and steps meet these limits; closest: {node} with {model} at {steps} steps " + (
        table.shortfall(at, option)
    )


def verdict(table: Table, choice: Choice, policy: str) -> dict:
    """Return the part of a plan's answer that is about the chosen option."""
    option: Option | None = choice.option
    if option is None:
        word = "refuses it" if choice.refused else "lets it wait"
        return {"decision": None, "reason": f"the policy {policy} {word}", "offer": table.offer(0)}
    node, model, steps = table.names(0, option)
    split = table.split(0, option, clock=choice.clock)
    return {
        "decision": {
            "node": node,
            "tier": table.catalog.node(node).tier,
            "model": model,
            "steps": steps,
            "compute_share": choice.clock,
        },
        "predicted": {**dataclasses.asdict(split), "total_s": split.total_s},
        "quality_estimate": table.quality(0, option),
        "reason": table.reason(0, option, split.total_s, policy, choice.note),
    }
