"""Adapters as folders: a card, the arrays of a low-rank adapter, and the one base that many of them share.

    MODELS/NAME/card.json       what it is: its base, rank, scale, words, sampling, where it comes from
    MODELS/NAME/adapter.npz     `<layer>.lora_A`, `<layer>.lora_B` and perhaps `words`, float32
    MODELS/NAME/profile.json    what was measured about it
    MODELS/bases/SHA/           the base as ONNX parts that take the arrays as inputs, written once (`train.export_adaptable`)

Nothing in these files is executed, no pickle is read, and whatever does not fit together is refused before it is loaded. Only numpy
is needed here, so that a gateway can check a folder without loading what runs it.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgegen.core.errors import InputError
from edgegen.generate import builtin

Arrays = dict[str, np.ndarray]

CARD, ADAPTER, BASE, PROFILE = "card.json", "adapter.npz", "base.json", "profile.json"
BASES = "bases"
CARD_KIND, BASE_KIND, VERSION = "edgegen adapter", "edgegen adaptable base", 1
WORDS = "words"  # the array of the word vectors, float32[W, D]
WEIGHTS = (".safetensors", ".bin")
LARGEST_CARD_BYTES = 1 << 20
LARGEST_ADAPTER_BYTES = 1 << 28
MOST_WORDS, LARGEST_RANK = 256, 1024


class AdapterError(InputError):
    """An adapter's folder, or that of its base, that cannot be used."""


@dataclass(frozen=True)
class Card:
    """What an adapter is.

    base, base_sha256: name of the base, and SHA-256 of its weights (`weights_sha256`). rank, scale: r and s of s B A. words: what
    the text encoder learns to know, in the order of the rows of `words`. categories: prompts that it was measured on.
    sampler, guidance: how it makes pictures best. provenance: where it comes from, for people.
    """

    name: str
    base: str
    base_sha256: str
    adapter_sha256: str
    rank: int
    scale: float = 1.0
    words: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    sampler: str = "ddim"
    guidance: float = 1.0
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        plain = {**asdict(self), "words": list(self.words), "categories": list(self.categories)}
        return {"format": CARD_KIND, "version": VERSION, **plain}


@dataclass(frozen=True)
class Manifest:
    """What an adaptable base says about itself.

    layers: [out, inputs] of the weight of each layer as a matrix. table: rows and width of its table of words.
    """

    folder: Path
    name: str
    sha256: str
    layers: Mapping[str, tuple[int, int]]
    table: tuple[int, int]
    files: Mapping[str, str]  # SHA-256 by name

    def check(self) -> None:
        """Compare its files with what was written. **Raises** `AdapterError`."""
        for name, expected in self.files.items():
            if not (self.folder / name).is_file():
                raise AdapterError(f"{self.folder} has no {name}; export the base {self.name} again")
            if sha256_of(self.folder / name) != expected:
                raise AdapterError(f"{self.folder / name} is damaged or was changed; export the base {self.name} again")


