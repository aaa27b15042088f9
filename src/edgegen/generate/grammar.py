"""The prompt language of the built-in models: parse a prompt into a scene, and say a scene as a caption.

What can be said (articles, case, punctuation and common synonyms do not matter)::

    basic     a red circle
    detail    a small red circle on a black background
    relation  a red circle left of a large blue square on white
    complex   a red circle left of a blue square, both above a green cross
    novel     a red house left of a blue square

What is novel the models know only after they were taught it (`edgegen tune`).
"""

from __future__ import annotations

import difflib
import re
import zlib
from dataclasses import dataclass, replace

import numpy as np

from edgegen.core.errors import InputError
from edgegen.generate.words import (
    BACKGROUNDS,
    CATEGORIES,
    COLOURS,
    FILLERS,
    NOVEL,
    OBJECTS,
    RELATIONS,
    SHAPES,
    SIZES,
    SYNONYMS,
    WORDS,
)

__all__ = [
    "CATEGORIES",
    "EXAMPLES",
    "WORDS",
    "Item",
    "PromptError",
    "Scene",
    "held_out",
    "held_out_scenes",
    "parse",
    "sample_novel",
    "sample_scene",
]

MAX_PROMPT_CHARACTERS = 200
HELD_OUT_ONE_IN = 8
OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}

EXAMPLES: dict[str, tuple[str, ...]] = {
    "basic": ("a red circle", "a yellow triangle", "an orange cross"),
    "detail": ("a small red circle on a black background", "a large purple square on a white background"),
    "relation": (
        "a red circle left of a blue square",
        "a small green cross above a yellow circle on a navy background",
    ),
    "complex": (
        "a red circle left of a blue square, both above a green cross",
        "a yellow cross above a purple circle, both right of a red triangle on a gray background",
    ),
}


class PromptError(InputError):
    """A prompt that the built-in models cannot draw, with the words that they know."""

    def __init__(self, message: str, *, unknown: tuple[str, ...] = ()) -> None:
        super().__init__(message, param="prompt")
        self.unknown = unknown
        self.known = WORDS


@dataclass(frozen=True)
class Item:
    """One object of a scene; what is None was not said and may be anything."""

    colour: str
    shape: str
    size: str | None = None

    def caption(self) -> str:
        """Say the object with its article."""
        words = [word for word in (self.size, self.colour, self.shape) if word]
        return " ".join(["an" if words[0][0] in "aeiou" else "a", *words])


@dataclass(frozen=True)
class Scene:
    """What a prompt asks for: one to three objects, how they lie, and perhaps the background."""

    items: tuple[Item, ...]
    relation: str | None = None  # the first object is <relation> the second
    group: str | None = None  # both of them are <group> the third
    background: str | None = None

    @property
    def category(self) -> str:
        """Difficulty: basic, detail, relation or complex; novel with an object that the built-in models were never shown."""
        if any(item.shape in OBJECTS for item in self.items):
            return NOVEL
        if len(self.items) > 1:
            return CATEGORIES[len(self.items)]
        plain = self.background is None and all(item.size is None for item in self.items)
        return CATEGORIES[0] if plain else CATEGORIES[1]

    def caption(self) -> str:
        """Say the scene in the one form that the models were trained on."""
        said = [item.caption() for item in self.items]
        text = said[0]
        if self.relation:
            text += f" {self.relation} {said[1]}"
        if self.group:
            text += f", both {self.group} {said[2]}"
        if self.background:
            text += f" on a {self.background} background"
        return text

    def pairs(self) -> tuple[tuple[int, str, int], ...]:
        """List every relation as (object, relation, object)."""
        found = [(0, self.relation, 1)] if self.relation else []
        if self.group:
            found += [(0, self.group, 2), (1, self.group, 2)]
        return tuple(found)

    def taken_apart(self) -> Scene:
        """Say a scene with a novel object as one of plain shapes: its upper part above its lower one, first of all."""
        at = next((slot for slot, item in enumerate(self.items) if item.shape in OBJECTS), None)
        if at is None:
            return self
        upper, lower = (replace(self.items[at], shape=shape) for shape in OBJECTS[self.items[at].shape])
        others = self.items[:at] + self.items[at + 1 :]
        group = self.relation if at == 0 or self.relation is None else OPPOSITE[self.relation]
        return Scene((upper, lower, *others), "above", group, self.background)


