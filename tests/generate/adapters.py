"""Adapters for tests: random ones, in folders as they are published."""

import dataclasses
import json
from pathlib import Path

import numpy as np

from edgegen.core.curve import Curve
from edgegen.core.profile import load_packaged
from edgegen.generate.adapter_files import ADAPTER, CARD, PROFILE, Card, Manifest, read_manifest, write_arrays


def adaptable(models: Path, name: str = "shapes-s") -> Manifest:
    """The adaptable form of a built-in model, in a folder of models."""
    from edgegen.train.export_adaptable import export  # needs the extra `train`

    return read_manifest(export(name, models))


def random_arrays(base: Manifest, *, rank: int = 4, size: float = 0.05, seed: int = 0, words: int = 0) -> dict:
    """A random change of every layer; `size` 0 changes nothing."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for layer, (out, inputs) in base.layers.items():
        arrays[f"{layer}.lora_A"] = rng.standard_normal((rank, inputs), np.float32) / np.sqrt(inputs)
        arrays[f"{layer}.lora_B"] = rng.standard_normal((out, rank), np.float32) * size
    if words:
        arrays["words"] = rng.standard_normal((words, base.table[1]), np.float32) * 0.1
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def write_adapter(models: Path, name: str, base: Manifest, arrays: dict, *, words=(), **parts) -> Path:
    """An adapter's folder without a profile."""
    folder = models / name
    folder.mkdir(parents=True)
    digest = write_arrays(folder / ADAPTER, arrays)
    rank = next((len(array) for key, array in arrays.items() if key.endswith(".lora_A")), 1)
    fields = {"sampler": "dpmpp", "guidance": 1.5, "rank": rank, "words": tuple(words), **parts}
    card = Card(name, base.name, base.sha256, digest, **fields)
    (folder / CARD).write_text(json.dumps(card.to_dict()))
    return folder


def with_profile(folder: Path, *, novel: float | None = None, base: str = "shapes-s") -> Path:
    """Give an adapter the profile of its base, and a made-up curve for novel prompts."""
    profile = load_packaged(base)
    quality = dict(profile.quality)
    if novel is not None:
        quality["novel"] = Curve.table([1, 8, 32], [novel / 2, novel, novel])
    dataclasses.replace(profile, model=folder.name, quality=quality).save(folder / PROFILE)
    return folder
