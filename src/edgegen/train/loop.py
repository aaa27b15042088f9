"""One training loop for every network: seeded per step, logged to CSV, resumable after a kill."""

from __future__ import annotations

import csv
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch

from edgegen.core.errors import EdgegenError
from edgegen.train.recipe import SEED, Budget

SAVE_EVERY_S = 60.0
LOG_EVERY_STEPS = 50


class TrainError(EdgegenError):
    """Training cannot start or go on."""


class Stateful(Protocol):
    """Anything whose state a checkpoint keeps."""

    def state_dict(self) -> dict[str, Any]:
        """Give the state."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Take the state back."""
        ...


class Average:
    """An exponential moving average of a network's weights, which is what is shipped."""

    def __init__(self, module: torch.nn.Module, decay: float) -> None:
        self._decay = decay
        self._source = [value for value in module.state_dict().values() if value.dtype.is_floating_point]
        self.weights = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the present weights; quickly at first, when they are still poor."""
        decay = min(self._decay, (1 + step) / (10 + step))
        kept = [value for value in self.weights.values() if value.dtype.is_floating_point]
        torch._foreach_lerp_(kept, self._source, 1 - decay)

    def state_dict(self) -> dict[str, Any]:
        """Give the averaged weights."""
        return self.weights

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the averaged weights back."""
        self.weights = state_dict


def pick_device() -> torch.device:
    """Use a GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def rate_at(step: int, budget: Budget) -> float:
    """Learning rate: linear warm-up, then a cosine down to 2 % of the peak."""
    if step < budget.warmup_steps:
        return budget.peak_rate * (step + 1) / budget.warmup_steps
    done = (step - budget.warmup_steps) / max(1, budget.steps - budget.warmup_steps)
    return budget.peak_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def step_seed(stage: str, step: int) -> list[int]:
    """Seed of one step: randomness depends on the step alone, so a resumed run draws the same numbers."""
    return [SEED, *stage.encode(), step]


def train(
    stage: str,
    folder: Path,
    budget: Budget,
    *,
    parts: dict[str, Stateful],
    optimiser: torch.optim.Optimizer,
    advance: Callable[[int], dict[str, float]],
    progress: Callable[[str, int, int, dict[str, float]], None],
) -> None:
    """Run `advance(step)` up to the budget, going on from the folder's checkpoint if it has one."""
    folder.mkdir(parents=True, exist_ok=True)
    start, spent = _resume(folder / f"{stage}.state.pt", {**parts, "optimiser": optimiser})
    log = _Log(folder / f"{stage}.csv", start)
    clock, cpu, saved = time.monotonic(), time.process_time(), time.monotonic()
    for step in range(start, budget.steps):
        for group in optimiser.param_groups:
            group["lr"] = rate_at(step, budget)
        figures = advance(step)
        if not math.isfinite(figures["loss"]):
            raise TrainError(f"{stage}: the loss is {figures['loss']} at step {step}; lower the learning rate")
        last = step + 1 == budget.steps
        if (step + 1) % LOG_EVERY_STEPS == 0 or last:
            spent_now = spent[0] + time.monotonic() - clock, spent[1] + time.process_time() - cpu
            log.write({"step": step + 1, "wall_s": spent_now[0], "cpu_s": spent_now[1], **figures})
            progress(stage, step + 1, budget.steps, figures)
            if last or time.monotonic() - saved > SAVE_EVERY_S:
                _save(folder / f"{stage}.state.pt", {**parts, "optimiser": optimiser}, step + 1, spent_now)
                saved = time.monotonic()


def _save(path: Path, parts: dict[str, Stateful], step: int, spent: tuple[float, float]) -> None:
    """Write the checkpoint beside the old one and swap, so that a kill leaves one of the two whole."""
    states = {name: part.state_dict() for name, part in parts.items()}
    fresh = path.with_suffix(".new")
    torch.save({"step": step, "spent": spent, "states": states}, fresh)
    os.replace(fresh, path)


def _resume(path: Path, parts: dict[str, Stateful]) -> tuple[int, tuple[float, float]]:
    if not path.exists():
        return 0, (0.0, 0.0)
    kept = torch.load(path, map_location=pick_device(), weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(kept["states"][name])
    return int(kept["step"]), (float(kept["spent"][0]), float(kept["spent"][1]))


class _Log:
    """A CSV file that is cut back to the checkpoint when a run resumes."""

    def __init__(self, path: Path, start: int) -> None:
        self._path = path
        rows: list[dict[str, str]] = []
        if path.exists():
            with path.open(newline="") as file:
                rows = [row for row in csv.DictReader(file) if int(row["step"]) <= start]
        path.unlink(missing_ok=True)
        for row in rows:
            self.write(row)

    def write(self, row: dict[str, Any]) -> None:
        """Append a row, with a heading if it is the first."""
        row = {key: f"{value:.5g}" if isinstance(value, float) else value for key, value in row.items()}
        fresh = not self._path.exists()
        with self._path.open("a", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(row))
            if fresh:
                writer.writeheader()
            writer.writerow(row)
