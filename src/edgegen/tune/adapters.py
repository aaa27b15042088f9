"""Low-rank adapters of a frozen network: what a site trains and sends, and how what came back is put together.

Every adapted layer answers y = W x + s B A x (LoRA, Hu et al., arXiv 2106.09685), with B = 0 at first. A is drawn from a
seed that all sites know, so that nobody has to send it. Three modes say what is exchanged and averaged:

    ffa    A stays as drawn, B is averaged. Linear in B, so the average of the adapters is the adapter of the averages;
           it can be summed in secret and made private (FFA-LoRA, Sun et al., arXiv 2403.12313).
    fedit  A and B are averaged separately, which is not the average of their products.
    fedex  As fedit, and what that average misses is added to the frozen weights (FedEx-LoRA, arXiv 2410.09432).

Arrays have the names `<layer>.lora_A` and `<layer>.lora_B`, float32, and for convolutions the shapes that peft gives them:
A [r, C_in, kh, kw], B [C_out, r, 1, 1].
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn

from edgegen.core.errors import InputError, UnknownNameError

Arrays = dict[str, np.ndarray]
MODES = ("ffa", "fedit", "fedex")
_NAME = "default"  # of the one adapter, as peft calls it


@dataclass(frozen=True)
class Lora:
    """The shape of an adapter; the same on every site."""

    rank: int = 8
    scale: float = 1.0  # s
    seed: int = 0  # of A
    mode: str = "ffa"
    layers: tuple[str, ...] = ("",)  # a layer is adapted whose name holds one of these; "" is in every name

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise InputError(f"rank must be >= 1, got {self.rank}", param="rank")
        if self.mode not in MODES:
            raise UnknownNameError("adapter mode", self.mode, MODES, param="mode")


def wrap(network: nn.Module, lora: Lora) -> nn.Module:
    """Freeze a network and put an adapter into its linear and convolutional layers; its answers stay the same.

    **Raises** `InputError` when no layer has such a name.
    """
    found = [
        name
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d) and any(part in name for part in lora.layers)
    ]
    if not found:
        raise InputError(f"no linear or convolutional layer has {' or '.join(lora.layers)} in its name", param="layers")
    network.requires_grad_(False)
    config = LoraConfig(r=lora.rank, lora_alpha=lora.scale * lora.rank, target_modules=found, init_lora_weights=False)  # type: ignore[arg-type]
    inject_adapter_in_model(config, network)
    with torch.no_grad():
        for name, (a, b) in _layers(network).items():
            a.copy_(torch.from_numpy(drawn_a(name, tuple(a.shape), lora.seed)))
            b.zero_()
            a.requires_grad_(lora.mode != "ffa")
            b.requires_grad_(True)
    return network


def drawn_a(layer: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Return the first A of a layer, float32: normal with variance 1 / inputs, from the seed and the layer's name."""
    rng = np.random.default_rng([seed, zlib.crc32(layer.encode())])
    return (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


def get(network: nn.Module, mode: str) -> Arrays:
    """Return what a site sends in a mode: of every adapted layer B, or A and B."""
    arrays: Arrays = {}
    for name, (a, b) in _layers(network).items():
        if mode != "ffa":
            arrays[f"{name}.lora_A"] = a.detach().numpy().copy()
        arrays[f"{name}.lora_B"] = b.detach().numpy().copy()
    return arrays


def put(network: nn.Module, arrays: Mapping[str, np.ndarray]) -> None:
    """Set the adapter. **Raises** `InputError` for a name or a shape that it does not have."""
    layers = _layers(network)
    places = {f"{name}.lora_{which}": pair["AB".index(which)] for name, pair in layers.items() for which in "AB"}
    for name, array in arrays.items():
        if name not in places:
            raise InputError(f"the adapter has no array named {name!r}; is it of another base or of other layers?")
        if tuple(places[name].shape) != array.shape:
            raise InputError(f"{name} is of shape {array.shape}; expected {tuple(places[name].shape)}")
        with torch.no_grad():
            places[name].copy_(torch.from_numpy(np.ascontiguousarray(array, np.float32)))


def complete(arrays: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]], lora: Lora) -> Arrays:
    """Return an adapter with the A that nobody sends; `shapes` names every array of it."""
    return {
        name: np.asarray(arrays[name])
        if name in arrays
        else drawn_a(name.removesuffix(".lora_A"), shape, lora.seed)
        for name, shape in shapes.items()
    }  # fmt: skip


def shapes_of(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shape of every array of the adapter, sent or not."""
    return {name: array.shape for name, array in get(network, "fedit").items()}


def delta(a: np.ndarray, b: np.ndarray, scale: float) -> np.ndarray:
    """Return s B A in the shape of the layer's weight: [out, in], or [C_out, C_in, kh, kw] of a convolution."""
    product = b.reshape(len(b), -1) @ a.reshape(len(a), -1)
    return (scale * product).reshape(len(b), *a.shape[1:]).astype(np.float32)


def deltas(arrays: Mapping[str, np.ndarray], scale: float) -> Arrays:
    """Return what a whole adapter adds to the weights, by layer."""
    layers = [name.removesuffix(".lora_B") for name in arrays if name.endswith(".lora_B")]
    return {layer: delta(arrays[f"{layer}.lora_A"], arrays[f"{layer}.lora_B"], scale) for layer in layers}


def missed(sent: Sequence[Mapping[str, np.ndarray]], weights: Sequence[float], scale: float) -> tuple[Arrays, float]:
    """Return what averaging A and B separately misses, by layer, and its size relative to the true average.

    With weights that sum to 1: D = s (sum w B A - (sum w B)(sum w A)), and |D| / |s sum w B A|.
    """
    w = np.asarray(weights, float) / np.sum(weights)
    mean = {name: np.tensordot(w, np.stack([one[name] for one in sent]), 1) for name in sent[0]}
    parted = deltas(mean, scale)
    each = [deltas(one, scale) for one in sent]
    true = {name: np.tensordot(w, np.stack([one[name] for one in each]), 1) for name in parted}
    lacking = {name: (true[name] - parted[name]).astype(np.float32) for name in true}
    size = np.sqrt(sum(float(np.square(value).sum()) for value in true.values()))
    gap = np.sqrt(sum(float(np.square(value).sum()) for value in lacking.values()))
    return lacking, float(gap / size) if size else 0.0


def add_to_base(network: nn.Module, changes: Mapping[str, np.ndarray]) -> None:
    """Add to the frozen weights of adapted layers (the second half of `fedex`)."""
    wrapped: dict[str, Any] = {name: layer for name, layer in network.named_modules() if hasattr(layer, "lora_A")}
    with torch.no_grad():
        for name, change in changes.items():
            wrapped[name].base_layer.weight += torch.from_numpy(change)


def merge(network: nn.Module) -> nn.Module:
    """Fold the adapter into the weights: a plain network with the same answers."""
    with torch.no_grad():
        for name, layer in list(network.named_modules()):
            if not hasattr(layer, "lora_A"):
                continue
            layer.merge()  # type: ignore[operator]
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent) if parent else network, child, layer.base_layer)
    return network


def _layers(network: nn.Module) -> dict[str, tuple[nn.Parameter, nn.Parameter]]:
    """Return A and B of every adapted layer by the layer's name, in the order of the network."""
    return {
        name: (layer.lora_A[_NAME].weight, layer.lora_B[_NAME].weight)  # type: ignore[index, union-attr]
        for name, layer in network.named_modules()
        if hasattr(layer, "lora_A")
    }
