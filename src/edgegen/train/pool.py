"""A pool of encoded training pictures on disk, made shard by shard, so that training never waits for drawing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderTiny

from edgegen.generate.grammar import Scene
from edgegen.generate.pictures import Style, draw_batch
from edgegen.train import recipe
from edgegen.train.data import to_tensor, training_scene
from edgegen.train.loop import step_seed
from edgegen.train.tokens import END, START, word_ids

CHUNK = 128


def encode_captions(scenes: list[Scene]) -> np.ndarray:
    """Turn captions into token ids, int64[B, MAX_TOKENS], padded with the end mark as the tokenizer does."""
    ids = word_ids()
    out = np.full((len(scenes), recipe.MAX_TOKENS), ids[END], np.int64)
    for row, scene in enumerate(scenes):
        words = scene.caption().replace(",", " ,").split()
        out[row, : len(words) + 1] = [ids[START], *(ids[word] for word in words)]
    return out


def nothing() -> np.ndarray:
    """Token ids of the empty caption, int64[MAX_TOKENS]."""
    ids = word_ids()
    return np.array([ids[START]] + [ids[END]] * (recipe.MAX_TOKENS - 1), np.int64)


def shard(folder: Path, index: int, style: Style, autoencoder: AutoencoderTiny) -> tuple[np.ndarray, np.ndarray]:
    """Give latents float16[P, C, 8, 8] and tokens int16[P, T] of one shard, making it if it is not there."""
    path = folder / f"{index:04d}.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        latents, tokens = _make(index, style, autoencoder)
        fresh = folder / f"{index:04d}.{os.getpid()}.part.npz"
        np.savez(fresh, latents=latents, tokens=tokens)
        os.replace(fresh, path)
    with np.load(path) as kept:
        return kept["latents"], kept["tokens"]


def fill(out: Path, autoencoder: AutoencoderTiny, steps_scale: float, progress: Callable[..., None]) -> None:
    """Make every shard of the pools ahead of training."""
    for lesson in recipe.SIZES["l"].lessons():
        for index in range(shards(steps_scale)):
            shard(out / lesson.pool, index, lesson.style, autoencoder)
            progress(lesson.pool, index + 1, shards(steps_scale), {})


def shards(steps_scale: float) -> int:
    """How many shards a run of this length uses."""
    return max(1, min(recipe.POOL_SHARDS, round(recipe.POOL_SHARDS * steps_scale)))


@torch.no_grad()
def _make(index: int, style: Style, autoencoder: AutoencoderTiny) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(step_seed("pool", index))
    scenes = [training_scene(rng) for _ in range(recipe.SHARD_PICTURES)]
    device = next(autoencoder.parameters()).device
    latents = []
    for start in range(0, len(scenes), CHUNK):
        pictures = to_tensor(draw_batch(scenes[start : start + CHUNK], rng, style=style)).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            latents.append(autoencoder.encoder(pictures.contiguous(memory_format=torch.channels_last)).float().cpu())
    return torch.cat(latents).numpy().astype(np.float16), encode_captions(scenes).astype(np.int16)
