"""Sites with private pictures: objects that the base never saw, unevenly spread.

Every site has drawn pictures with captions. How many of them show which novel object is drawn from a Dirichlet distribution
(Hsu et al., arXiv 1909.06335): with alpha = 100 all sites are alike, with 0.1 a site knows hardly more than one of the objects.
Captions that are held out are on no site; by them it is judged what was learnt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgegen.core.errors import InputError
from edgegen.generate.grammar import Scene, held_out, sample_novel
from edgegen.generate.pictures import NEAT, draw_batch
from edgegen.generate.words import OBJECTS
from edgegen.train.data import training_scene

NAMES = ("harbour", "garden", "workshop", "market", "museum", "school", "studio", "station", "library", "bakery")

STRANGER = 1  # tells the chance of a site's strangers from its own


@dataclass(frozen=True)
class Spread:
    """How private pictures lie on sites."""

    sites: int = 3
    pictures: int = 300  # of each site
    alpha: float = 1.0  # of the Dirichlet distribution
    known: float = 0.25  # share of pictures that show nothing new
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.sites <= 1000:
            raise InputError(f"sites must be 1 to 1000, got {self.sites}", param="sites")
        if self.pictures < 8:
            raise InputError(f"a site needs 8 pictures or more, got {self.pictures}", param="pictures")
        if not self.alpha > 0:
            raise InputError(f"alpha must be above 0, got {self.alpha}", param="alpha")
        if not 0 <= self.known < 1:
            raise InputError(f"known must be at least 0 and below 1, got {self.known}", param="known")


@dataclass(frozen=True)
class Site:
    """What one site has, and never gives away."""

    name: str
    shares: np.ndarray  # float64[objects], of the novel objects among its pictures
    scenes: tuple[Scene, ...]
    pictures: np.ndarray  # uint8[n, 64, 64, 3]

    @property
    def lacks(self) -> str:
        """The novel object of which it has least."""
        return tuple(OBJECTS)[int(self.shares.argmin())]

    @property
    def captions(self) -> list[str]:
        """What its pictures show."""
        return [scene.caption() for scene in self.scenes]


def make_site(spread: Spread, number: int) -> Site:
    """Draw one site's pictures, knowing nothing of the other sites."""
    rng = np.random.default_rng([spread.seed, number])
    shares = np.maximum(rng.dirichlet(np.full(len(OBJECTS), spread.alpha)), 1e-9)
    shares /= shares.sum()
    name = NAMES[number % len(NAMES)] + (f"-{number // len(NAMES) + 1}" if number >= len(NAMES) else "")
    return _drawn(name, shares, spread.known, spread.pictures, rng)


def make_stranger(site: Site, spread: Spread, number: int, count: int) -> Site:
    """Draw pictures that a site might have and has not: the same mix, other chance. An attacker's non-members."""
    rng = np.random.default_rng([spread.seed, number, STRANGER])
    return _drawn(f"not {site.name}", site.shares, spread.known, count, rng)


def _drawn(name: str, shares: np.ndarray, known: float, count: int, rng: np.random.Generator) -> Site:
    scenes: list[Scene] = []
    while len(scenes) < count:
        if rng.random() < known:
            scenes.append(training_scene(rng))
            continue
        scene = sample_novel(rng, tuple(OBJECTS)[int(rng.choice(len(OBJECTS), p=shares))])
        if not held_out(scene):
            scenes.append(scene)
    return Site(name, shares, tuple(scenes), draw_batch(scenes, rng, style=NEAT))


def held_out_novel(count: int, seed: int, objects: Sequence[str] = tuple(OBJECTS)) -> list[Scene]:
    """Draw so many scenes of every novel object whose captions are on no site."""
    rng = np.random.default_rng([seed, 4242])
    scenes: list[Scene] = []
    for name in objects:
        found: list[Scene] = []
        while len(found) < count:
            scene = sample_novel(rng, name)
            if held_out(scene):
                found.append(scene)
        scenes += found
    return scenes
