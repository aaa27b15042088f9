"""Train the judge: a small network that finds the objects of a picture, on drawn and on spoilt pictures."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from edgegen.generate.judge import CELL, GRID
from edgegen.generate.pictures import MAX_ITEMS, Layout, lay_out, render
from edgegen.generate.words import BACKGROUNDS, COLOURS, SHAPES, SIZES
from edgegen.train import recipe
from edgegen.train.data import to_tensor, training_scene
from edgegen.train.loop import Average, pick_device, step_seed, train

BROKEN_SHARE = 0.3  # of the pictures have an object that is a blend of two
IGNORE = -100
WIDTHS = 32, 64
# Each object's maps: heat, shapes and "none of them", colours and "none of them", sizes.
PLANES = 1, len(SHAPES) + 1, len(COLOURS) + 1, len(SIZES)


class JudgeNetwork(nn.Module):
    """Pictures float[B, 3, 64, 64] in [-1, 1] to object maps [B, 15, 16, 16] and background logits [B, 4]."""

    def __init__(self) -> None:
        super().__init__()
        low, high = WIDTHS
        self.first, self.second = _block(3, low, stride=2), _block(low, high, stride=2)
        self.body = nn.Sequential(*(_block(high, high, dilation=spread) for spread in (1, 2, 3, 1)))
        self.objects = nn.Conv2d(high, sum(PLANES), 1)
        self.ground = nn.Linear(low + 6, len(BACKGROUNDS))

    def forward(self, picture: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Give the maps and the background's logits."""
        low = self.first(picture)
        features = self.second(low)
        for layer in self.body:
            features = features + layer(features)
        plain = torch.cat([low.mean((2, 3)), picture[..., :2, :].mean((2, 3)), picture[..., -2:, :].mean((2, 3))], 1)
        return self.objects(features), self.ground(plain)


def _block(inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=dilation, dilation=dilation, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


def fit(folder: Path, steps_scale: float, progress: Callable[..., None]) -> JudgeNetwork:
    """Train, or load what is already trained, and give the averaged network."""
    budget = recipe.JUDGE_BUDGET.scaled(steps_scale)
    device = pick_device()
    torch.manual_seed(recipe.SEED)
    network = JudgeNetwork().to(device)
    average = Average(network, 0.995)
    optimiser = torch.optim.AdamW(network.parameters(), lr=budget.peak_rate, weight_decay=0.01, fused=True)

    def advance(step: int) -> dict[str, float]:
        rng = np.random.default_rng(step_seed("judge", step))
        pictures, targets = examples(rng, budget.batch)
        with torch.autocast(device.type, torch.bfloat16):
            maps, ground = network(to_tensor(pictures).to(device))
        loss = _loss(maps.float(), ground.float(), [torch.from_numpy(part).to(device) for part in targets])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        average.update(step)
        return {"loss": float(loss.detach())}

    parts: dict[str, Any] = {"network": network, "average": average}
    train("judge", folder, budget, parts=parts, optimiser=optimiser, advance=advance, progress=progress)
    network.load_state_dict(average.weights)
    return network.eval()


def examples(rng: np.random.Generator, batch: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Draw pictures, spoil some, and say what is to be seen: heat, shape, colour and size maps, and backgrounds."""
    layout = lay_out([training_scene(rng) for _ in range(batch)], rng)
    layout.colour = np.clip(layout.colour + rng.uniform(-12, 12, layout.colour.shape), 0, 255)
    layout.background = np.clip(layout.background + rng.uniform(-8, 8, layout.background.shape), 0, 255)
    other, shape, colour = _broken(layout, rng)
    mix = rng.uniform(0.35, 0.65, (batch, 1, 1, 1))
    pictures = render(layout) * mix + render(other) * (1 - mix)
    return _degrade(pictures, rng), [*_maps(layout, shape, colour), layout.background_kind]


def _broken(layout: Layout, rng: np.random.Generator) -> tuple[Layout, np.ndarray, np.ndarray]:
    """Make a second layout in which one object of some pictures has another shape or colour, and label it neither."""
    batch = len(layout.shape)
    other, shape, colour = deepcopy(layout), layout.shape.copy(), layout.colour_kind.copy()
    for row in np.flatnonzero(rng.random(batch) < BROKEN_SHARE):
        slot = int(rng.integers((layout.radius[row] > 0).sum()))
        if rng.random() < 0.6:
            other.shape[row, slot] = (layout.shape[row, slot] + rng.integers(1, len(SHAPES))) % len(SHAPES)
            shape[row, slot] = len(SHAPES)
        else:
            kind = (layout.colour_kind[row, slot] + rng.integers(1, len(COLOURS))) % len(COLOURS)
            other.colour[row, slot] = list(COLOURS.values())[kind]
            colour[row, slot] = len(COLOURS)
    return other, shape, colour


def _degrade(pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur some pictures and put a little noise on all, as a generator's pictures have."""
    blurred = rng.random(len(pictures)) < 0.4
    soft = pictures[blurred]
    for axis in (1, 2):
        soft = (np.roll(soft, 1, axis) + 2 * soft + np.roll(soft, -1, axis)) / 4
    pictures[blurred] = soft
    noise = rng.standard_normal(pictures.shape, np.float32) * rng.uniform(0, 8, (len(pictures), 1, 1, 1))
    return np.clip(pictures + noise, 0, 255).astype(np.uint8)


def _maps(layout: Layout, shape: np.ndarray, colour: np.ndarray) -> list[np.ndarray]:
    """Spread the objects over the grid: heat float32[B, G, G]; classes int64[B, G, G], IGNORE away from objects."""
    batch = len(shape)
    cells = np.arange(GRID) + 0.5
    heat = np.zeros((batch, GRID, GRID), np.float32)
    classes = [np.full((batch, GRID, GRID), IGNORE, np.int64) for _ in range(3)]
    crowded = np.asarray((layout.radius > 0).all(1))  # three objects have a size of their own
    size = np.where(crowded[:, None], IGNORE, layout.size_kind)
    for slot in range(MAX_ITEMS):
        there = layout.radius[:, slot, None, None] > 0
        x, y = (layout.centre[:, slot, axis, None] / CELL for axis in (0, 1))
        square = (cells[None, None] - x[..., None]) ** 2 + (cells[None, :, None] - y[..., None]) ** 2
        heat = np.maximum(heat, np.where(there, np.exp(-square / 1.5), 0).astype(np.float32))
        near = there & (square < 2.3)
        for target, kind in zip(classes, (shape, colour, size), strict=True):
            target[near] = np.broadcast_to(kind[:, slot, None, None], near.shape)[near]
    return [heat, *classes]


def _loss(maps: torch.Tensor, ground: torch.Tensor, targets: list[torch.Tensor]) -> torch.Tensor:
    heat, *classes, background = targets
    parts = maps.split(PLANES, 1)
    weight = 1 + 8 * heat
    total = (weight * nn.functional.binary_cross_entropy_with_logits(parts[0][:, 0], heat, reduction="none")).mean()
    for logits, target in zip(parts[1:], classes, strict=True):
        total = total + 0.3 * nn.functional.cross_entropy(logits, target, ignore_index=IGNORE)
    return total + 0.3 * nn.functional.cross_entropy(ground, background)
