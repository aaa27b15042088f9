"""Draw scenes as anti-aliased pictures, many at a time, from signed distances to the shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgegen.generate.grammar import Scene
from edgegen.generate.words import BACKGROUNDS, COLOURS, RELATIONS, SHAPES, SIZES

MAX_ITEMS = 3
SIDE = 64
# Novel objects always lie on one grid: their parts are as close as two small shapes can be on it.
NOVEL_RADIUS, NOVEL_GRID = 7.0, np.array([16, 32, 48])


@dataclass(frozen=True)
class Style:
    """How freely pictures are laid out: radii in pixels at side 64, colours' jitter in levels, a grid for the centres."""

    radii: dict[str, tuple[float, float]]
    crowded: tuple[float, float]  # three objects share the picture
    jitter: float
    margin: float  # pixels between an object and the picture's edge
    grid: float | None  # centres lie on multiples of this many pixels; None is anywhere


# Anything goes: what the judge and the autoencoder learn from.
FREE = Style({"small": (6.0, 7.5), "large": (11.0, 13.5)}, (7.5, 9.5), jitter=4, margin=1.5, grid=None)
# What the models learn to draw: one radius per size, and centres on every second corner of the latent cells (which are
# 8 pixels wide), so that a shape is the same pattern of latents wherever it lies.
NEAT = Style({"small": (7.0, 7.0), "large": (12.0, 12.0)}, (9.0, 9.0), jitter=0, margin=1.0, grid=16)


@dataclass
class Layout:
    """Where everything of B pictures lies; unused objects have radius 0.

    shape: int[B, 3] index into SHAPES; colour: float[B, 3, 3] in levels of 255; centre: float[B, 3, 2] as (x, y) and
    radius: float[B, 3] in pixels at side 64; background: float[B, 3]; background_kind: int[B]; size_kind: int[B, 3].
    """

    shape: np.ndarray
    colour: np.ndarray
    colour_kind: np.ndarray
    centre: np.ndarray
    radius: np.ndarray
    size_kind: np.ndarray
    background: np.ndarray
    background_kind: np.ndarray


def draw(scene: Scene, rng: np.random.Generator, side: int = SIDE, style: Style = FREE) -> np.ndarray:
    """Draw one scene as uint8[side, side, 3]; what the scene does not say is random."""
    return draw_batch([scene], rng, side, style)[0]


def draw_batch(scenes: Sequence[Scene], rng: np.random.Generator, side: int = SIDE, style: Style = FREE) -> np.ndarray:
    """Draw many scenes as uint8[B, side, side, 3]."""
    return render(lay_out(scenes, rng, style), side)


def lay_out(scenes: Sequence[Scene], rng: np.random.Generator, style: Style = FREE) -> Layout:
    """Choose places, sizes and exact colours for what the scenes ask."""
    batch = len(scenes)
    shape, colour_kind, size_kind = (np.zeros((batch, MAX_ITEMS), int) for _ in range(3))
    radius = np.zeros((batch, MAX_ITEMS))
    centre = np.zeros((batch, MAX_ITEMS, 2))
    background_kind = np.zeros(batch, int)
    for row, said in enumerate(scenes):
        scene = said.taken_apart()
        count = len(scene.items)
        background_kind[row] = _index(BACKGROUNDS, scene.background, rng)
        for slot, item in enumerate(scene.items):
            shape[row, slot] = SHAPES.index(item.shape)
            colour_kind[row, slot] = list(COLOURS).index(item.colour)
            size_kind[row, slot] = _index(SIZES, item.size, rng)
            band = style.crowded if count == MAX_ITEMS else style.radii[SIZES[size_kind[row, slot]]]
            radius[row, slot] = rng.uniform(*band)
        if scene is not said:
            radius[row, :count], size_kind[row, :count] = NOVEL_RADIUS, 0
            centre[row, :count] = _novel_places(scene, rng)
            continue
        centre[row, :count] = _places(scene, radius[row, :count], rng, style)
    colour = np.array(list(COLOURS.values()), float)[colour_kind]
    colour = np.clip(colour + rng.uniform(-style.jitter, style.jitter, colour.shape), 0, 255)
    background = np.array(list(BACKGROUNDS.values()), float)[background_kind]
    return Layout(shape, colour, colour_kind, centre, radius, size_kind, background, background_kind)


def render(layout: Layout, side: int = SIDE) -> np.ndarray:
    """Paint laid-out pictures as uint8[B, side, side, 3]."""
    scale = side / SIDE
    grid = ((np.arange(side) + 0.5) / scale).astype(np.float32)
    picture = np.repeat(layout.background.astype(np.float32)[:, None, None], side, 1).repeat(side, 2)
    for slot in range(MAX_ITEMS):
        for kind, distance in enumerate(_DISTANCES):
            rows = np.flatnonzero((layout.radius[:, slot] > 0) & (layout.shape[:, slot] == kind))
            if rows.size == 0:
                continue
            place = layout.centre[rows, slot].astype(np.float32)
            x = grid[None, None, :] - place[:, 0, None, None]
            y = grid[None, :, None] - place[:, 1, None, None]
            signed = distance(x, y, layout.radius[rows, slot].astype(np.float32)[:, None, None])
            cover = np.clip(0.5 - signed * scale, 0, 1)[..., None]
            picture[rows] += cover * (layout.colour[rows, slot].astype(np.float32)[:, None, None] - picture[rows])
    return np.rint(picture).astype(np.uint8)


def _circle(x: np.ndarray, y: np.ndarray, radius: np.ndarray) -> np.ndarray:
    return np.hypot(x, y) - radius


