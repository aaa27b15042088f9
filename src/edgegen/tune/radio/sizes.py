"""How large the things are that a federated round moves and computes: of declared large models, and of any model by its shapes.

Claims about bytes are about the models that people would tune, so they use the declared sizes here. Of the built-in models a picture is
smaller than an adapter, and nothing about radio follows from their bytes; both are shown side by side, never mixed.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from edgegen.core.errors import InputError, UnknownNameError
from edgegen.tune.radio.unet import Shapes, Unet, forward_flop, shapes

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")  # parts of the names of the projections, where adapters usually sit
EVERYWHERE = ("",)  # in every name: all linear and convolutional layers
OUTPUT_HALF = ("mid_block.", "up_blocks.", "conv_norm_out.", "conv_out.")  # what is called the decoder half of a U-Net
HEADER_BYTES = 1054.0
"""What a message weighs beside its numbers: measured of one Flower message, 29 726 bytes for 7 168 float32. Kept constant (our choice)."""

FULL_WORK, ADAPTER_WORK = 3.0, 2.0
"""Work of a training step in forward passes. Whole network: forward, gradients of activations, gradients of weights. Adapters: the
frozen weights need no gradients of their own, so about two (derived)."""


@dataclass(frozen=True)
class Sizes:
    """What is counted of a model: everything follows from the shapes of the network that is trained."""

    name: str
    shapes: Shapes  # of the network that is trained
    flop: float  # floating-point operations of one forward pass of one sample at one timestep
    picture_bytes: float  # of one private picture, as it would be sent
    source: str  # where shapes and figures come from
    adapted: tuple[str, ...] = ATTENTION  # a layer carries an adapter if its name holds one of these

    @property
    def parameters(self) -> int:
        """Numbers in the network."""
        return count(self.shapes)

    @property
    def output_half(self) -> int:
        """Numbers in its output half."""
        return count({name: shape for name, shape in self.shapes.items() if name.startswith(OUTPUT_HALF)})

    def lora(self, rank: int) -> tuple[int, int]:
        """Numbers in the factors A (rank x inputs) and B (outputs x rank) of all adapters."""
        return lora(self.shapes, rank, self.adapted)


@dataclass(frozen=True)
class Exchange:
    """What one site sends and gets in a round, and what a training step costs it."""

    mode: str
    down: float  # numbers that a site gets
    up: float  # numbers that a site sends
    work: float  # of a training step, in forward passes

    def down_bits(self, bits: float) -> float:
        """Bits on the way to a site, with so many bits for a number."""
        return self.down * bits + 8 * HEADER_BYTES

    def up_bits(self, bits: float) -> float:
        """Bits on the way from a site."""
        return self.up * bits + 8 * HEADER_BYTES


MODES = ("full", "decoder", "split", "ffa", "fedit", "fedex")


def exchange(sizes: Sizes, mode: str, *, rank: int = 4, sites: int = 1) -> Exchange:
    """Return what is exchanged in a round.

    full: the whole network. decoder: its output half. split: a site sends one half, in turns, and gets the whole.
    ffa: A is known to everybody, so only B. fedit: both factors. fedex: a site sends both and gets those of all `sites`, from
    which it computes average and residual. **Raises** `UnknownNameError` for another mode.
    """
    whole = float(sizes.parameters)
    if mode == "full":
        return Exchange(mode, whole, whole, FULL_WORK)
    if mode == "decoder":
        return Exchange(mode, float(sizes.output_half), float(sizes.output_half), FULL_WORK)
    if mode == "split":
        return Exchange(mode, whole, whole / 2, FULL_WORK)  # the two halves in turns: the mean of both
    of_a, of_b = sizes.lora(rank)
    adapters = {"ffa": (of_b, of_b), "fedit": (of_a + of_b,) * 2, "fedex": (sites * (of_a + of_b), of_a + of_b)}
    if mode not in adapters:
        raise UnknownNameError("exchange mode", mode, MODES, param="mode")
    down, up = adapters[mode]
    return Exchange(mode, float(down), float(up), ADAPTER_WORK)


def count(of: Shapes) -> int:
    """Return how many numbers parameters of these shapes hold."""
    return sum(math.prod(shape) for shape in of.values())


def lora(of: Shapes, rank: int, adapted: Iterable[str] = ATTENTION) -> tuple[int, int]:
    """Return how many numbers the factors A and B hold on the linear and convolutional layers whose names hold one of `adapted`.

    A layer with shape (outputs, inputs, window...) has A of rank x inputs x window and B of outputs x rank. **Raises** `InputError`
    for a rank below 1, or if there is no such layer.
    """
    if rank < 1:
        raise InputError(f"rank must be >= 1, got {rank}", param="rank")
    parts = tuple(adapted)
    weights = {name.removesuffix(".weight"): shape for name, shape in of.items() if name.endswith(".weight")}
    found = [s for name, s in weights.items() if len(s) > 1 and any(part in name for part in parts)]
    if not found:
        raise InputError(f"no linear or convolutional layer has {' or '.join(parts)} in its name", param="adapted")
    return rank * sum(math.prod(shape[1:]) for shape in found), rank * sum(shape[0] for shape in found)


def read_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Read the shapes of a safetensors file from its header; the weights are not read.

    **Raises** `InputError` for a file that has no such header.
    """
    with file.open("rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        if not 2 <= length <= file.stat().st_size - 8:
            raise InputError(f"{file} is no safetensors file: its header would have {length} bytes")
        header = json.loads(handle.read(length))
    return {name: tuple(entry["shape"]) for name, entry in header.items() if name != "__metadata__"}


_SD = Unet(
    channels=(320, 640, 1280, 1280),
    depth=(1, 1, 1, 0),
    middle=1,
    context=768,
    side=64,
    linear_projection=False,
)
_XL = Unet(
    channels=(320, 640, 1280),
    depth=(0, 2, 10),
    middle=10,
    context=2048,
    side=128,
    linear_projection=True,
    added=2816,
)
_READ = "architecture from the published unet/config.json, shapes and operations derived from it; size of a picture declared by us"
DECLARED = MappingProxyType(
    {
        "sd-1.5": (_SD, 0.5e6, f"Stable Diffusion 1.5: {_READ} (512 x 512 as PNG)"),
        "sdxl": (_XL, 2e6, f"Stable Diffusion XL base 1.0: {_READ} (1024 x 1024 as PNG)"),
    }
)
"""Name -> U-Net, bytes of a picture, source."""


def declared(name: str) -> Sizes:
    """Return the declared sizes of a model, by name.

    **Raises** `UnknownNameError`.
    """
    if name not in DECLARED:
        raise UnknownNameError("declared size", name, DECLARED, param="sizes")
    unet, picture_bytes, source = DECLARED[name]
    return Sizes(name, MappingProxyType(shapes(unet)), forward_flop(unet), picture_bytes, source)
