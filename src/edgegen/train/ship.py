"""Put finished models into the form in which they are shipped: what all sizes share is stored once, with a card each."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgegen.generate.backends.onnx import OnnxBackend
from edgegen.generate.builtin import SHARED_FOLDERS, SIDE, Sampling
from edgegen.generate.grammar import CATEGORIES, Scene, held_out_scenes
from edgegen.generate.judge import Judge
from edgegen.generate.show import run
from edgegen.train import recipe

SHARED_FILES = ("decoder.onnx", "vocabulary.json")
OWN = ("unet", "text_encoder", "unet.onnx", "text.onnx", "model_index.json")
SAMPLINGS = [Sampling(sampler, guidance) for sampler in ("ddim", "dpmpp") for guidance in (1.0, 1.5, 2.0, 3.0)]
GUIDANCE_GAIN = 0.01  # guidance doubles the cost of a step, so it must earn this much
STEPS = (1, 2, 4, 8, 16)
TRIAL_STEPS = STEPS[-1]
TRIAL_SEED, CARD_SEED = 101, 202  # captions for choosing the guidance are not those for the card
PER_CATEGORY = 100

Progress = Callable[[str, int, int, dict[str, float]], None]


def ship(out: Path, weights: Path, progress: Progress) -> None:
    """Collect the models of a finished run into a weights folder, choose their sampling and measure their cards."""
    weights.mkdir(parents=True, exist_ok=True)
    shutil.copy2(out / "judge.onnx", weights / "judge.onnx")
    sizes = [size for size in recipe.SIZES.values() if (out / size.name).is_dir()]
    for done, size in enumerate(sizes, 1):
        collect(out / size.name, weights, size.name)
        card = measure(weights / size.name, Judge.load(weights / "judge.onnx"))
        card |= {"name": size.name, **facts(weights / size.name), "training": training(out, size)}
        (weights / size.name / "card.json").write_text(json.dumps(card, indent=1) + "\n")
        progress("cards", done, len(sizes), {"guidance": card["guidance"]})


def collect(source: Path, weights: Path, name: str) -> None:
    """Copy one exported model, and the parts that it shares with the other sizes."""
    shared, own = weights / "shared", weights / name
    for folder in (shared, own):
        folder.mkdir(parents=True, exist_ok=True)
    for part in (*SHARED_FOLDERS, *SHARED_FILES):
        _copy(source / part, shared / part)
    for part in OWN:
        _copy(source / part, own / part)


def measure(folder: Path, judge: Judge) -> dict[str, Any]:
    """Choose sampler and guidance on some held-out captions, then measure quality against steps on others."""
    backend = OnnxBackend(folder)
    trial = [scene for name in CATEGORIES for scene in held_out_scenes(name, PER_CATEGORY, TRIAL_SEED)]
    trials = {
        way: float(np.mean(list(all_right(backend, judge, trial, TRIAL_STEPS, way).values()))) for way in SAMPLINGS
    }
    best = max(SAMPLINGS, key=lambda way: trials[way] - (GUIDANCE_GAIN if way.guidance > 1 else 0.0))
    scenes = [scene for name in CATEGORIES for scene in held_out_scenes(name, PER_CATEGORY, CARD_SEED)]
    return {
        "guidance": best.guidance,
        "sampler": best.sampler,
        "trials": [{**way._asdict(), "steps": TRIAL_STEPS, "all_right": share} for way, share in trials.items()],
        "all_right": {str(steps): all_right(backend, judge, scenes, steps, best) for steps in STEPS},
        "captions_per_category": PER_CATEGORY,
    }


def all_right(backend: OnnxBackend, judge: Judge, scenes: list[Scene], steps: int, way: Sampling) -> dict[str, float]:
    """Share of pictures with every attribute right, per category."""
    prompts = [scene.caption() for scene in scenes]
    pictures = run(backend, prompts, steps=steps, seeds=range(len(prompts)), sampling=way)
    right: dict[str, list[bool]] = {name: [] for name in CATEGORIES}
    for scene, verdict in zip(scenes, judge(pictures, scenes), strict=True):
        right[scene.category].append(verdict.all_right)
    return {name: round(float(np.mean(found)), 4) for name, found in right.items()}


def facts(folder: Path) -> dict[str, Any]:
    """Count parameters and bytes, and take the fingerprint of the weights."""
    from safetensors.numpy import load_file

    tensors = [load_file(file) for file in sorted(folder.rglob("*.safetensors"))]
    parameters = sum(value.size for one in tensors for value in one.values())
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    digest = hashlib.sha256((folder / "unet.onnx").read_bytes()).hexdigest()
    return {"parameters": parameters, "bytes": size, "picture_px": SIDE, "unet_sha256": digest}


def training(out: Path, size: recipe.Size) -> dict[str, Any]:
    """Say how long the training took, from its logs."""
    with (out / f"{size.name}.csv").open(newline="") as file:
        last = list(csv.DictReader(file))[-1]
    steps = int(last["step"])
    pictures = steps * size.budget.batch
    return {"steps": steps, "pictures": pictures, "cpu_s": round(float(last["cpu_s"])), "seed": recipe.SEED}


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copy2(source, target)
