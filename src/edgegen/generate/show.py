"""Make pictures with a model from start to end, and lay them out for people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from edgegen.core.errors import InputError
from edgegen.generate import builtin
from edgegen.generate.backends.onnx import OnnxBackend
from edgegen.generate.engine import Backend, Engine, EngineRequest
from edgegen.generate.grammar import CATEGORIES, held_out_scenes

MAX_BATCH = 8
SCALE = 2
LABEL = 14  # pixels of a line of text


def make(folder: Path, prompts: Sequence[str], *, steps: int, seeds: Sequence[int]) -> np.ndarray:
    """Generate pictures uint8[B, side, side, 3] for prompts, in the model's own way."""
    return run(OnnxBackend(folder), prompts, steps=steps, seeds=seeds, sampling=builtin.sampling(folder))


def run(
    backend: Backend, prompts: Sequence[str], *, steps: int, seeds: Sequence[int], sampling: builtin.Sampling
) -> np.ndarray:
    """Generate pictures uint8[B, side, side, 3] on an open model."""
    engine = Engine(backend, MAX_BATCH)
    for number, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True)):
        engine.submit(EngineRequest(str(number), prompt, steps, seed, *sampling))
    pictures: dict[int, np.ndarray] = {}
    while len(engine):
        pictures |= {int(event.id): event.picture for event in engine.step() if event.picture is not None}
    return np.stack([pictures[number] for number in range(len(prompts))])


def load_picture(file: Path) -> np.ndarray:
    """Read a picture as uint8[64, 64, 3], scaling a larger one down."""
    try:
        picture = Image.open(file).convert("RGB")
    except OSError as error:
        raise InputError(f"{file} is not a picture that can be read: {error}") from error
    if picture.width != picture.height or picture.width < builtin.SIDE:
        raise InputError(f"the judge takes square pictures of {builtin.SIDE} pixels or more, got {picture.size}")
    return np.asarray(picture.resize((builtin.SIDE, builtin.SIDE), Image.Resampling.BOX))


def contact_sheet(steps: Sequence[int], seed: int = 0, per_category: int = 2) -> Image.Image:
    """Lay out steps (across) x sizes and captions (down); every row is one caption and one seed."""
    scenes = [scene for category in CATEGORIES for scene in held_out_scenes(category, per_category, seed)]
    captions = [scene.caption() for scene in scenes]
    side, names = builtin.SIDE * SCALE, builtin.names()
    width = len(names) * len(steps) * side
    sheet = Image.new("RGB", (width, LABEL + len(captions) * (side + LABEL)), "white")
    pen = ImageDraw.Draw(sheet)
    for column, name in enumerate(names):
        for at, count in enumerate(steps):
            x = (column * len(steps) + at) * side
            pen.text((x + 2, 1), f"{name}, {count} step{'s' if count > 1 else ''}", fill="black")
            pictures = make(builtin.folder(name), captions, steps=count, seeds=range(seed, seed + len(captions)))
            for row, picture in enumerate(pictures):
                big = Image.fromarray(picture).resize((side, side), Image.Resampling.NEAREST)
                sheet.paste(big, (x, LABEL + row * (side + LABEL) + LABEL))
    for row, caption in enumerate(captions):
        pen.text((2, LABEL + row * (side + LABEL) + 1), f"{scenes[row].category}: {caption}", fill="black")
    return sheet
