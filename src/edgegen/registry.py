"""Policies by name. Built-in policies and those of other packages enter through the same door.

Another package adds a policy with an entry point in the group `edgegen.policies`, whose value is a class or a
function that returns a policy.
"""

import dataclasses
import functools
import importlib
import inspect
from importlib.metadata import entry_points

from edgegen.core.errors import InputError, UnknownNameError

GROUP = "edgegen.policies"
DEFAULT = "certified"
AGENT_SUFFIX = ".agent"

_BUILT_IN = {
    "planner": "edgegen.plan.joint:JointPlanner",
    "certified": "edgegen.plan.live:CertifiedPlanner",
    "all-local": "edgegen.plan.rules:AllLocal",
    "all-edge": "edgegen.plan.rules:AllEdge",
    "fixed-steps": "edgegen.plan.rules:FixedSteps",
    "round-robin": "edgegen.plan.rules:RoundRobin",
    "shortest-expected-delay": "edgegen.plan.rules:ShortestExpectedDelay",
    "greedy-quality": "edgegen.plan.rules:GreedyQuality",
    "greedy-cost": "edgegen.plan.rules:GreedyCost",
    "all-light": "edgegen.plan.in_turn:AllLight",
    "all-heavy": "edgegen.plan.in_turn:AllHeavy",
    "least-loaded": "edgegen.plan.in_turn:LeastLoaded",
    "earliest-deadline-first": "edgegen.plan.in_turn:EarliestDeadlineFirst",
    "threshold-cascade": "edgegen.plan.cascade:ThresholdCascade",
    "batch-denoising": "edgegen.plan.batches:BatchDenoising",
}


@dataclasses.dataclass(frozen=True)
class PolicyEntry:
    """A registered policy: its name, where it is, one sentence about it, and the options that it takes."""

    name: str
    target: str
    summary: str
    options: tuple[str, ...]


def _targets() -> dict[str, str]:
    found = {entry.name: entry.value for entry in entry_points(group=GROUP)}
    return {**found, **_BUILT_IN}


@functools.cache
def _load(target: str):
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def policies() -> list[PolicyEntry]:
    """Return every registered policy."""
    entries = []
    for name, target in _targets().items():
        factory = _load(target)
        summary = (inspect.getdoc(factory) or "").split("\n\n")[0].replace("\n", " ")
        entries.append(PolicyEntry(name, target, summary, tuple(inspect.signature(factory).parameters)))
    return entries


def policy_names() -> list[str]:
    """Return the registered names without importing the policies."""
    return list(_targets())


def load_policy(spec: str):
    """Return the policy for a name with options, such as `planner` or `fixed-steps:steps=8`, or for the path of a trained
    agent, `FILE.agent`.

    **Raises** `UnknownNameError` for a name that is not registered, `InputError` for options that the policy does not
    take, or values that it refuses.
    """
    if spec.endswith(AGENT_SUFFIX):
        return _load("edgegen.learn.live:load_agent")(spec)
    name, _, rest = spec.partition(":")
    targets = _targets()
    if name not in targets:
        raise UnknownNameError("policy", name, targets, param="policy")
    factory = _load(targets[name])
    known = inspect.signature(factory).parameters
    chosen = {}
    for part in filter(None, rest.split(",")):
        option, equals, text = part.partition("=")
        if not equals or option not in known:
            takes = ", ".join(known) or "no options"
            raise InputError(f"policy {name!r} takes {takes}; got {part!r}", param="policy")
        chosen[option] = _number(name, option, text)
    try:
        return factory(**chosen)
    except ValueError as error:
        raise InputError(f"policy {name!r}: {error}", param="policy") from None


def _number(policy: str, option: str, text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        raise InputError(f"policy {policy!r}: {option} must be a number, got {text!r}", param="policy") from None
