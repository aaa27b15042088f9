"""What a change of the number of steps on the way costs: against pictures that had the new number from the start."""

import itertools
import time
from collections.abc import Callable, Sequence

import numpy as np

from edgegen.core.result import Bar

NAME = "retarget"
SUMMARY = "steps that change on the way: share of right attributes against as many steps from the start, 300 captions"
MODELS = ("shapes-l", "shapes-m")
PER_CATEGORY = 75
SEED = 23
BATCH = 8
# steps at first, steps done when they change, steps in all then
CHANGES = ((16, 2, 8), (16, 4, 8), (16, 6, 8), (8, 2, 4), (16, 2, 24), (16, 4, 24), (16, 8, 24), (4, 1, 8), (4, 2, 8))


def run(progress: Callable[[str], None]) -> list[Bar]:
    """Measure everything on the same captions and noise; takes about five minutes of one core."""
    from edgegen.generate.grammar import CATEGORIES, held_out_scenes

    scenes = [scene for category in CATEGORIES for scene in held_out_scenes(category, PER_CATEGORY, SEED)]
    began_s, bars = time.process_time(), []
    for name in MODELS:
        whole = {}
        for steps in sorted({last for _, _, last in CHANGES} | {first for first, _, _ in CHANGES}):
            progress(f"{name}, {steps} steps")
            whole[steps] = shares(name, scenes, steps)
            bars += _bars(f"{name}, {steps} steps: share of right attributes", scenes, whole[steps])
        for first, done, last in CHANGES:
            progress(f"{name}, {first} steps, {last} after {done}")
            changed = shares(name, scenes, first, (done, last))
            label = f"{name}, {first} steps, {last} after {done}: right attributes, less those of {last} from the start"
            bars += _bars(label, scenes, changed - whole[last])
    return [*bars, Bar.report("processor time of all of this", time.process_time() - began_s, unit="s")]


def shares(name: str, scenes: Sequence, steps: int, change: tuple[int, int] | None = None) -> np.ndarray:
    """Share of right attributes float[B] of one picture per scene; `change` is (steps done, steps in all then)."""
    from edgegen.generate import builtin
    from edgegen.generate.backends.onnx import OnnxBackend
    from edgegen.generate.judge import Judge

    folder = builtin.folder(name)
    backend, sampling = OnnxBackend(folder), builtin.sampling(folder)
    captions = [scene.caption() for scene in scenes]
    pictures = make(backend, captions, steps, sampling=sampling, change=change)
    return np.array([verdict.share for verdict in Judge.load()(pictures, scenes)])


def make(backend, captions: Sequence[str], steps: int, *, sampling, change: tuple[int, int] | None) -> np.ndarray:
    """Make pictures uint8[B, side, side, 3], the number of the caption being the seed of its noise."""
    from edgegen.generate.engine import Engine, EngineRequest

    pictures: dict[int, np.ndarray] = {}
    for begin in range(0, len(captions), BATCH):
        engine, numbers = Engine(backend, BATCH), range(begin, min(begin + BATCH, len(captions)))
        for number in numbers:
            engine.submit(EngineRequest(str(number), captions[number], steps, number, *sampling))
        for done in itertools.count():
            if change is not None and done == change[0]:
                assert all(engine.retarget(str(number), change[1]) for number in numbers)
            pictures |= {int(event.id): event.picture for event in engine.step() if event.picture is not None}
            if not len(engine):
                break
    return np.stack([pictures[number] for number in range(len(captions))])


def _bars(label: str, scenes: Sequence, values: np.ndarray) -> list[Bar]:
    """The mean over all scenes and of each category, with its 95 % interval (normal approximation)."""
    categories = np.array([scene.category for scene in scenes])
    bars = []
    for category in ("all", *dict.fromkeys(categories.tolist())):
        found = values if category == "all" else values[categories == category]
        half = 1.96 * found.std(ddof=1) / np.sqrt(len(found))
        mean = float(found.mean())
        bars.append(Bar.report(f"{label}, {category}", mean, n=len(found), low=mean - half, high=mean + half))
    return bars
