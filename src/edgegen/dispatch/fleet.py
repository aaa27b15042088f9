"""What the live side knows about its machines and models: plain data with names, complete enough for a journal."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

from edgegen.core.errors import InputError, UnknownNameError

Tier = Literal["device", "edge", "cloud"]
TIERS: tuple[str, ...] = ("device", "edge", "cloud")


@dataclasses.dataclass(frozen=True)
class Link:
    """The path between a node and the devices. One transfer at a time and direction, at the full rate."""

    uplink_bps: float = math.inf
    downlink_bps: float = math.inf
    rtt_s: float = 0.0
    snr: float = math.inf  # over the whole band; inf = a share of the band carries that share of the rate

    def through(self, other: "Link") -> "Link":
        """Return the path over both: the slower rate, the sum of the round trips."""
        return Link(
            min(self.uplink_bps, other.uplink_bps),
            min(self.downlink_bps, other.downlink_bps),
            self.rtt_s + other.rtt_s,
            min(self.snr, other.snr),
        )


@dataclasses.dataclass(frozen=True)
class Speed:
    """What one picture of one model takes on one node."""

    step_s: float  # one denoising step
    fixed_s: float  # outside of the steps: text encoder and decoder
    load_s: float  # bringing the model into memory


@dataclasses.dataclass(frozen=True)
class NodeSpec:
    """One machine that can generate. Devices are also where requests come from."""

    name: str
    tier: Tier
    speeds: dict[str, Speed]  # per model that the node can run
    memory_bytes: float
    power_w: float  # while generating
    transmit_power_w: float = 0.0  # of a device's radio while sending
    price_usd_per_s: float = 0.0  # of a second of generation
    link: Link = Link()
    paced: bool = False  # every step is padded to `Speed.step_s`
    adjustable_clock: bool = False  # a device whose clock may be lowered to save energy

    @property
    def emulated(self) -> tuple[str, ...]:
        """What about this node is emulated from declared figures and not physically there."""
        path = {"device": (), "edge": ("radio",), "cloud": ("wide-area link",)}[self.tier]
        return (("pace",) if self.paced else ()) + path + ("power",)


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """What a model gives and needs anywhere."""

    name: str
    # Expected quality per category and offered step count; an empty row, or none, is of prompts that it cannot draw.
    quality: tuple[tuple[float, ...], ...]
    memory_bytes: float

    def draws(self, category: int) -> bool:
        """Tell whether it can draw prompts of a category, by its position in the fleet's."""
        return category < len(self.quality) and bool(self.quality[category])


@dataclasses.dataclass(frozen=True)
class Fleet:
    """All nodes and models, the prompt categories and the step counts that are offered (ascending)."""

    nodes: tuple[NodeSpec, ...]
    models: tuple[ModelSpec, ...]
    categories: tuple[str, ...]
    steps: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for a journal's first line."""
        return dataclasses.asdict(self)

    def with_model(
        self, model: ModelSpec, speeds: Mapping[str, Speed], categories: tuple[str, ...] | None = None
    ) -> "Fleet":
        """Return this fleet with one more model behind its others, on these nodes.

        categories: those of this fleet, and behind them those that come with the model. **Raises** `InputError`.
        """
        categories = self.categories if categories is None else categories
        if any(known.name == model.name for known in self.models):
            raise InputError(f"there is a model named {model.name!r} already; names must differ", param="name")
        if categories[: len(self.categories)] != self.categories:
            raise InputError(f"categories must begin with {', '.join(self.categories)}, got {', '.join(categories)}")
        names = [node.name for node in self.nodes]
        for name in speeds:
            if name not in names:
                raise UnknownNameError("node", name, names, param="nodes")
        nodes = tuple(
            dataclasses.replace(node, speeds={**node.speeds, model.name: speeds[node.name]})
            if node.name in speeds
            else node
            for node in self.nodes
        )
        return Fleet(nodes, (*self.models, model), categories, self.steps)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Fleet":
        """Read back what `to_dict` wrote (after JSON: lists for tuples)."""
        return cls(
            nodes=tuple(_node(entry) for entry in data["nodes"]),
            models=tuple(model_from(entry) for entry in data["models"]),
            categories=tuple(data["categories"]),
            steps=tuple(int(count) for count in data["steps"]),
        )


def _node(entry: dict[str, Any]) -> NodeSpec:
    speeds = {name: Speed(**speed) for name, speed in entry["speeds"].items()}
    return NodeSpec(**{**entry, "speeds": speeds, "link": Link(**entry["link"])})


def model_from(entry: dict[str, Any]) -> ModelSpec:
    """Read a model back from plain data (after JSON: lists for tuples)."""
    return ModelSpec(**{**entry, "quality": tuple(tuple(row) for row in entry["quality"])})
