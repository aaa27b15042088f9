"""From what was measured about a model to what a fleet knows of it: its quality anywhere, its speed on each node."""

import dataclasses
from collections.abc import Mapping, Sequence

from edgegen.config import CATEGORIES, Config, NodeSection
from edgegen.core.profile import ANY, Profile
from edgegen.dispatch.fleet import Fleet, ModelSpec, Speed
from edgegen.dispatch.messages import ModelAdded


@dataclasses.dataclass(frozen=True)
class Measured:
    """What a profile says about a model: its quality anywhere, and its speed on the machine of the profile."""

    # Per category of the configuration and offered step count; empty: it cannot draw such prompts.
    quality: tuple[tuple[float, ...], ...]
    memory_bytes: float
    speed: Speed
    others: Mapping[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)  # likewise, of more categories

    def rows(self, categories: Sequence[str]) -> tuple[tuple[float, ...], ...]:
        """Return the quality per category of a fleet, without empty rows at the end."""
        rows = [*self.quality, *(tuple(self.others.get(name, ())) for name in categories[len(self.quality) :])]
        while rows and not rows[-1]:
            rows.pop()
        return tuple(rows)


def measured(profile: Profile, steps: Sequence[int]) -> Measured:
    """Read off a profile what a fleet needs, at these step counts."""

    def row(category: str) -> tuple[float, ...]:
        return tuple(profile.quality_at(category, list(steps)).tolist())

    known = profile.quality
    return Measured(
        quality=tuple(row(category) if category in known or ANY in known else () for category in CATEGORIES),
        memory_bytes=float(profile.memory_bytes),
        speed=Speed(profile.step_s_at(1), profile.fixed_s, profile.load_s),
        others={category: row(category) for category in known if category not in (*CATEGORIES, ANY)},
    )


def categories_of(figures: Sequence[Measured], known: Sequence[str] = CATEGORIES) -> tuple[str, ...]:
    """Return the known categories, and behind them those that models bring."""
    return tuple(dict.fromkeys([*known, *(name for one in figures for name in one.others)]))


def speed_on(node: NodeSection, model: str, own: Speed, declared: bool) -> Speed:
    """Return the declared speed, or that of the profile for a process that runs as fast as it can."""
    load_s = node.load_time.get(model, own.load_s)
    if not declared:
        return Speed(own.step_s, own.fixed_s, load_s)
    step_s = node.step_time.get(model, own.step_s * node.slowdown)
    return Speed(step_s, node.fixed_time.get(model, own.fixed_s * node.slowdown), load_s)


def declares(config: Config, node: NodeSection) -> bool:
    """Tell whether a node is as fast as it is declared to be: a machine of its own, or one that is paced."""
    return node.paced(config.gateway.pace) or node.stands_alone


def model_added(config: Config, fleet: Fleet, name: str, profile: Profile, nodes: Sequence[str]) -> ModelAdded:
    """Return the event that a model is there, now, on these nodes of a gateway."""
    figures = measured(profile, fleet.steps)
    categories = categories_of([figures], fleet.categories)
    sections = [config.node(node) for node in nodes]
    speeds = {one.name: speed_on(one, name, figures.speed, declares(config, one)) for one in sections}
    return ModelAdded(ModelSpec(name, figures.rows(categories), figures.memory_bytes), speeds, categories)
