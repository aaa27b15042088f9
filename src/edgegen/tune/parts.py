"""What sites and server send each other: an adapter, the whole network, or a part of it.

ffa, fedit, fedex    adapters (see `adapters`)
full                 every weight of the network: FedAvg (McMahan et al., arXiv 1602.05629)
decoder              the output half only; the rest stays as it was in the base (UDec of FedDiffuse, arXiv 2406.12575)
split                every site trains all and sends one of the two halves, by turns (USplit of the same)
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from edgegen.core.errors import UnknownNameError
from edgegen.tune import adapters
from edgegen.tune.adapters import Arrays, Lora

CHANGE = ".base"  # `<layer>.base` is what `fedex` adds to frozen weights
PARTS = ("full", "decoder", "split")
# Beginnings of the names of the input half of a UNet; all else is its output half.
INPUT_HALF = ("conv_in", "time_", "add_", "class_embedding", "down_blocks", "pos_embed", "context_embedder")


class AbstractParts(abc.ABC):
    """Knows which arrays of a network travel."""

    @abc.abstractmethod
    def prepare(self, network: Any) -> None:
        """Make a network ready: wrap it, and say which of its weights train."""

    @abc.abstractmethod
    def start(self, network: Any) -> Arrays:
        """Return what the server sends in the first round."""

    @abc.abstractmethod
    def put(self, network: Any, arrays: Mapping[str, np.ndarray]) -> None:
        """Take in what the server sent."""

    @abc.abstractmethod
    def get(self, network: Any, *, site: int, turn: int) -> Arrays:
        """Return what a site sends in a round."""


class AdapterParts(AbstractParts):
    """Only adapters travel; the base is known to everybody by its hash."""

    def __init__(self, lora: Lora) -> None:
        self.lora = lora
        self._added: Arrays = {}

    def prepare(self, network: Any) -> None:
        adapters.wrap(network, self.lora)

    def start(self, network: Any) -> Arrays:
        return adapters.get(network, self.lora.mode)

    def put(self, network: Any, arrays: Mapping[str, np.ndarray]) -> None:
        sent = {name.removesuffix(CHANGE): array for name, array in arrays.items() if name.endswith(CHANGE)}
        zero = {name: np.zeros_like(array) for name, array in sent.items()}
        adapters.add_to_base(network, {name: array - self._added.get(name, zero[name]) for name, array in sent.items()})
        self._added = self._added | sent
        adapters.put(network, {name: array for name, array in arrays.items() if not name.endswith(CHANGE)})

    def get(self, network: Any, *, site: int, turn: int) -> Arrays:
        del site, turn
        return adapters.get(network, self.lora.mode)


class WeightParts(AbstractParts):
    """Weights of the network itself travel."""

    def __init__(self, part: str) -> None:
        if part not in PARTS:
            raise UnknownNameError("part of a network", part, PARTS, param="mode")
        self.part = part

    def prepare(self, network: Any) -> None:
        for name, weight in network.named_parameters():
            weight.requires_grad_(self.part != "decoder" or not of_input_half(name))

    def start(self, network: Any) -> Arrays:
        return {name: weight.detach().numpy().copy() for name, weight in _trained(network)}

    def put(self, network: Any, arrays: Mapping[str, np.ndarray]) -> None:
        weights = dict(_trained(network))
        with torch.no_grad():
            for name, array in arrays.items():
                weights[name].copy_(torch.from_numpy(array))

    def get(self, network: Any, *, site: int, turn: int) -> Arrays:
        arrays = self.start(network)
        if self.part != "split":
            return arrays
        first = (site + turn) % 2 == 0
        return {name: array for name, array in arrays.items() if of_input_half(name) == first}


def parts_of(mode: str, lora: Lora) -> AbstractParts:
    """Return what travels in a mode. **Raises** `UnknownNameError`."""
    if mode in adapters.MODES:
        return AdapterParts(lora)
    if mode not in PARTS:
        raise UnknownNameError("mode", mode, (*adapters.MODES, *PARTS), param="mode")
    return WeightParts(mode)


def of_input_half(name: str) -> bool:
    """Tell whether a weight belongs to the input half of its network."""
    return name.startswith(INPUT_HALF)


def count_bytes(arrays: Mapping[str, np.ndarray], bits: int = 32) -> int:
    """Return the payload of arrays at so many bits per number."""
    return sum(array.size for array in arrays.values()) * bits // 8


def _trained(network: Any) -> list[tuple[str, Any]]:
    return [(name, weight) for name, weight in network.named_parameters() if weight.requires_grad]