def held_out(scene: Scene) -> bool:
    """Tell whether this caption is kept out of training (one in eight, by a hash of the caption)."""
    return zlib.crc32(scene.caption().encode()) % HELD_OUT_ONE_IN == 0


def parse(prompt: str) -> Scene:
    """Turn a prompt into a scene, or say what was not understood."""
    tokens = _tokens(prompt)
    reader = _Reader(tokens)
    items = [reader.item()]
    relation = group = None
    if reader.at_relation():
        relation = reader.relation()
        items.append(reader.item())
        if reader.take("both"):
            group = reader.relation()
            items.append(reader.item())
    background = reader.background()
    reader.finish()
    if len(items) == 3 and any(item.size for item in items):
        raise PromptError("sizes can be said for one or two objects, not for three; leave out 'small' and 'large'")
    _check_novel(items)
    return Scene(tuple(items), relation, group, background)


def _check_novel(items: list[Item]) -> None:
    names = [item.shape for item in items if item.shape in OBJECTS]
    if not names:
        return
    if len(names) > 1 or len(items) > 2:
        raise PromptError(
            f"a {names[0]} can be said alone or with one plain shape; say for instance 'a red {names[0]}'"
        )
    if any(item.size for item in items):
        raise PromptError(f"beside a {names[0]} everything has one size; leave out 'small' and 'large'")


def sample_scene(rng: np.random.Generator, category: str) -> Scene:
    """Draw a random scene of one category, as it is said in training and in the benchmarks."""
    if category not in CATEGORIES:
        raise PromptError(f"no category named {category!r}; there are {', '.join(CATEGORIES)}")
    count = max(1, CATEGORIES.index(category))
    kinds = rng.permutation(len(COLOURS) * len(SHAPES))[:count]  # no two objects look alike
    background = _pick(rng, tuple(BACKGROUNDS)) if rng.random() < 0.25 else None
    if category == "basic":
        return Scene((_item(kinds[0], None),))
    if category == "detail":
        said = rng.random()
        size = None if said < 0.2 else _pick(rng, SIZES)
        background = None if 0.2 <= said < 0.4 else _pick(rng, tuple(BACKGROUNDS))
        return Scene((_item(kinds[0], size),), background=background)
    relation = _pick(rng, RELATIONS)
    if category == "relation":
        sizes = [_pick(rng, SIZES) if rng.random() < 0.15 else None for _ in kinds]
        return Scene(tuple(map(_item, kinds, sizes)), relation, background=background)
    across = RELATIONS[2:] if relation in RELATIONS[:2] else RELATIONS[:2]
    return Scene(tuple(_item(kind, None) for kind in kinds), relation, _pick(rng, across), background)


def sample_novel(rng: np.random.Generator, name: str) -> Scene:
    """Draw a random scene that shows one novel object: alone, or beside a plain shape of another colour."""
    colours = [tuple(COLOURS)[kind] for kind in rng.permutation(len(COLOURS))]
    item = Item(colours[0], name)
    background = _pick(rng, tuple(BACKGROUNDS)) if rng.random() < 0.4 else None
    if rng.random() < 0.5:
        return Scene((item,), background=background)
    pair = [item, Item(colours[1], _pick(rng, SHAPES))]
    if rng.random() < 0.5:
        pair.reverse()
    return Scene(tuple(pair), _pick(rng, RELATIONS), background=background)


