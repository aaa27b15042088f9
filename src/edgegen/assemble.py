"""From a configuration and what was measured about its models to the fleet that the live side works with."""

from collections.abc import Callable, Mapping
from pathlib import Path

from edgegen.config import Config, ModelSection, NodeSection
from edgegen.core.profile import load_profile
from edgegen.dispatch.fleet import Fleet, Link, ModelSpec, NodeSpec
from edgegen.dispatch.measured import Measured, categories_of, declares, measured, speed_on
from edgegen.generate.shelf import Shelf

__all__ = ["Measured", "build_fleet", "measured", "with_published"]


def build_fleet(config: Config, figures: Mapping[str, Measured] | None = None) -> Fleet:
    """Return the fleet of a configuration.

    `figures` are what was measured about each of its models by name; without them the profiles are read that the
    configuration names, or those that come with the package.
    """
    steps = tuple(config.gateway.steps)
    if figures is None:
        figures = {model.name: measured(load_profile(model.profile or model.name), steps) for model in config.models}
    categories = categories_of([figures[model.name] for model in config.models])
    models = tuple(
        ModelSpec(model.name, figures[model.name].rows(categories), figures[model.name].memory_bytes)
        for model in config.models
    )
    nodes = tuple(_node(config, node, figures) for node in config.nodes)
    return Fleet(nodes, models, categories, steps)


def with_published(config: Config, on_trouble: Callable[[str], None]) -> Config:
    """Return a configuration with the models that a gateway of it had published, on the nodes that are still there.

    `on_trouble` hears of models that cannot be used any more; they are left out.
    """
    if not config.gateway.models_folder:
        return config
    names = {model.name for model in config.models}
    for found in Shelf(Path(config.gateway.models_folder)).published(on_trouble):
        nodes = {node.name for node in config.nodes} & set(found.nodes)
        if found.name in names or not nodes:
            why = "the configuration has a model of that name" if found.name in names else "its nodes are gone"
            on_trouble(f"the published model {found.name!r} is left out: {why}")
            continue
        model = ModelSection(name=found.name, profile=str(found.profile), folder=str(found.folder.resolve()))
        sections = [
            node.model_copy(update={"models": [*node.models, found.name]}) if node.name in nodes else node
            for node in config.nodes
        ]
        config = config.model_copy(update={"models": [*config.models, model], "nodes": sections})
    return config


def _node(config: Config, node: NodeSection, figures: Mapping[str, Measured]) -> NodeSpec:
    link, pace = node.link, node.paced(config.gateway.pace)
    steps = config.gateway.steps
    own = {name: measured(load_profile(profile), steps).speed for name, profile in node.profiles.items()}
    return NodeSpec(
        name=node.name,
        tier=node.tier,
        speeds={
            name: speed_on(node, name, own.get(name, figures[name].speed), declares(config, node))
            for name in node.models
        },
        memory_bytes=node.memory,
        power_w=node.power,
        transmit_power_w=node.transmit_power,
        price_usd_per_s=node.price,
        link=Link(link.uplink, link.downlink, link.rtt, link.snr),
        paced=pace,
        adjustable_clock=node.adjustable_clock and pace,
    )
