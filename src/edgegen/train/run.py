"""Make the built-in models: autoencoder, judge, then every size; a run that was killed goes on where it was."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import torch

from edgegen.train import autoencoder, diffusion, judge, pool, recipe
from edgegen.train.loop import TrainError, pick_device

log = logging.getLogger(__name__)
Progress = Callable[[str, int, int, dict[str, float]], None]


def stages(size: str) -> tuple[str, ...]:
    """List what a run makes: one size (with the parts it needs), or everything."""
    if size == "all":
        return ("autoencoder", "judge", "pool", *recipe.SIZES)
    if size in recipe.SIZES:
        return ("autoencoder", size)
    if size in ("autoencoder", "judge"):
        return (size,)
    if size == "pool":
        return ("autoencoder", "pool")
    choices = ", ".join(["all", *recipe.SIZES, "autoencoder", "judge", "pool"])
    raise TrainError(f"nothing to train is named {size!r}; choose one of {choices}")


def run(out: Path, size: str, steps_scale: float, *, resume: bool, progress: Progress) -> None:
    """Train what was asked for into a folder and export it."""
    from edgegen.train import export
    from edgegen.train.ship import ship

    if steps_scale <= 0:
        raise TrainError(f"steps scale must be > 0, got {steps_scale}")
    if not resume and any(out.glob("*.state.pt")):
        raise TrainError(f"{out} holds an earlier run; add --resume to go on with it, or name another folder")
    if pick_device().type == "cpu":
        torch.set_num_threads(1)  # more threads fight over the caches at this size
    wanted = stages(size)
    if wanted == ("judge",):
        export.judge(judge.fit(out, steps_scale, progress), out / "judge.onnx")
        return
    network = autoencoder.fit(out, steps_scale, progress)
    if "judge" in wanted:
        export.judge(judge.fit(out, steps_scale, progress), out / "judge.onnx")
    if "pool" in wanted:
        pool.fill(out, network, steps_scale, progress)
    if wanted[-1] in ("autoencoder", "pool"):
        return
    shapes = [recipe.SIZES[name] for name in wanted if name in recipe.SIZES]
    made = [diffusion.fit(shape, out, network, steps_scale, progress) for shape in shapes]
    for shape, networks in zip(shapes, made, strict=True):
        export.model(shape, networks, network, out / shape.name)
    if size == "all":
        ship(out, out / "weights", progress)
