"""The layers of a latent-diffusion U-Net, written out from its published architecture: names, shapes, and how often each is used.

Nothing is loaded and nothing is run: a table of layers is enough to count parameters, adapters and arithmetic. The architecture is that
of Rombach et al. 2022 (arXiv:2112.10752) as `UNet2DConditionModel` of diffusers builds it; a test compares every name and shape with it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

Shapes = Mapping[str, tuple[int, ...]]  # parameter name -> shape, outputs first


class Layer(NamedTuple):
    """One parameter."""

    name: str
    shape: tuple[int, ...]  # outputs, inputs, and the window of a convolution
    uses: int = 0  # positions at which it multiplies for one sample; 0 for biases and norms, whose work is not counted


@dataclass(frozen=True)
class Unet:
    """What tells one U-Net of the family from another."""

    channels: tuple[int, ...]  # per level, from the finest
    depth: tuple[int, ...]  # transformer blocks per level and residual block; 0: no attention there
    middle: int  # transformer blocks at the bottom
    context: int  # width of the text encoder
    side: int  # of the latent that it was trained on
    linear_projection: bool  # how a transformer is entered and left: linear, or a convolution of window 1
    added: int = 0  # width of what is known of size and crop; 0: nothing
    latent: int = 4  # channels of a latent
    residuals: int = 2  # residual blocks per level on the way down; one more on the way up
    tokens: int = 77  # of a prompt


def layers(unet: Unet) -> list[Layer]:
    """Return every parameter, in the order of the forward pass."""
    time = 4 * unet.channels[0]
    return [*_opening(unet, time), *_down(unet, time), *_middle(unet, time), *_up(unet, time), *_closing(unet)]


def shapes(unet: Unet) -> dict[str, tuple[int, ...]]:
    """Return name -> shape of every parameter."""
    return {layer.name: layer.shape for layer in layers(unet)}


def forward_flop(unet: Unet) -> float:
    """Return the floating-point operations of one forward pass of one sample: two per multiplication with a weight, and attention.

    Attention over N positions and M keys of width c multiplies 2 N M c times (scores, and their sum of values). Norms,
    activations and biases are left out; they are below one percent.
    """
    total = 0.0
    for layer in layers(unet):
        total += 2.0 * _product(layer.shape) * layer.uses
        for kind, keys in (("attn1.to_q.weight", layer.uses), ("attn2.to_q.weight", unet.tokens)):
            if layer.name.endswith(kind):
                total += 4.0 * layer.uses * keys * layer.shape[0]
    return total


def _product(shape: tuple[int, ...]) -> int:
    total = 1
    for length in shape:
        total *= length
    return total


def _opening(unet: Unet, time: int) -> Iterator[Layer]:
    first = unet.channels[0]
    yield from _conv("conv_in", unet.latent, first, 3, unet.side**2)
    yield from _linear("time_embedding.linear_1", first, time, 1)
    yield from _linear("time_embedding.linear_2", time, time, 1)
    if unet.added:
        yield from _linear("add_embedding.linear_1", unet.added, time, 1)
        yield from _linear("add_embedding.linear_2", time, time, 1)


def _closing(unet: Unet) -> Iterator[Layer]:
    yield from _norm("conv_norm_out", unet.channels[0])
    yield from _conv("conv_out", unet.channels[0], unet.latent, 3, unet.side**2)


def _down(unet: Unet, time: int) -> Iterator[Layer]:
    before, positions = unet.channels[0], unet.side**2
    for level, (width, depth) in enumerate(zip(unet.channels, unet.depth, strict=True)):
        name = f"down_blocks.{level}"
        for at in range(unet.residuals):
            yield from _residual(f"{name}.resnets.{at}", before, width, time, positions)
            before = width
            yield from _transformer(unet, f"{name}.attentions.{at}", width, depth, positions)
        if level < len(unet.channels) - 1:
            positions //= 4
            yield from _conv(f"{name}.downsamplers.0.conv", width, width, 3, positions)


def _middle(unet: Unet, time: int) -> Iterator[Layer]:
    width, positions = unet.channels[-1], unet.side**2 // 4 ** (len(unet.channels) - 1)
    yield from _residual("mid_block.resnets.0", width, width, time, positions)
    yield from _transformer(unet, "mid_block.attentions.0", width, unet.middle, positions)
    yield from _residual("mid_block.resnets.1", width, width, time, positions)


def _up(unet: Unet, time: int) -> Iterator[Layer]:
    """Every residual block takes what comes from below beside what the way down kept at its place."""
    kept = [unet.channels[0]]  # widths that the way down keeps
    for level, width in enumerate(unet.channels):
        kept += [width] * (unet.residuals + (level < len(unet.channels) - 1))
    before, positions = unet.channels[-1], unet.side**2 // 4 ** (len(unet.channels) - 1)
    for level, (width, depth) in enumerate(zip(unet.channels[::-1], unet.depth[::-1], strict=True)):
        name = f"up_blocks.{level}"
        for at in range(unet.residuals + 1):
            yield from _residual(f"{name}.resnets.{at}", before + kept.pop(), width, time, positions)
            before = width
            yield from _transformer(unet, f"{name}.attentions.{at}", width, depth, positions)
        if level < len(unet.channels) - 1:
            positions *= 4
            yield from _conv(f"{name}.upsamplers.0.conv", width, width, 3, positions)


def _residual(name: str, inputs: int, outputs: int, time: int, positions: int) -> Iterator[Layer]:
    yield from _norm(f"{name}.norm1", inputs)
    yield from _conv(f"{name}.conv1", inputs, outputs, 3, positions)
    yield from _linear(f"{name}.time_emb_proj", time, outputs, 1)
    yield from _norm(f"{name}.norm2", outputs)
    yield from _conv(f"{name}.conv2", outputs, outputs, 3, positions)
    if inputs != outputs:
        yield from _conv(f"{name}.conv_shortcut", inputs, outputs, 1, positions)


def _transformer(unet: Unet, name: str, width: int, depth: int, positions: int) -> Iterator[Layer]:
    if not depth:
        return
    yield from _norm(f"{name}.norm", width)
    yield from _projection(unet, f"{name}.proj_in", width, positions)
    for at in range(depth):
        block = f"{name}.transformer_blocks.{at}"
        for number, keys, reach in ((1, width, positions), (2, unet.context, unet.tokens)):
            yield from _norm(f"{block}.norm{number}", width)
            attention = f"{block}.attn{number}"
            yield Layer(f"{attention}.to_q.weight", (width, width), positions)
            yield Layer(f"{attention}.to_k.weight", (width, keys), reach)
            yield Layer(f"{attention}.to_v.weight", (width, keys), reach)
            yield from _linear(f"{attention}.to_out.0", width, width, positions)
        yield from _norm(f"{block}.norm3", width)
        yield from _linear(f"{block}.ff.net.0.proj", width, 8 * width, positions)  # gated: two halves of 4 x width
        yield from _linear(f"{block}.ff.net.2", 4 * width, width, positions)
    yield from _projection(unet, f"{name}.proj_out", width, positions)


def _projection(unet: Unet, name: str, width: int, positions: int) -> Iterator[Layer]:
    if unet.linear_projection:
        yield from _linear(name, width, width, positions)
    else:
        yield from _conv(name, width, width, 1, positions)


def _linear(name: str, inputs: int, outputs: int, uses: int) -> Iterator[Layer]:
    yield Layer(f"{name}.weight", (outputs, inputs), uses)
    yield Layer(f"{name}.bias", (outputs,))


def _conv(name: str, inputs: int, outputs: int, window: int, uses: int) -> Iterator[Layer]:
    yield Layer(f"{name}.weight", (outputs, inputs, window, window), uses)
    yield Layer(f"{name}.bias", (outputs,))


def _norm(name: str, width: int) -> Iterator[Layer]:
    yield Layer(f"{name}.weight", (width,))
    yield Layer(f"{name}.bias", (width,))
