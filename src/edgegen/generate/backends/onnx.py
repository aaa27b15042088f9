"""Run a built-in model, or an exported pipeline, through ONNX Runtime, on plain arrays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from edgegen.core.errors import EdgegenError
from edgegen.generate.byte_pairs import BytePairs
from edgegen.generate.fingerprints import of_files
from edgegen.generate.grammar import PromptError, parse
from edgegen.generate.schedules import PREDICTIONS, SHIFTED_COSINE, AbstractSchedule, Discrete

PARTS = ("text", "unet", "decoder")
SCHEDULE = "schedule.json"


class BackendError(EdgegenError):
    """A model folder that cannot be run."""


class OnnxBackend:
    """One text-to-image model: prompts to text, latents to v-predictions, latents to pictures."""

    def __init__(self, folder: Path, threads: int = 1) -> None:
        files = {part: part_file(folder, part) for part in (*PARTS, "vocabulary")}
        self._files = list(files.values())
        self._fingerprint: str | None = None
        kept = json.loads(files["vocabulary"].read_text())
        self._tokenize = (
            _pairs(kept) if "pairs" in kept else Words(kept["words"], kept["start"], kept["end"], kept["length"])
        )
        self._schedule = read_schedule(folder)
        if (folder / SCHEDULE).is_file():
            self._files.append(folder / SCHEDULE)
        self._text, self._unet, self._decoder = (open_session(files[part], threads) for part in PARTS)
        _, channels, height, width = self._unet.get_inputs()[0].shape
        self.latent_shape: tuple[int, int, int] = (channels, height, width)

    @property
    def schedule(self) -> AbstractSchedule:
        """Return the noise schedule that the model was trained on."""
        return self._schedule

    @property
    def fingerprint(self) -> str:
        """Return what tells this model from any other; the files are read when it is first asked for."""
        if self._fingerprint is None:
            self._fingerprint = of_files(self._files, f"onnx, {self.schedule.name}")
        return self._fingerprint

    def encode(self, prompts: Sequence[str]) -> np.ndarray:
        """Turn prompts into text states float32[B, T, D]; the empty prompt is what guidance steers away from."""
        return first_output(self._text, {"tokens": self.tokens(prompts)})

    def tokens(self, prompts: Sequence[str]) -> np.ndarray:
        """Turn prompts into token ids int64[B, T]."""
        return self._tokenize(prompts)

    def denoise(self, latents: np.ndarray, timesteps: np.ndarray, text: np.ndarray) -> np.ndarray:
        """Predict v float32[B, C, H, W]; every row has its own timestep."""
        feed = {"latents": latents, "timesteps": np.asarray(timesteps, np.int64), "text": text}
        return first_output(self._unet, feed)

    def decode(self, latents: np.ndarray) -> np.ndarray:
        """Turn latents into pictures uint8[B, side, side, 3]."""
        return to_pictures(first_output(self._decoder, {"latents": latents}))


@dataclass(frozen=True)
class Words:
    """The built-in models' own language: every word is a token, said in the one form that they were trained on.

    **Raises** `PromptError` for a word of the language that this model was never shown.
    """

    words: dict[str, int]
    start: int
    end: int
    length: int

    def __call__(self, prompts: Sequence[str]) -> np.ndarray:
        """Turn prompts into token ids int64[B, T]."""
        ids = np.full((len(prompts), self.length), self.end, np.int64)
        for row, prompt in enumerate(prompts):
            words = parse(prompt).caption().replace(",", " ,").split() if prompt else []
            if strange := tuple(word for word in words if word not in self.words):
                raise PromptError(f"this model was never shown {', '.join(strange)}; ask another one", unknown=strange)
            ids[row, : len(words) + 1] = [self.start, *(self.words[word] for word in words)]
        return ids


def _pairs(kept: dict[str, Any]) -> BytePairs:
    tables, marks = kept["pairs"], {name: kept[name] for name in ("start", "end", "pad", "length")}
    return BytePairs(tables["vocabulary"], tables["merges"], **marks)


def read_schedule(folder: Path) -> AbstractSchedule:
    """Return the noise schedule of a model's folder: that of the built-in models where it does not say."""
    if not (folder / SCHEDULE).is_file():
        return SHIFTED_COSINE
    kept = json.loads((folder / SCHEDULE).read_text())
    alphas = np.array(kept["alphas"], float)
    digest = hashlib.blake2b(alphas.tobytes(), digest_size=4).hexdigest()
    return Discrete(f"betas {digest}, {kept['prediction']}", alphas, PREDICTIONS[kept["prediction"]])


def to_pictures(planes: np.ndarray) -> np.ndarray:
    """Turn a decoder's planes float32[B, 3, side, side] in [-1, 1] into pictures uint8[B, side, side, 3]."""
    return np.rint((np.clip(planes, -1, 1) + 1) * 127.5).astype(np.uint8).transpose(0, 2, 3, 1)


def has_parts(folder: Path) -> bool:
    """Tell whether a folder holds a model in ONNX."""
    return (folder / "unet.onnx").is_file()


def part_file(folder: Path, part: str) -> Path:
    """Find a part of a model: in its folder, or beside it if all sizes share the part."""
    name = f"{part}.json" if part == "vocabulary" else f"{part}.onnx"
    for place in (folder, folder.parent / "shared"):
        if (place / name).is_file():
            return place / name
    raise BackendError(f"{folder} has no {name}; a model folder holds {', '.join(PARTS)} as ONNX and vocabulary.json")


def open_session(file: Path, threads: int) -> onnxruntime.InferenceSession:
    """Open an ONNX file on the CPU with a fixed number of threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def first_output(session: Any, feed: dict[str, np.ndarray]) -> np.ndarray:
    """Run a session and return its first output, which is an array in every model of ours."""
    return np.asarray(session.run(None, feed)[0])
