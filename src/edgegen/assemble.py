"""From a configuration and what was measured about its models to the fleet that the live side works with."""

import dataclasses
from collections.abc import Mapping

from edgegen.config import CATEGORIES, Config, NodeSection
from edgegen.dispatch.fleet import Fleet, Link, ModelSpec, NodeSpec, Speed


@dataclasses.dataclass(frozen=True)
class Measured:
    """What a profile says about a model: its quality anywhere, and its speed on the machine of the profile."""

    quality: tuple[tuple[float, ...], ...]  # per category and offered step count
    memory_bytes: float
    speed: Speed


def build_fleet(config: Config, measured: Mapping[str, Measured]) -> Fleet:
    """Return the fleet of a configuration, given what was measured about each of its models by name."""
    models = tuple(
        ModelSpec(model.name, measured[model.name].quality, measured[model.name].memory_bytes)
        for model in config.models
    )
    nodes = tuple(_node(config, node, measured) for node in config.nodes)
    return Fleet(nodes, models, CATEGORIES, tuple(config.gateway.steps))


def _node(config: Config, node: NodeSection, measured: Mapping[str, Measured]) -> NodeSpec:
    link = node.link
    return NodeSpec(
        name=node.name,
        tier=node.tier,
        speeds={name: _speed(node, name, measured[name].speed, config.gateway.pace) for name in node.models},
        memory_bytes=node.memory,
        power_w=node.power,
        transmit_power_w=node.transmit_power,
        price_usd_per_s=node.price,
        link=Link(link.uplink, link.downlink, link.rtt, link.snr),
        paced=config.gateway.pace,
        adjustable_clock=node.adjustable_clock and config.gateway.pace,
    )


def _speed(node: NodeSection, model: str, own: Speed, pace: bool) -> Speed:
    """Return the declared speed when nodes are paced, otherwise that of the profile."""
    load_s = node.load_time.get(model, own.load_s)
    if not pace:
        return Speed(own.step_s, own.fixed_s, load_s)
    step_s = node.step_time.get(model, own.step_s * node.slowdown)
    return Speed(step_s, node.fixed_time.get(model, own.fixed_s * node.slowdown), load_s)
