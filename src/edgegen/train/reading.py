"""Teach a text encoder to read captions before it guides a diffusion model.

Learning what a caption says from the diffusion loss alone is slow: the loss hardly depends on it until the network can draw.
So the encoder first learns to say, in the last places of its window (padding, which in a causal encoder has seen the
whole caption), what each object is and where it lies, and the background. The linear read-outs are thrown away afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import CLIPTextModel

from edgegen.generate.grammar import Scene
from edgegen.generate.pictures import MAX_ITEMS
from edgegen.generate.words import BACKGROUNDS, COLOURS, SHAPES, SIZES
from edgegen.train import recipe
from edgegen.train.data import training_scene
from edgegen.train.loop import pick_device, step_seed, train
from edgegen.train.tokens import encode_captions, nothing

SIDES = {
    "left of": (0, 1),
    "right of": (0, 2),
    "above": (1, 1),
    "below": (1, 2),
}  # axis and side; the other has 3 - side
# What is said of one object: its colour, shape, size, side across and side down. Class 0 means that nothing was said.
ITEM_CLASSES = (len(COLOURS) + 1, len(SHAPES) + 1, len(SIZES) + 1, 3, 3)
GROUND_CLASSES = len(BACKGROUNDS) + 1
EMPTY_SHARE = 0.05


def facts(scene: Scene | None) -> np.ndarray:
    """What a caption says, int64[3 * 5 + 1]: five classes per object, then the background; None says nothing."""
    out = np.zeros((MAX_ITEMS, len(ITEM_CLASSES)), np.int64)
    if scene is None:
        return np.append(out, 0)
    for slot, item in enumerate(scene.items):
        out[slot, :2] = list(COLOURS).index(item.colour) + 1, SHAPES.index(item.shape) + 1
        out[slot, 2] = SIZES.index(item.size) + 1 if item.size else 0
    for first, relation, second in scene.pairs():
        axis, side = SIDES[relation]
        out[first, 3 + axis], out[second, 3 + axis] = side, 3 - side
    return np.append(out, list(BACKGROUNDS).index(scene.background) + 1 if scene.background else 0)


def fit(
    stage: str, text: CLIPTextModel, budget: recipe.Budget, folder: Path, progress: Callable[..., None]
) -> CLIPTextModel:
    """Train an encoder to read, or load one that can."""
    device = pick_device()
    width = int(text.config.hidden_size)
    heads = torch.nn.ModuleDict(
        {"item": torch.nn.Linear(width, sum(ITEM_CLASSES)), "ground": torch.nn.Linear(width, GROUND_CLASSES)}
    ).to(device)
    both = torch.nn.ModuleDict({"text": text, "heads": heads})
    optimiser = torch.optim.AdamW(both.parameters(), lr=budget.peak_rate, weight_decay=0.01, fused=True)

    def advance(step: int) -> dict[str, float]:
        tokens, said = examples(np.random.default_rng(step_seed(stage, step)), budget.batch)
        loss, right = losses(text, heads, tokens.to(device), said.to(device))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(both.parameters(), 1.0)
        optimiser.step()
        return {"loss": float(loss.detach()), "right": right}

    parts: dict[str, Any] = {"networks": both}
    train(stage, folder, budget, parts=parts, optimiser=optimiser, advance=advance, progress=progress)
    return text.eval()


def examples(rng: np.random.Generator, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw captions: tokens int64[B, T] and what they say, int64[B, 16]; a few captions are empty."""
    scenes = [training_scene(rng) for _ in range(batch)]
    empty = rng.random(batch) < EMPTY_SHARE
    tokens = encode_captions(scenes)
    tokens[empty] = nothing()
    said = np.stack([facts(None if gone else scene) for scene, gone in zip(scenes, empty, strict=True)])
    return torch.from_numpy(tokens), torch.from_numpy(said)


def losses(
    text: CLIPTextModel, heads: torch.nn.ModuleDict, tokens: torch.Tensor, said: torch.Tensor
) -> tuple[torch.Tensor, float]:
    """Mean cross-entropy of all read-outs, and the share of captions that are read without a mistake."""
    states = text(tokens).last_hidden_state
    read = [*heads["item"](states[:, -MAX_ITEMS:]).split(ITEM_CLASSES, -1)]
    truths = said[:, :-1].view(len(said), MAX_ITEMS, len(ITEM_CLASSES))
    pairs = [(guess, truths[..., kind]) for kind, guess in enumerate(read)]
    pairs.append((heads["ground"](states[:, -MAX_ITEMS - 1])[:, None], said[:, -1:]))
    loss = sum(torch.nn.functional.cross_entropy(guess.flatten(0, 1), truth.flatten()) for guess, truth in pairs)
    right = torch.cat([guess.argmax(-1) == truth for guess, truth in pairs], 1).all(1)
    assert isinstance(loss, torch.Tensor)
    return loss / len(pairs), float(right.float().mean())
