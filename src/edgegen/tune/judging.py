"""How well a network draws what it was taught: the judge looks at pictures of captions that no site has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from edgegen.generate import builtin, show
from edgegen.generate.backends.diffusers import DiffusersBackend
from edgegen.generate.grammar import CATEGORIES, Scene, held_out_scenes
from edgegen.generate.judge import Judge, Verdict
from edgegen.generate.words import NOVEL, OBJECTS
from edgegen.tune.base import Base
from edgegen.tune.sites import held_out_novel

STEPS = 8
KNOWN = CATEGORIES[:3]  # of scenes with three objects no site has any


@dataclass(frozen=True)
class Exam:
    """Captions to be drawn; the same ones for everybody who is compared."""

    scenes: tuple[Scene, ...]
    steps: int = STEPS
    seed: int = 0

    @staticmethod
    def of(per_object: int = 25, per_known: int = 15, steps: int = STEPS, seed: int = 0) -> Exam:
        """Return held-out captions: so many of each novel object and of each known category."""
        known = [scene for name in KNOWN for scene in held_out_scenes(name, per_known, seed)]
        return Exam((*held_out_novel(per_object, seed), *known), steps, seed)


@dataclass(frozen=True)
class Marks:
    """What the judge found."""

    exam: Exam
    verdicts: tuple[Verdict, ...]
    pictures: np.ndarray  # uint8[n, side, side, 3]

    def right(self, rows: Iterable[int] | None = None) -> float:
        """Return the share of pictures with every attribute right, of all or of some rows."""
        chosen = range(len(self.verdicts)) if rows is None else list(rows)
        return float(np.mean([self.verdicts[row].all_right for row in chosen])) if chosen else float("nan")

    def quality(self, rows: Iterable[int] | None = None) -> float:
        """Return the mean share of right attributes, as profiles count quality."""
        chosen = range(len(self.verdicts)) if rows is None else list(rows)
        return float(np.mean([self.verdicts[row].share for row in chosen])) if chosen else float("nan")

    def rows(self, *, novel: str | None = None, category: str | None = None) -> list[int]:
        """Return the rows that show an object, or are of a category."""
        return [
            row
            for row, scene in enumerate(self.exam.scenes)
            if (novel is None or any(item.shape == novel for item in scene.items))
            and (category is None or scene.category == category)
        ]

    def by_object(self) -> dict[str, float]:
        """Return the quality of every novel object."""
        return {name: self.quality(self.rows(novel=name)) for name in OBJECTS}

    @property
    def novel(self) -> float:
        """Quality of what is new, all objects alike."""
        return self.quality(self.rows(category=NOVEL))

    @property
    def known(self) -> float:
        """Quality of what the base could draw before."""
        return self.quality([row for row, scene in enumerate(self.exam.scenes) if scene.category != NOVEL])

    def for_site(self, shares: Sequence[float] | np.ndarray) -> float:
        """Return the quality of novel objects in the proportions in which a site has them."""
        return float(np.dot(list(self.by_object().values()), shares))


def examine(base: Base, exam: Exam, judge: Judge | None = None) -> Marks:
    """Let the base's network, with whatever adapter it wears, draw every caption, and judge the pictures."""
    way = builtin.sampling(builtin.folder(base.name)) if base.name in builtin.names() else builtin.Sampling()
    captions = [scene.caption() for scene in exam.scenes]
    seeds = range(exam.seed, exam.seed + len(captions))
    pictures = show.run(DiffusersBackend(base.pipe, []), captions, steps=exam.steps, seeds=seeds, sampling=way)
    verdicts = (judge or Judge.load())(pictures, exam.scenes)
    return Marks(exam, tuple(verdicts), pictures)