def _square(x: np.ndarray, y: np.ndarray, radius: np.ndarray) -> np.ndarray:
    return np.maximum(abs(x), abs(y)) - 0.9 * radius


def _triangle(x: np.ndarray, y: np.ndarray, radius: np.ndarray) -> np.ndarray:
    down = y - 0.5 * radius  # the lower edge; the two others lean by 60 degrees
    lean = 0.866 * abs(x) - 0.5 * y - 0.5 * radius
    return np.maximum(down, lean) - 0.1 * radius


def _cross(x: np.ndarray, y: np.ndarray, radius: np.ndarray) -> np.ndarray:
    longer, shorter = np.maximum(abs(x), abs(y)), np.minimum(abs(x), abs(y))
    return np.maximum(longer - radius, shorter - 0.34 * radius)


_DISTANCES = (_circle, _square, _triangle, _cross)


def _index(options: dict | tuple, said: str | None, rng: np.random.Generator) -> int:
    return int(rng.integers(len(options))) if said is None else list(options).index(said)


def _places(scene: Scene, radius: np.ndarray, rng: np.random.Generator, style: Style) -> np.ndarray:
    """Choose centres, float[n, 2], inside the picture, apart from each other and true to the relations."""
    if style.grid is None:
        return _anywhere(scene, radius, rng, style.margin)
    low = np.ceil((radius + style.margin) / style.grid)[:, None] * style.grid
    while True:
        places = np.round(_anywhere(scene, radius, rng, style.margin) / style.grid) * style.grid
        places = np.clip(places, low, SIDE - low)
        if _clear(scene, places, radius):
            return places


def _clear(scene: Scene, places: np.ndarray, radius: np.ndarray) -> bool:
    """Tell whether objects are still apart and related as asked after their centres were moved onto the grid."""
    for first, relation, second in scene.pairs():
        axis, sign = _direction(relation)
        offset = places[second] - places[first]
        if sign * offset[axis] < radius[first] + radius[second] + 1:
            return False
        if (first, second) == (0, 1) and abs(offset[1 - axis]) > 0.5 * abs(offset[axis]):
            return False
    return True


def _anywhere(scene: Scene, radius: np.ndarray, rng: np.random.Generator, margin: float) -> np.ndarray:
    if len(scene.items) == 1:
        reach = radius[0] + margin
        return rng.uniform(reach, SIDE - reach, (1, 2))
    if len(scene.items) == 2:
        return _pair(scene.relation or RELATIONS[0], radius, rng, margin)
    return _trio(scene, radius, rng, margin)


def _pair(relation: str, radius: np.ndarray, rng: np.random.Generator, margin: float) -> np.ndarray:
    """Place two objects: far enough apart along the axis of the relation, at most a little off across it."""
    axis, sign = _direction(relation)
    low, high = radius + margin, SIDE - radius - margin
    first = 0 if sign > 0 else 1  # the one with the smaller coordinate
    second = 1 - first
    gap = 1.15 * radius.sum() + 2.0
    places = np.zeros((2, 2))
    places[first, axis] = rng.uniform(low[first], high[second] - gap)
    places[second, axis] = rng.uniform(places[first, axis] + gap, high[second])
    room = 0.5 * (places[second, axis] - places[first, axis])
    places[0, 1 - axis] = rng.uniform(low[0], high[0])
    bottom, top = places[0, 1 - axis] - room, places[0, 1 - axis] + room
    places[1, 1 - axis] = rng.uniform(max(low[1], bottom), min(high[1], top))
    return places


def _trio(scene: Scene, radius: np.ndarray, rng: np.random.Generator, margin: float) -> np.ndarray:
    """Place three objects: a pair side by side, and the third across from both."""
    axis, sign = _direction(scene.relation or RELATIONS[0])
    across, group_sign = _direction(scene.group or RELATIONS[2])
    places = np.zeros((MAX_ITEMS, 2))
    places[0, axis], places[1, axis] = (17, 47) if sign > 0 else (47, 17)
    places[2, axis] = 32
    near, far = (18.5, 45.5) if group_sign > 0 else (45.5, 18.5)
    places[0, across] = places[1, across] = near
    places[2, across] = far
    wobble = rng.uniform(-4, 4, places.shape)
    wobble[2, axis] *= 1.5
    reach = radius[:, None] + margin
    return np.clip(places + wobble, reach, SIDE - reach)


def _novel_places(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Place an object's upper and lower part, and perhaps a third shape on the side that is asked for."""
    x, top = int(rng.integers(3)), int(rng.integers(2))
    if scene.group is None:
        return np.array([[NOVEL_GRID[x], NOVEL_GRID[top]], [NOVEL_GRID[x], NOVEL_GRID[top + 1]]], float)
    axis, sign = _direction(scene.group)
    if axis == 0:  # beside it, at any height
        x, other = (min(x, 1), 2) if sign > 0 else (max(x, 1), 0)
        third = (other, int(rng.integers(3)))
    else:  # over or under it, at most one place aside
        top, row = (0, 2) if sign > 0 else (1, 0)
        third = (int(np.clip(x + rng.integers(-1, 2), 0, 2)), row)
    return NOVEL_GRID[[[x, top], [x, top + 1], third]].astype(float)


def _direction(relation: str) -> tuple[int, int]:
    """Axis (0 = x, 1 = y) and sign: +1 when the first object has the smaller coordinate."""
    return {"left of": (0, 1), "right of": (0, -1), "above": (1, 1), "below": (1, -1)}[relation]