def read_card(folder: Path) -> Card:
    """Read the card of an adapter's folder. **Raises** `AdapterError`."""
    kept = _read_json(folder / CARD, CARD_KIND)
    try:
        card = Card(
            name=str(kept["name"]),
            base=str(kept["base"]),
            base_sha256=_digest(kept["base_sha256"]),
            adapter_sha256=_digest(kept["adapter_sha256"]),
            rank=int(kept["rank"]),
            scale=float(kept["scale"]),
            words=tuple(str(word) for word in kept["words"]),
            categories=tuple(str(category) for category in kept["categories"]),
            sampler=str(kept["sampler"]),
            guidance=float(kept["guidance"]),
            provenance=dict(kept["provenance"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise AdapterError(f"{folder / CARD} is not a whole card: {type(error).__name__}: {error}") from None
    if not 1 <= card.rank <= LARGEST_RANK or not np.isfinite(card.scale) or len(card.words) > MOST_WORDS:
        raise AdapterError(
            f"{folder / CARD}: expected a rank from 1 to {LARGEST_RANK}, a finite scale and up to {MOST_WORDS} words, "
            f"got rank {card.rank}, scale {card.scale} and {len(card.words)} words"
        )
    return card


def read_base(card: Card, bases: Path) -> Manifest:
    """Find the base that an adapter was trained on. **Raises** `AdapterError` where it is missing or another one."""
    folder = bases / card.base_sha256[:16]
    if not (folder / BASE).is_file():
        raise AdapterError(
            f"the adapter {card.name} needs the base {card.base} with the weights sha256 {card.base_sha256[:16]}..., "
            f"which is not in {bases}; export it there, or use an adapter of a base that is"
        )
    base = read_manifest(folder)
    if base.sha256 != card.base_sha256:
        raise AdapterError(
            f"the adapter {card.name} was trained on weights with sha256 {card.base_sha256}; {folder} holds "
            f"{base.sha256}: an adapter works on its own base only"
        )
    return base


def read_manifest(folder: Path) -> Manifest:
    """Read what an adaptable base says about itself. **Raises** `AdapterError`."""
    kept = _read_json(folder / BASE, BASE_KIND)
    try:
        layers = {str(name): (int(out), int(inputs)) for name, (out, inputs) in kept["layers"].items()}
        rows, width = kept["table"]
        files = {Path(name).name: _digest(digest) for name, digest in kept["files"].items()}
        return Manifest(folder, str(kept["name"]), _digest(kept["sha256"]), layers, (int(rows), int(width)), files)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AdapterError(f"{folder / BASE} is not whole: {type(error).__name__}: {error}") from None


def read_arrays(folder: Path, card: Card, base: Manifest) -> Arrays:
    """Return an adapter as its base takes it: of every layer A [r, inputs] and s B [out, r], and the words [W, D].

    A layer that the adapter leaves alone has zeros. **Raises** `AdapterError` for what is damaged, too large, or does not fit.
    """
    path = folder / ADAPTER
    found = _read_npz(path, card.adapter_sha256)
    words = found.pop(WORDS, np.zeros((0, base.table[1]), np.float32))
    if words.shape != (len(card.words), base.table[1]):
        raise AdapterError(f"{path}: expected {len(card.words)} word vectors of {base.table[1]}, got {words.shape}")
    arrays: Arrays = {WORDS: np.ascontiguousarray(words)}
    for layer, (out, inputs) in base.layers.items():
        a, b = found.pop(f"{layer}.lora_A", None), found.pop(f"{layer}.lora_B", None)
        if a is None and b is None:
            a, b = np.zeros((card.rank, inputs), np.float32), np.zeros((out, card.rank), np.float32)
        if a is None or b is None:
            raise AdapterError(f"{path} has only one half of layer {layer}; expected its lora_A and its lora_B")
        if a.reshape(len(a), -1).shape != (card.rank, inputs) or b.reshape(len(b), -1).shape != (out, card.rank):
            raise AdapterError(
                f"{path}: layer {layer} has arrays of shape {a.shape} and {b.shape}; the base {base.name} and rank "
                f"{card.rank} need {card.rank} x {inputs} and {out} x {card.rank} numbers"
            )
        arrays[f"{layer}.lora_A"] = np.ascontiguousarray(a.reshape(card.rank, inputs))
        arrays[f"{layer}.lora_B"] = np.ascontiguousarray(b.reshape(out, card.rank) * np.float32(card.scale))
    if found:
        raise AdapterError(
            f"{path} has arrays that the base {base.name} has no layer for: {', '.join(sorted(found)[:5])}"
        )
    return arrays


def check(folder: Path, bases: Path) -> Card:
    """Check all that can be checked without running it, and return the card. **Raises** `AdapterError`."""
    card = read_card(folder)
    base = read_base(card, bases)
    base.check()
    read_arrays(folder, card, base)
    return card


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> str:
    """Write the arrays of an adapter and return the SHA-256 of the file."""
    plain = {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}
    np.savez(path, allow_pickle=False, **plain)
    return sha256_of(path)


def base_sha256(source: str) -> str:
    """Return what identifies a built-in model by its name, or a pipeline by its folder: the SHA-256 of its weights."""
    if source in builtin.names():
        return weights_sha256(builtin.folder(source), builtin.WEIGHTS / "shared")
    return weights_sha256(Path(source))


def weights_sha256(*folders: Path) -> str:
    """Return the SHA-256 that identifies a base: of all weights of its pipeline, whose parts may lie in several folders."""
    files = {
        path.relative_to(folder): path for folder in folders for path in folder.rglob("*") if path.suffix in WEIGHTS
    }
    if not files:
        raise AdapterError(f"no weights ({' or '.join(WEIGHTS)}) lie in {', '.join(map(str, folders))}")
    found = hashlib.sha256()
    for name in sorted(files):
        found.update(f"{name} {files[name].stat().st_size}\n".encode())
        with files[name].open("rb") as handle:
            while block := handle.read(1 << 20):
                found.update(block)
    return found.hexdigest()


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_npz(path: Path, expected: str) -> Arrays:
    if not path.is_file():
        raise AdapterError(f"there is no file {path}")
    size = path.stat().st_size
    if size > LARGEST_ADAPTER_BYTES:
        raise AdapterError(f"{path} has {size} bytes; an adapter has at most {LARGEST_ADAPTER_BYTES}")
    if sha256_of(path) != expected:
        raise AdapterError(f"{path} is damaged: its bytes are not those that its card tells of; take another copy")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise AdapterError(f"{path} is packed; its arrays are to be stored as they are (numpy.savez)")
            if sum(entry.file_size for entry in entries) > LARGEST_ADAPTER_BYTES:
                raise AdapterError(f"{path} holds more than {LARGEST_ADAPTER_BYTES} bytes of arrays")
        with np.load(path, allow_pickle=False) as kept:
            arrays = {name: kept[name] for name in kept.files}
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, KeyError) as error:
        raise AdapterError(f"{path} holds no arrays that can be read: {error}") from None
    for name, array in arrays.items():
        if array.dtype != np.float32 or array.ndim < 2 or not np.isfinite(array).all():
            raise AdapterError(f"{path}: {name} must be a matrix of finite float32, got {array.dtype} {array.shape}")
    return arrays


def _read_json(path: Path, kind: str) -> dict[str, Any]:
    if not path.is_file():
        raise AdapterError(f"there is no file {path}; expected the {path.name} of an {kind}")
    if path.stat().st_size > LARGEST_CARD_BYTES:
        raise AdapterError(f"{path} has {path.stat().st_size} bytes; expected at most {LARGEST_CARD_BYTES}")
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise AdapterError(f"{path} is no JSON: {error}") from None
    if not isinstance(kept, dict) or kept.get("format") != kind or kept.get("version") != VERSION:
        raise AdapterError(f"{path} is not of the format {kind!r}, version {VERSION}")
    return kept


def _digest(text: Any) -> str:
    if not isinstance(text, str) or len(text) != 64 or set(text) - set("0123456789abcdef"):
        raise ValueError(f"expected a SHA-256 in 64 hexadecimal digits, got {text!r}")
    return text
