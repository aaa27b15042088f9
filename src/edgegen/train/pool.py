"""A pool of encoded training pictures on disk, made shard by shard, so that training never waits for drawing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderTiny

from edgegen.generate.pictures import NEAT, draw_batch
from edgegen.train import recipe
from edgegen.train.data import to_tensor, training_scene
from edgegen.train.loop import step_seed
from edgegen.train.tokens import encode_captions

CHUNK = 128
FOLDER = "pool"


def shard(folder: Path, index: int, autoencoder: AutoencoderTiny) -> tuple[np.ndarray, np.ndarray]:
    """Give latents float16[P, C, 8, 8] and tokens int16[P, T] of one shard, making it if it is not there."""
    path = folder / f"{index:04d}.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        latents, tokens = _make(index, autoencoder)
        fresh = folder / f"{index:04d}.{os.getpid()}.part.npz"
        np.savez(fresh, latents=latents, tokens=tokens)
        os.replace(fresh, path)
    with np.load(path) as kept:
        return kept["latents"], kept["tokens"]


def fill(out: Path, autoencoder: AutoencoderTiny, steps_scale: float, progress: Callable[..., None]) -> None:
    """Make every shard ahead of training."""
    for index in range(shards(steps_scale)):
        shard(out / FOLDER, index, autoencoder)
        progress("pool", index + 1, shards(steps_scale), {})


def shards(steps_scale: float) -> int:
    """How many shards a run of this length uses."""
    return max(1, min(recipe.POOL_SHARDS, round(recipe.POOL_SHARDS * steps_scale)))


@torch.no_grad()
def _make(index: int, autoencoder: AutoencoderTiny) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(step_seed("pool", index))
    scenes = [training_scene(rng) for _ in range(recipe.SHARD_PICTURES)]
    device = next(autoencoder.parameters()).device
    latents = []
    for start in range(0, len(scenes), CHUNK):
        pictures = to_tensor(draw_batch(scenes[start : start + CHUNK], rng, style=NEAT)).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            latents.append(autoencoder.encoder(pictures.contiguous(memory_format=torch.channels_last)).float().cpu())
    return torch.cat(latents).numpy().astype(np.float16), encode_captions(scenes).astype(np.int16)
