"""The built-in models as something that can be measured: through the same engine that serves requests."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgegen.core.errors import InputError, suggest
from edgegen.generate import builtin
from edgegen.generate.adapter_files import ADAPTER, read_card
from edgegen.generate.backends.adapted import AdaptedBackend, is_adapter
from edgegen.generate.backends.onnx import PARTS, OnnxBackend, part_file
from edgegen.generate.engine import NO_GUIDANCE, Backend, Engine, EngineRequest
from edgegen.generate.grammar import CATEGORIES, Scene, held_out, held_out_scenes, sample_novel
from edgegen.generate.judge import Judge
from edgegen.generate.words import NOVEL, OBJECTS


@dataclass
class _Batch:
    """An engine with its requests, and the pictures that are finished, by the number of their request."""

    engine: Engine
    count: int
    pictures: dict[int, np.ndarray]


class OnnxSubject:
    """An ONNX model folder, or an adapter on its base, in the engine; one thread, all requests of a batch at the same step."""

    picture_px = builtin.SIDE

    def __init__(self, name: str, folder: Path) -> None:
        self._sampling = builtin.sampling(folder)
        self.name = name
        self.categories: Sequence[str] = CATEGORIES
        self.files: Sequence[Path] = [folder / ADAPTER]
        if is_adapter(folder):
            card = read_card(folder)
            self.name, self.categories = card.name, card.categories or CATEGORIES
            self._backend: Backend = AdaptedBackend(folder, threads=1)
        else:
            self.files = [part_file(folder, part) for part in PARTS]
            self._backend = OnnxBackend(folder, threads=1)
        self.sampler = self._sampling.sampler
        self.guidance: float | None = self._sampling.guidance
        self.passes_per_step = 2 if self._sampling.guidance > NO_GUIDANCE else 1

    @functools.cached_property
    def _judge(self) -> Judge:
        return Judge.load()  # only when something is judged: it is not part of loading a model

    def captions(self, category: str, count: int, seed: int) -> tuple[list[str], list[Scene]]:
        """Draw held-out scenes of a category; their captions were never trained on."""
        scenes = _novel_scenes(count, seed) if category == NOVEL else held_out_scenes(category, count, seed)
        return [scene.caption() for scene in scenes], scenes

    def start(self, captions: Sequence[str], steps: int, seeds: Sequence[int]) -> _Batch:
        """Submit the captions to an engine of their own."""
        engine = Engine(self._backend, max_batch=len(captions))
        for number, (caption, seed) in enumerate(zip(captions, seeds, strict=True)):
            engine.submit(EngineRequest(str(number), caption, steps, seed, *self._sampling))
        return _Batch(engine, len(captions), {})

    def step(self, batch: _Batch) -> None:
        """Do one step of all of them."""
        for event in batch.engine.step():
            if event.picture is not None:
                batch.pictures[int(event.id)] = event.picture

    def finish(self, batch: _Batch) -> np.ndarray:
        """Return the pictures in the order of the captions."""
        return np.stack([batch.pictures[number] for number in range(batch.count)])

    def outside_of_steps(self, caption: str) -> None:
        """Encode one caption and decode one picture."""
        self._backend.encode([caption])
        self._backend.decode(np.zeros((1, *self._backend.latent_shape), np.float32))

    def shares(self, pictures: np.ndarray, truths: Sequence[Scene]) -> list[float]:
        """Ask the judge."""
        return [verdict.share for verdict in self._judge(pictures, truths)]

    def warm_up(self) -> None:
        """Make one picture in one step."""
        batch = self.start(["a red circle"], 1, [0])
        self.step(batch)
        self.finish(batch)


def _novel_scenes(count: int, seed: int) -> list[Scene]:
    """Draw scenes that show what the built-in models were never shown, each thing as often as any other."""
    rng, things = np.random.default_rng([seed, len(CATEGORIES)]), tuple(OBJECTS)
    scenes: list[Scene] = []
    while len(scenes) < count:
        scene = sample_novel(rng, things[len(scenes) % len(things)])
        if held_out(scene):
            scenes.append(scene)
    return scenes


def open_onnx(model: str) -> OnnxSubject:
    """Open a built-in model by name, or any model of the same kind by the path of its folder."""
    if model in builtin.names():
        return OnnxSubject(model, builtin.folder(model))
    folder = Path(model)
    if not folder.is_dir():
        known = ", ".join(builtin.names())
        raise InputError(
            f"no model named {model!r} and no folder of that name;{suggest(model, builtin.names())} built in: {known}",
            param="model",
        )
    return OnnxSubject(folder.name, folder)
