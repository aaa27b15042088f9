"""Many adapters on one resident base, in ONNX Runtime: the arrays of an adapter are inputs of the network, beside latents and text.

Every weight of the base's graph is W + (s B) A, computed anew in each pass from the arrays that come in (LoRA, Hu et al.,
arXiv 2106.09685). So the sessions, and with them the memory of the base, are shared by all adapters of a process, and changing from one
adapter to the next costs nothing. A pass costs more than one of the plain base; docs/adr/0021 has the figures.
"""

from __future__ import annotations

import dataclasses
import json
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgegen.core.errors import InputError
from edgegen.generate.adapter_files import ADAPTER, BASES, WORDS, Manifest, read_arrays, read_base, read_card
from edgegen.generate.backends.onnx import PARTS, Words, first_output, open_session, read_schedule, to_pictures
from edgegen.generate.fingerprints import of_files
from edgegen.generate.schedules import AbstractSchedule


class ResidentBase:
    """The sessions of an adaptable base; one object for all of its adapters in a process."""

    def __init__(self, base: Manifest, threads: int) -> None:
        base.check()
        self.text, self.unet, self.decoder = (open_session(base.folder / f"{part}.onnx", threads) for part in PARTS)
        kept = json.loads((base.folder / "vocabulary.json").read_text())
        if "words" not in kept:
            raise InputError(f"{base.folder}: only bases with a vocabulary of whole words can be adapted so far")
        self.vocabulary = Words(kept["words"], kept["start"], kept["end"], kept["length"])
        self.schedule = read_schedule(base.folder)
        _, channels, height, width = self.unet.get_inputs()[0].shape
        self.latent_shape: tuple[int, int, int] = (channels, height, width)


_RESIDENT: weakref.WeakValueDictionary[tuple[str, str, int], ResidentBase] = weakref.WeakValueDictionary()


def resident(base: Manifest, threads: int) -> ResidentBase:
    """Return the base in memory, loading it only if no adapter of this process holds it."""
    key = (str(base.folder.resolve()), base.sha256, threads)
    found = _RESIDENT.get(key)
    if found is None:
        found = _RESIDENT[key] = ResidentBase(base, threads)
    return found


class AdaptedBackend:
    """A text-to-image model that is an adapter's arrays on a resident base. `bases` is beside the adapter's folder if not given."""

    def __init__(self, folder: Path, bases: Path | None = None, threads: int = 1) -> None:
        card = read_card(folder)
        base = read_base(card, folder.parent / BASES if bases is None else bases)
        arrays = read_arrays(folder, card, base)
        self.name = card.name
        self.base = resident(base, threads)
        self._words = arrays.pop(WORDS)
        self._arrays = arrays
        self.latent_shape = self.base.latent_shape
        new = {word: base.table[0] + row for row, word in enumerate(card.words)}
        self.tokens = dataclasses.replace(self.base.vocabulary, words={**self.base.vocabulary.words, **new})
        files = [*(base.folder / name for name in sorted(base.files)), folder / ADAPTER]
        self._what = files, f"adapted onnx, {self.schedule.name}, scale {card.scale!r}, words {' '.join(card.words)}"
        self._fingerprint: str | None = None

    @property
    def schedule(self) -> AbstractSchedule:
        """Return the noise schedule of the base."""
        return self.base.schedule

    @property
    def fingerprint(self) -> str:
        """Return what tells this adapter on this base from any other model."""
        if self._fingerprint is None:
            self._fingerprint = of_files(*self._what)
        return self._fingerprint

    def encode(self, prompts: Sequence[str]) -> np.ndarray:
        """Turn prompts into text states float32[B, T, D]."""
        return first_output(self.base.text, {"tokens": self.tokens(prompts), WORDS: self._words})

    def denoise(self, latents: np.ndarray, timesteps: np.ndarray, text: np.ndarray) -> np.ndarray:
        """Predict v float32[B, C, H, W]; every row has its own timestep."""
        asked = {"latents": latents, "timesteps": np.asarray(timesteps, np.int64), "text": text}
        return first_output(self.base.unet, {**asked, **self._arrays})

    def decode(self, latents: np.ndarray) -> np.ndarray:
        """Turn latents into pictures uint8[B, side, side, 3]."""
        return to_pictures(first_output(self.base.decoder, {"latents": latents}))


def is_adapter(folder: Path) -> bool:
    """Tell whether a folder holds an adapter."""
    return (folder / ADAPTER).is_file()
