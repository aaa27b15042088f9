"""From a configuration and what was measured about its models to the fleet that the live side works with."""

import dataclasses
from collections.abc import Mapping, Sequence

from edgegen.config import CATEGORIES, Config, NodeSection
from edgegen.core.profile import Profile, load_profile
from edgegen.dispatch.fleet import Fleet, Link, ModelSpec, NodeSpec, Speed


@dataclasses.dataclass(frozen=True)
class Measured:
    """What a profile says about a model: its quality anywhere, and its speed on the machine of the profile."""

    quality: tuple[tuple[float, ...], ...]  # per category and offered step count
    memory_bytes: float
    speed: Speed


def measured(profile: Profile, steps: Sequence[int]) -> Measured:
    """Read off a profile what a fleet needs, at these step counts."""
    quality = tuple(tuple(profile.quality_at(category, list(steps)).tolist()) for category in CATEGORIES)
    return Measured(
        quality=quality,
        memory_bytes=float(profile.memory_bytes),
        speed=Speed(profile.step_s_at(1), profile.fixed_s, profile.load_s),
    )


def build_fleet(config: Config, figures: Mapping[str, Measured] | None = None) -> Fleet:
    """Return the fleet of a configuration.

    `figures` are what was measured about each of its models by name; without them the profiles are read that the
    configuration names, or those that come with the package.
    """
    steps = tuple(config.gateway.steps)
    if figures is None:
        figures = {model.name: measured(load_profile(model.profile or model.name), steps) for model in config.models}
    models = tuple(
        ModelSpec(model.name, figures[model.name].quality, figures[model.name].memory_bytes) for model in config.models
    )
    nodes = tuple(_node(config, node, figures) for node in config.nodes)
    return Fleet(nodes, models, CATEGORIES, steps)


def _node(config: Config, node: NodeSection, figures: Mapping[str, Measured]) -> NodeSpec:
    link, pace = node.link, node.paced(config.gateway.pace)
    declared = pace or node.stands_alone  # a machine of its own is as fast as it is declared to be, unpadded
    steps = config.gateway.steps
    own = {name: measured(load_profile(profile), steps).speed for name, profile in node.profiles.items()}
    return NodeSpec(
        name=node.name,
        tier=node.tier,
        speeds={name: _speed(node, name, own.get(name, figures[name].speed), declared) for name in node.models},
        memory_bytes=node.memory,
        power_w=node.power,
        transmit_power_w=node.transmit_power,
        price_usd_per_s=node.price,
        link=Link(link.uplink, link.downlink, link.rtt, link.snr),
        paced=pace,
        adjustable_clock=node.adjustable_clock and pace,
    )


def _speed(node: NodeSection, model: str, own: Speed, declared: bool) -> Speed:
    """Return the declared speed, or that of the profile for a process that runs as fast as it can."""
    load_s = node.load_time.get(model, own.load_s)
    if not declared:
        return Speed(own.step_s, own.fixed_s, load_s)
    step_s = node.step_time.get(model, own.step_s * node.slowdown)
    return Speed(step_s, node.fixed_time.get(model, own.fixed_s * node.slowdown), load_s)
