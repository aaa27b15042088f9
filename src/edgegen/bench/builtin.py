"""The bars of the built-in models: how often every attribute is right, how fast a step is, how good the judge is."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgegen.core.result import Bar, median_interval, wilson

NAME = "builtin"
SUMMARY = "the built-in models on 400 held-out captions: attributes right, seconds per step, the judge itself, bytes"
PER_CATEGORY = 100
SEED = 11
FULL_STEPS = 16
FEW_STEPS = (1, 2, 4)
GOALS = {"basic": 0.90, "detail": 0.90, "relation": 0.75}
JUDGE_GOAL = 0.99
SPEED_GOAL = 4.0
SIZE_GOAL_MB = 24.0
TIMED_STEPS = 200


def run(progress: Callable[[str], None]) -> list[Bar]:
    """Measure everything; takes a few minutes on one core."""
    from edgegen.generate.grammar import CATEGORIES, held_out_scenes

    scenes = [scene for category in CATEGORIES for scene in held_out_scenes(category, PER_CATEGORY, SEED)]
    progress("the judge on drawn pictures")
    bars = judge_bars(scenes)
    progress("seconds per step")
    bars += speed_bars()
    for name in ("shapes-l", "shapes-m", "shapes-s"):
        for steps in (FULL_STEPS, *FEW_STEPS):
            progress(f"{name}, {steps} steps")
            bars += quality_bars(name, steps, scenes)
    return [*bars, size_bar()]


def quality_bars(name: str, steps: int, scenes: Sequence) -> list[Bar]:
    """Share of pictures with every attribute right, per category; only the large model at full steps has goals."""
    from edgegen.generate.grammar import CATEGORIES

    verdicts = generate_and_judge(name, steps, scenes)
    bars = []
    for category in CATEGORIES:
        right = [v.all_right for v, scene in zip(verdicts, scenes, strict=True) if scene.category == category]
        interval = dict(zip(("low", "high"), wilson(sum(right), len(right)), strict=True))
        label, share = f"{name}, {steps} steps, {category}: all attributes right", float(np.mean(right))
        goal = GOALS.get(category) if (name, steps) == ("shapes-l", FULL_STEPS) else None
        if goal is None:
            bars.append(Bar.report(label, share, n=len(right), **interval))
        else:
            bars.append(Bar.at_least(label, share, goal, n=len(right), **interval))
    return bars


def generate_and_judge(name: str, steps: int, scenes: Sequence) -> list:
    """Make one picture per scene and judge it."""
    from edgegen.generate import builtin
    from edgegen.generate.backends.onnx import OnnxBackend
    from edgegen.generate.judge import Judge
    from edgegen.generate.show import run as make

    pictures = make(
        OnnxBackend(builtin.folder(name)),
        [scene.caption() for scene in scenes],
        steps=steps,
        seeds=range(len(scenes)),
        sampling=builtin.sampling(builtin.folder(name)),
    )
    return Judge.load()(pictures, scenes)


def judge_bars(scenes: Sequence) -> list[Bar]:
    """Accuracy of the judge per kind of attribute on drawn pictures, and on captions with one attribute changed."""
    from edgegen.generate.judge import Judge
    from edgegen.generate.pictures import draw_batch

    judge, rng = Judge.load(), np.random.default_rng(SEED)
    right: dict[str, list[bool]] = {}
    pictures = draw_batch(scenes, rng)
    for verdict in judge(pictures, scenes):
        for name, ok in verdict.attributes.items():
            right.setdefault(name.split()[0], []).append(ok)
    wrong: dict[str, list[bool]] = {}
    pairs = [(kind, other, at) for at, scene in enumerate(scenes) for kind, other in spoilt(scene, rng)]
    verdicts = judge(pictures[[at for _, _, at in pairs]], [other for _, other, _ in pairs])
    for (kind, _, _), verdict in zip(pairs, verdicts, strict=True):
        wrong.setdefault(kind, []).append(not verdict.all_right)
    return [
        *(_rate(f"judge, {name} accepted when right", found) for name, found in right.items()),
        *(_rate(f"judge, {name} refused when wrong", found) for name, found in wrong.items()),
    ]


def _rate(label: str, found: list[bool]) -> Bar:
    low, high = wilson(sum(found), len(found))
    return Bar.at_least(label, float(np.mean(found)), JUDGE_GOAL, n=len(found), low=low, high=high)


def spoilt(scene, rng: np.random.Generator) -> list[tuple[str, Any]]:
    """Scenes that differ from this one in one attribute, each with the attribute's kind."""
    from dataclasses import replace

    from edgegen.generate.words import BACKGROUNDS, COLOURS, SHAPES, SIZES

    at = int(rng.integers(len(scene.items)))
    item = scene.items[at]

    def with_item(**changes: str):
        items = (*scene.items[:at], replace(item, **changes), *scene.items[at + 1 :])
        return replace(scene, items=items)

    out = [
        ("colour", with_item(colour=_other(rng, COLOURS, item.colour))),
        ("shape", with_item(shape=_other(rng, SHAPES, item.shape))),
    ]
    if item.size:
        out.append(("size", with_item(size=_other(rng, SIZES, item.size))))
    if scene.background:
        out.append(("background", replace(scene, background=_other(rng, BACKGROUNDS, scene.background))))
    opposite = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
    if scene.relation:
        out.append(("relation", replace(scene, relation=opposite[scene.relation])))
    if scene.group:
        out.append(("relation", replace(scene, group=opposite[scene.group])))
        out.append(("count", replace(scene, items=scene.items[:2], group=None)))
    return out


