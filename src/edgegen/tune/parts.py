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
from edgegen.tune.base import Base

CHANGE = ".base"  # `<layer>.base` is what `fedex` adds to frozen weights
WORDS = "words"  # the vectors of new words
PARTS = ("full", "decoder", "split")
# Beginnings of the names of the input half of a UNet; all else is its output half.
INPUT_HALF = ("conv_in", "time_", "add_", "class_embedding", "down_blocks", "pos_embed", "context_embedder")


class AbstractParts(abc.ABC):
    """Knows which arrays of a network travel."""

    @abc.abstractmethod
    def prepare(self, base: Base) -> None:
        """Make a network ready: wrap it, and say which of its weights train."""

    @abc.abstractmethod
    def start(self, base: Base) -> Arrays:
        """Return what the server sends in the first round."""

    @abc.abstractmethod
    def put(self, base: Base, arrays: Mapping[str, np.ndarray]) -> None:
        """Take in what the server sent."""

    @abc.abstractmethod
    def get(self, base: Base, *, site: int, turn: int) -> Arrays:
        """Return what a site sends in a round."""


class AdapterParts(AbstractParts):
    """Only adapters travel, and the vectors of new words where these are learnt; the base is known by its hash."""

    def __init__(self, lora: Lora, *, words: bool = True) -> None:
        self.lora, self._words = lora, words
        self._added: Arrays = {}

    def prepare(self, base: Base) -> None:
        adapters.wrap(base.network, self.lora)
        if base.vocabulary is not None:
            base.vocabulary.new.requires_grad_(self._words)

    def start(self, base: Base) -> Arrays:
        return {**adapters.get(base.network, self.lora.mode), **_words(base)}

    def put(self, base: Base, arrays: Mapping[str, np.ndarray]) -> None:
        sent = {name.removesuffix(CHANGE): array for name, array in arrays.items() if name.endswith(CHANGE)}
        zero = {name: np.zeros_like(array) for name, array in sent.items()}
        adapters.add_to_base(
            base.network, {name: array - self._added.get(name, zero[name]) for name, array in sent.items()}
        )
        self._added = self._added | sent
        own = {name: array for name, array in arrays.items() if name != WORDS and not name.endswith(CHANGE)}
        adapters.put(base.network, own)
        _put_words(base, arrays)

    def get(self, base: Base, *, site: int, turn: int) -> Arrays:
        del site, turn
        return self.start(base)


class WeightParts(AbstractParts):
    """Weights of the network itself travel."""

    def __init__(self, part: str) -> None:
        if part not in PARTS:
            raise UnknownNameError("part of a network", part, PARTS, param="mode")
        self.part = part

    def prepare(self, base: Base) -> None:
        for name, weight in base.network.named_parameters():
            weight.requires_grad_(self.part != "decoder" or not of_input_half(name))
        if base.vocabulary is not None:
            base.vocabulary.new.requires_grad_(True)

    def start(self, base: Base) -> Arrays:
        return {**{name: weight.detach().numpy().copy() for name, weight in _trained(base)}, **_words(base)}

    def put(self, base: Base, arrays: Mapping[str, np.ndarray]) -> None:
        weights = dict(_trained(base))
        with torch.no_grad():
            for name in arrays.keys() - {WORDS}:
                weights[name].copy_(torch.from_numpy(arrays[name]))
        _put_words(base, arrays)

    def get(self, base: Base, *, site: int, turn: int) -> Arrays:
        arrays = self.start(base)
        if self.part != "split":
            return arrays
        first = turn % 2 == 1
        return {name: array for name, array in arrays.items() if name == WORDS or of_input_half(name) == first}


def parts_of(mode: str, lora: Lora, *, words: bool = True) -> AbstractParts:
    """Return what travels in a mode; `words` says whether an adapter's new words are learnt. **Raises** `UnknownNameError`."""
    if mode in adapters.MODES:
        return AdapterParts(lora, words=words)
    if mode not in PARTS:
        raise UnknownNameError("mode", mode, (*adapters.MODES, *PARTS), param="mode")
    return WeightParts(mode)


def of_input_half(name: str) -> bool:
    """Tell whether a weight belongs to the input half of its network."""
    return name.startswith(INPUT_HALF)


def count_bytes(arrays: Mapping[str, np.ndarray], bits: int = 32) -> int:
    """Return the payload of arrays at so many bits per number."""
    return sum(array.size for array in arrays.values()) * bits // 8


def _trained(base: Base) -> list[tuple[str, Any]]:
    return [(name, weight) for name, weight in base.network.named_parameters() if weight.requires_grad]


def _words(base: Base) -> Arrays:
    if base.vocabulary is None or not base.vocabulary.new.requires_grad:
        return {}
    return {WORDS: base.vocabulary.new.detach().numpy().copy()}


def _put_words(base: Base, arrays: Mapping[str, np.ndarray]) -> None:
    if WORDS in arrays and base.vocabulary is not None:
        with torch.no_grad():
            base.vocabulary.new.copy_(torch.from_numpy(np.asarray(arrays[WORDS], np.float32)))
