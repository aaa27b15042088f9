"""The judge: does a picture show what its caption says, attribute by attribute?

A small network finds the objects of a picture (where, which shape, colour and size) and its background; plain code
compares that with the scene. The network is trained on drawn pictures (``edgegen builtin train``), some of them spoilt:
a blend of two shapes or two colours is taught as "neither", so that blurred pictures are not waved through.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from edgegen.generate.grammar import Scene
from edgegen.generate.pictures import SIDE
from edgegen.generate.words import BACKGROUNDS, COLOURS, NOVEL, SHAPES, SIZES

GRID = 16
CELL = SIDE / GRID
FOUND = 0.4  # a peak of the heat map above this is an object
APART = 4.0  # pixels by which an object must lie to one side of another
CLOSE = 22.0  # pixels between the parts of one object, at most
CHUNK = 64
WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class Seen:
    """One object found in a picture; shape or colour is None where the judge sees neither of those it knows."""

    x: float
    y: float
    shape: str | None
    colour: str | None
    size: str


@dataclass(frozen=True)
class Verdict:
    """Which attributes of a caption a picture gets right, by name, for instance ``colour 1`` or ``count``."""

    attributes: dict[str, bool]

    @property
    def share(self) -> float:
        """Fraction of the attributes that are right."""
        return sum(self.attributes.values()) / len(self.attributes)

    @property
    def all_right(self) -> bool:
        """Whether every attribute is right."""
        return all(self.attributes.values())


class Judge:
    """Looks at pictures through the ONNX judge network."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session

    @staticmethod
    def load(path: Path | None = None, threads: int = 1) -> Judge:
        """Open the shipped judge, or another one."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        file = path or WEIGHTS / "judge.onnx"
        return Judge(onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"]))

    def __call__(self, pictures: np.ndarray, scenes: Sequence[Scene]) -> list[Verdict]:
        """Judge uint8[B, 64, 64, 3] against B scenes."""
        if len(pictures) != len(scenes) or pictures.shape[1:] != (SIDE, SIDE, 3):
            raise ValueError(
                f"expected pictures of shape ({len(scenes)}, {SIDE}, {SIDE}, 3) for {len(scenes)} scenes, "
                f"got {pictures.shape}"
            )
        found = self.look(pictures)
        return [compare(scene, seen, ground) for scene, (seen, ground) in zip(scenes, found, strict=True)]

    def look(self, pictures: np.ndarray) -> list[tuple[list[Seen], str]]:
        """List the objects and the background of every picture."""
        out: list[tuple[list[Seen], str]] = []
        for start in range(0, len(pictures), CHUNK):
            planes = pictures[start : start + CHUNK].transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1
            maps, ground = map(np.asarray, self._session.run(None, {"picture": planes}))
            out += [
                (_objects(one), list(BACKGROUNDS)[int(best)]) for one, best in zip(maps, ground.argmax(1), strict=True)
            ]
        return out


def compare(scene: Scene, seen: Sequence[Seen], background: str) -> Verdict:
    """Check a scene against what was seen, matching objects in the way that is kindest to the picture.

    A novel object is there when both of its parts are, close together.
    """
    best: dict[str, bool] = {}
    scene, close = scene.taken_apart(), scene.category == NOVEL
    places = range(max(len(seen), len(scene.items)))
    for chosen in itertools.permutations(places, len(scene.items)):
        matched = [seen[at] if at < len(seen) else None for at in chosen]
        verdict = _attributes(scene, matched)
        if close:
            verdict["together 1 2"] = _close(matched[0], matched[1])
        if not best or sum(verdict.values()) > sum(best.values()):
            best = verdict
    best["count"] = len(seen) == len(scene.items)
    if scene.background:
        best["background"] = background == scene.background
    return Verdict(best)


def _attributes(scene: Scene, matched: Sequence[Seen | None]) -> dict[str, bool]:
    out: dict[str, bool] = {}
    for number, (item, one) in enumerate(zip(scene.items, matched, strict=True), 1):
        out[f"colour {number}"] = one is not None and one.colour == item.colour
        out[f"shape {number}"] = one is not None and one.shape == item.shape
        if item.size:
            out[f"size {number}"] = one is not None and one.size == item.size
    for at, (first, relation, second) in enumerate(scene.pairs()):
        strict = at == 0  # of the third object only the side is asked for
        out[f"relation {first + 1} {second + 1}"] = _holds(matched[first], relation, matched[second], strict)
    return out


def _holds(first: Seen | None, relation: str, second: Seen | None, strict: bool) -> bool:
    if first is None or second is None:
        return False
    right, down = second.x - first.x, second.y - first.y
    along, across = (right, down) if relation in ("left of", "right of") else (down, right)
    along = along if relation in ("left of", "above") else -along
    return along >= APART and (not strict or along >= abs(across))


def _close(first: Seen | None, second: Seen | None) -> bool:
    return first is not None and second is not None and np.hypot(first.x - second.x, first.y - second.y) <= CLOSE


def _objects(maps: np.ndarray) -> list[Seen]:
    """Read the objects of one picture off its maps, float[1 + shapes + colours + sizes, GRID, GRID]."""
    heat = 1 / (1 + np.exp(-maps[0]))
    padded = np.pad(heat, 1)
    around = np.stack([padded[dy : dy + GRID, dx : dx + GRID] for dy in range(3) for dx in range(3)])
    peaks = np.argwhere((heat >= around.max(0)) & (heat > FOUND))
    kinds = (*SHAPES, None), (*COLOURS, None), SIZES
    edges = np.cumsum([1, *(len(kind) for kind in kinds)])
    seen = []
    for row, column in peaks[:6]:
        weight = around[:, row, column]
        y = (row + (weight @ np.repeat([-1, 0, 1], 3)) / weight.sum() + 0.5) * CELL
        x = (column + (weight @ np.tile([-1, 0, 1], 3)) / weight.sum() + 0.5) * CELL
        shape, colour, size = (
            kind[int(maps[low:high, row, column].argmax())]
            for kind, (low, high) in zip(kinds, itertools.pairwise(edges), strict=True)
        )
        seen.append(Seen(float(x), float(y), shape, colour, str(size)))
    return seen
