"""The models that come with edgegen: their names, where their weights are, and what is known about them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from edgegen.core.errors import EdgegenError, UnknownNameError

WEIGHTS = Path(__file__).parent / "weights"
NAMES = ("shapes-s", "shapes-m", "shapes-l")
SIDE = 64
DEFAULT_STEPS = 16
# What all sizes share is stored once, in weights/shared, and put into place by `assemble`.
SHARED_FOLDERS = ("vae", "tokenizer", "scheduler")


class Sampling(NamedTuple):
    """How a model makes pictures best: the sampler, and the strength of guidance (1 means none, at half the cost)."""

    sampler: str = "ddim"
    guidance: float = 1.0


class MissingWeights(EdgegenError):
    """A built-in model whose weights are not in this installation."""


# Of pipelines without a card: the guidance that their families' own pipelines use by default.
USUAL = {
    "StableDiffusionPipeline": Sampling("dpmpp", 7.5),
    "StableDiffusionXLPipeline": Sampling("dpmpp", 5.0),
    "StableDiffusion3Pipeline": Sampling("euler", 7.0),
}


def names() -> tuple[str, ...]:
    """List the built-in models from the fastest to the best."""
    return NAMES


def folder(name: str) -> Path:
    """Give the folder with a model's weights."""
    if name not in NAMES:
        raise UnknownNameError("built-in model", name, NAMES, param="model")
    return WEIGHTS / name


def card(name: str) -> dict[str, Any]:
    """Give what is known about a model: parameters, bytes, guidance, training, measured quality."""
    path = folder(name) / "card.json"
    if not path.is_file():
        raise MissingWeights(f"{name} has no weights here; make them with: edgegen builtin train --out DIR")
    return json.loads(path.read_text())


def sampling(folder: Path) -> Sampling:
    """Read from its card what measured best for the model of a folder; without a card, what its family commonly uses."""
    usual = _usual(folder / "model_index.json")
    file = folder / "card.json"
    kept = json.loads(file.read_text()) if file.is_file() else {}
    return Sampling(kept.get("sampler", usual.sampler), float(kept.get("guidance", usual.guidance)))


def _usual(index: Path) -> Sampling:
    kind = json.loads(index.read_text()).get("_class_name") if index.is_file() else None
    return USUAL.get(kind, Sampling())


def assemble(name: str, out: Path) -> Path:
    """Copy a model with the shared parts into one ordinary diffusers folder, for StableDiffusionPipeline."""
    source = folder(name)
    shutil.copytree(source, out, dirs_exist_ok=True)
    for part in SHARED_FOLDERS:
        shutil.copytree(WEIGHTS / "shared" / part, out / part, dirs_exist_ok=True)
    return out