def _other(rng: np.random.Generator, options, said: str) -> str:
    rest = [option for option in options if option != said]
    return rest[int(rng.integers(len(rest)))]


def speed_bars() -> list[Bar]:
    """Milliseconds per step of one picture, sizes taking turns so that a busy machine hurts all alike.

    A step of a model that is served with guidance is one pass over two rows: with the caption and without.
    """
    from edgegen.generate import builtin
    from edgegen.generate.backends.onnx import OnnxBackend

    backends = {name: OnnxBackend(builtin.folder(name)) for name in builtin.names()}
    guided = {name: builtin.sampling(builtin.folder(name)).guidance > 1 for name in backends}
    times = _taking_turns(backends, {name: 2 if guided[name] else 1 for name in backends})
    bars = []
    for name, found in times.items():
        label = f"{name}: one {'guided ' if guided[name] else ''}step of one picture"
        low, high = median_interval(1e3 * np.array(found))
        bars.append(Bar.report(label, 1e3 * float(np.median(found)), unit="ms", n=TIMED_STEPS, low=low, high=high))
    value, shared = _ratio(times)
    bars.append(Bar.at_least("shapes-s is faster per step than shapes-l, median of turns", value, SPEED_GOAL, **shared))
    value, shared = _ratio(_taking_turns(backends, dict.fromkeys(backends, 1)))
    return [*bars, Bar.report("shapes-s is faster per pass over one row, without guidance", value, **shared)]


def _taking_turns(backends: dict, rows: dict[str, int]) -> dict[str, list[float]]:
    """Seconds of passes over so many rows, by model."""
    feeds = {name: _feed(backend, rows[name]) for name, backend in backends.items()}
    times: dict[str, list[float]] = {name: [] for name in backends}
    for _ in range(TIMED_STEPS):
        for name, backend in backends.items():
            began = time.perf_counter()
            backend.denoise(*feeds[name])
            times[name].append(time.perf_counter() - began)
    return times


def _ratio(times: dict[str, list[float]]) -> tuple[float, dict]:
    ratios = np.array(times["shapes-l"]) / np.array(times["shapes-s"])
    low, high = median_interval(ratios)
    return float(np.median(ratios)), {"unit": "x", "n": len(ratios), "low": low, "high": high}


def _feed(backend, batch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    latents = np.random.default_rng(SEED).standard_normal((batch, *backend.latent_shape), np.float32)
    return latents, np.full(batch, 500), backend.encode(["a red circle"] * batch)


def size_bar() -> Bar:
    """Megabytes of everything shipped: safetensors, ONNX, judge."""
    from edgegen.generate.builtin import WEIGHTS

    total = sum(file.stat().st_size for file in WEIGHTS.rglob("*") if file.is_file())
    return Bar.at_most("everything shipped", total / 1e6, SIZE_GOAL_MB, unit="MB")
