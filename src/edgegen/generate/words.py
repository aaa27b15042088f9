"""The words of the small prompt language: what can be said and how synonyms fold onto it."""

from __future__ import annotations

CATEGORIES = ("basic", "detail", "relation", "complex")

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "green": (40, 170, 70),
    "blue": (50, 110, 240),
    "yellow": (240, 215, 50),
    "purple": (160, 60, 200),
    "orange": (245, 140, 30),
}
BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "black": (12, 12, 12),
    "white": (243, 243, 243),
    "gray": (128, 128, 128),
    "navy": (15, 20, 75),
}
SHAPES = ("circle", "square", "triangle", "cross")
# Objects that the built-in models were never shown, each of two shapes, the first one close above the second: what the sites
# of `edgegen tune` teach them. The models' frozen autoencoder knows the four shapes and blurs any other.
OBJECTS = {
    "house": ("triangle", "square"),
    "tree": ("triangle", "triangle"),
    "chapel": ("cross", "triangle"),
    "pawn": ("circle", "triangle"),
}
NOVEL = "novel"  # the category of whatever shows one of them
SIZES = ("small", "large")
RELATIONS = ("left of", "right of", "above", "below")

# One spelling for each meaning; the models only ever see the right-hand side.
SYNONYMS = {
    "grey": "gray",
    "violet": "purple",
    "disc": "circle",
    "disk": "circle",
    "plus": "cross",
    "big": "large",
    "little": "small",
    "tiny": "small",
    "over": "above",
    "under": "below",
    "beneath": "below",
    "backdrop": "background",
    "an": "a",
    "the": "a",
    "with": "on",
}
# Words that carry no meaning here and may be left out.
FILLERS = ("a", "to", "of", "and", "is", "are", "picture", "image")

# What the text encoder knows, in the order of its token ids.
MODEL_WORDS = (
    "a",
    "an",
    *SIZES,
    *COLOURS,
    *SHAPES,
    "left",
    "right",
    "of",
    "above",
    "below",
    "both",
    "on",
    *BACKGROUNDS,
    "background",
    ",",
)
WORDS = tuple(sorted({word for word in MODEL_WORDS if word != ","} | {*OBJECTS, *SYNONYMS, *FILLERS}))
