"""Training data: scenes in the recipe's mixture, never one that is held out."""

from __future__ import annotations

import numpy as np
import torch

from edgegen.generate.grammar import CATEGORIES, Scene, held_out, sample_scene
from edgegen.train.recipe import MIXTURE


def training_scene(rng: np.random.Generator) -> Scene:
    """Draw a scene whose caption may be trained on."""
    while True:
        category = CATEGORIES[int(rng.choice(len(CATEGORIES), p=[MIXTURE[name] for name in CATEGORIES]))]
        scene = sample_scene(rng, category)
        if not held_out(scene):
            return scene


def to_tensor(pictures: np.ndarray) -> torch.Tensor:
    """Turn uint8[B, H, W, 3] into float[B, 3, H, W] in [-1, 1]."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