def held_out_scenes(category: str, count: int, seed: int) -> list[Scene]:
    """Draw scenes of a category whose captions were never trained on."""
    rng = np.random.default_rng([seed, CATEGORIES.index(category)])
    scenes: list[Scene] = []
    while len(scenes) < count:
        scene = sample_scene(rng, category)
        if held_out(scene):
            scenes.append(scene)
    return scenes


def _item(kind: int, size: str | None) -> Item:
    return Item(tuple(COLOURS)[kind // len(SHAPES)], SHAPES[kind % len(SHAPES)], size)


def _pick(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]


def _tokens(prompt: str) -> list[str]:
    """Split into known words, folded onto one spelling; refuse what is empty, too long or unknown."""
    if len(prompt) > MAX_PROMPT_CHARACTERS:
        raise PromptError(
            f"the prompt has {len(prompt)} characters; the built-in models take up to {MAX_PROMPT_CHARACTERS}"
        )
    words = re.findall(r"[^\s.,;:!?\"'()-]+", prompt.lower())
    if not words:
        raise PromptError(f"the prompt is empty; say for instance {EXAMPLES['basic'][0]!r}")
    unknown = tuple(dict.fromkeys(word for word in words if word not in WORDS))
    if unknown:
        raise PromptError(_unknown_message(unknown), unknown=unknown)
    folded = [SYNONYMS.get(word, word) for word in words]
    return [str(word) for word in folded if word not in FILLERS]


def _unknown_message(unknown: tuple[str, ...]) -> str:
    told = []
    for word in unknown[:5]:
        close = difflib.get_close_matches(word, WORDS, n=1)
        told.append(f"{word[:30]!r}" + (f" (did you mean {close[0]!r}?)" if close else ""))
    more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
    return (
        f"the built-in models do not know {', '.join(told)}{more}; they know shapes ({', '.join(SHAPES)}), "
        f"colours ({', '.join(COLOURS)}), sizes ({', '.join(SIZES)}), backgrounds ({', '.join(BACKGROUNDS)}) "
        f"and relations ({', '.join(RELATIONS)})"
    )


class _Reader:
    """Reads words from left to right; every complaint shows what can be said."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._at = 0

    def peek(self) -> str | None:
        """Look at the next word without taking it."""
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def take(self, *options: str) -> str | None:
        """Take the next word if it is one of these."""
        word = self.peek()
        if word not in options:
            return None
        self._at += 1
        return word

    def item(self) -> Item:
        """Read an object: [size] colour shape."""
        size = self.take(*SIZES)
        colour = self.take(*COLOURS) or self._fail("a colour", tuple(COLOURS))
        shape = self.take(*SHAPES, *OBJECTS) or self._fail("a shape", SHAPES)
        return Item(colour, shape, size)

    def at_relation(self) -> bool:
        """Tell whether a relation comes next."""
        return self.peek() in ("left", "right", "above", "below")

    def relation(self) -> str:
        """Read a relation."""
        word = self.take("left", "right", "above", "below") or self._fail("a relation", RELATIONS)
        return f"{word} of" if word in ("left", "right") else word

    def background(self) -> str | None:
        """Read an optional 'on [a] black [background]'."""
        if not self.take("on"):
            return None
        colour = self.take(*BACKGROUNDS) or self._fail("a background", tuple(BACKGROUNDS))
        self.take("background")
        return colour

    def finish(self) -> None:
        """Refuse words that are left over."""
        if self.peek() is not None:
            self._fail("the end of the prompt", ())

    def _fail(self, expected: str, options: tuple[str, ...]) -> str:
        word = self.peek()
        given = f"{word!r} comes" if word else "the prompt ends"
        choice = f" ({', '.join(options)})" if options else ""
        raise PromptError(
            f"{given} where {expected}{choice} was expected; say for instance {EXAMPLES['detail'][0]!r} "
            f"or {EXAMPLES['complex'][0]!r}"
        )
