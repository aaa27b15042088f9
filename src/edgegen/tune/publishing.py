"""From what was learnt to a model of the catalogue: an adapter's folder with what was measured about it, and telling a gateway.

A folder appears whole or not at all: it is written beside its place and renamed. The base is written once for all adapters of it. What
the gateway serves is measured with the same engine that serves it, not with the network that was trained.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np

from edgegen.core.errors import InputError, WorkerError
from edgegen.generate import builtin
from edgegen.generate.adapter_files import (
    ADAPTER,
    CARD,
    LARGEST_RANK,
    PROFILE,
    WORDS,
    Arrays,
    Card,
    Manifest,
    check,
    read_manifest,
    write_arrays,
)
from edgegen.generate.measure import QUICK, Plan, Progress, measure
from edgegen.generate.shelf import Shelf, write_json
from edgegen.generate.words import CATEGORIES, NOVEL
from edgegen.train.export_adaptable import export

if TYPE_CHECKING:
    from edgegen.tune.adapters import Lora
    from edgegen.tune.base import Base

CHANGE = ".base"  # `<layer>.base` is what `fedex` adds to frozen weights
NEGLIGIBLE = 1e-6  # of the largest singular value of a change
ANSWER_S = 120.0  # a gateway may compile for the larger catalogue
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Learnt:
    """What a run learnt, on which base.

    arrays: of every adapted layer `<layer>.lora_A`, `<layer>.lora_B`, and perhaps `<layer>.base`. scale: s of s B A. words, vectors: what
    the text encoder learns to know, float32[W, D]. categories: of prompts to be measured on. provenance: the run, for people.
    """

    base: str  # a built-in model, or a pipeline's folder
    arrays: Mapping[str, np.ndarray]
    scale: float = 1.0
    words: Sequence[str] = ()
    vectors: np.ndarray | None = None
    categories: Sequence[str] = CATEGORIES
    provenance: Mapping[str, Any] = field(default_factory=dict)


def learnt_on(
    base: Base, lora: Lora, arrays: Mapping[str, np.ndarray], *, source: str = "", provenance: Mapping[str, Any]
) -> Learnt:
    """Return what a run left on its base, whose network is wrapped: with the A that nobody sent and the vectors of the new words.

    source: the folder of a base that is not built in.
    """
    from edgegen.tune import adapters  # needs torch

    sent = {name: array for name, array in arrays.items() if name != WORDS and not name.endswith(CHANGE)}
    added = {name: array for name, array in arrays.items() if name.endswith(CHANGE)}
    whole = adapters.complete(sent, adapters.shapes_of(base.network), lora)
    vectors = arrays.get(WORDS)
    if vectors is None and base.vocabulary is not None:  # they were not learnt
        vectors = base.vocabulary.new.detach().numpy().copy()
    return Learnt(
        base=source or base.name,
        arrays={**whole, **added},
        scale=lora.scale,
        words=tuple(base.words),
        vectors=vectors,
        categories=(*CATEGORIES, NOVEL) if base.words else CATEGORIES,
        provenance=provenance,
    )


def write_model(
    learnt: Learnt,
    models: Path,
    name: str,
    *,
    plan: Plan = QUICK,
    power_w: float | None = None,
    progress: Progress = lambda what, done, total: None,
) -> Path:
    """Write an adapter, its card and its measured profile into a folder of models, all or nothing; return its folder.

    **Raises** `InputError` for a name that is none or is taken, and for arrays that do not fit the base.
    """

    def fill(folder: Path) -> None:
        measure(str(folder), plan=plan, power_w=power_w, progress=progress).save(folder / PROFILE)

    return write_adapter(learnt, models, name, fill=fill)


def write_adapter(
    learnt: Learnt, models: Path, name: str, *, fill: Callable[[Path], object] = lambda folder: None
) -> Path:
    """Write an adapter and its card; `fill` puts what else belongs there into the folder before it gets its name."""
    models.mkdir(parents=True, exist_ok=True)
    Shelf(models).check_name(name)
    if (models / name).exists():
        raise InputError(f"{models / name} is there already; publish under another name", param="name")
    base = read_manifest(export(learnt.base, models))
    scratch = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=models))
    try:
        scratch.chmod(0o755)  # a gateway may run as somebody else
        _write(learnt, base, scratch, name)
        check(scratch, base.folder.parent)
        fill(scratch)
        os.rename(scratch, models / name)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return models / name


def _write(learnt: Learnt, base: Manifest, folder: Path, name: str) -> None:
    arrays, rank, scale = as_adapter(learnt.arrays, learnt.scale)
    if learnt.words:
        if learnt.vectors is None:
            raise InputError(f"the words {', '.join(learnt.words)} need their vectors", param="vectors")
        arrays[WORDS] = np.asarray(learnt.vectors, np.float32)
    digest = write_arrays(folder / ADAPTER, arrays)
    built_in = learnt.base in builtin.names()
    way = builtin.sampling(builtin.folder(learnt.base) if built_in else Path(learnt.base))
    card = Card(
        name=name,
        base=base.name,
        base_sha256=base.sha256,
        adapter_sha256=digest,
        rank=rank,
        scale=scale,
        words=tuple(learnt.words),
        categories=tuple(learnt.categories),
        provenance=dict(learnt.provenance),
        **way._asdict(),
    )
    write_json(folder / CARD, card.to_dict())


def as_adapter(arrays: Mapping[str, np.ndarray], scale: float) -> tuple[Arrays, int, float]:
    """Return an adapter of one rank, its rank and its scale.

    What was added to frozen weights joins B A by a singular value decomposition, without what is negligible; ranks that differ
    are filled up with zeros. **Raises** `InputError` for arrays that are of no adapter.
    """
    layers = sorted({name.rpartition(".")[0] for name in arrays})
    strange = sorted(name for name in arrays if not name.endswith((".lora_A", ".lora_B", CHANGE)))
    halves = [layer for layer in layers if (f"{layer}.lora_A" in arrays) != (f"{layer}.lora_B" in arrays)]
    if strange or halves or not layers:
        what = (
            f"arrays such as {strange[0]!r}" if strange else f"half of the layer {halves[0]!r}" if halves else "nothing"
        )
        raise InputError(f"only adapters can be published, with lora_A and lora_B of each layer; got {what}")
    changed = any(name.endswith(CHANGE) for name in arrays)
    pairs = {layer: _pair(arrays, layer, scale if changed else 1.0) for layer in layers}
    rank = max(len(a) for a, _ in pairs.values())
    if rank > LARGEST_RANK:
        raise InputError(f"an adapter may have a rank of up to {LARGEST_RANK}, got {rank}", param="rank")
    found: Arrays = {}
    for layer, (a, b) in pairs.items():
        found[f"{layer}.lora_A"] = np.pad(a, ((0, rank - len(a)), (0, 0))).astype(np.float32)
        found[f"{layer}.lora_B"] = np.pad(b, ((0, 0), (0, rank - len(a)))).astype(np.float32)
    return found, rank, 1.0 if changed else scale


def _pair(arrays: Mapping[str, np.ndarray], layer: str, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Return A [r, inputs] and B [out, r] of a layer; the scale and what was added to its weights are in them."""
    a, b = arrays.get(f"{layer}.lora_A"), arrays.get(f"{layer}.lora_B")
    pair = None if a is None or b is None else (a.reshape(len(a), -1), scale * b.reshape(len(b), -1))
    change = arrays.get(f"{layer}{CHANGE}")
    if change is None:
        assert pair is not None
        return pair
    whole = change.reshape(len(change), -1).astype(np.float64)
    if pair is not None:
        whole = whole + pair[1].astype(np.float64) @ pair[0]
    left, sizes, right = np.linalg.svd(whole, full_matrices=False)
    kept = max(1, int(np.sum(sizes > NEGLIGIBLE * sizes[0])))
    return right[:kept], left[:, :kept] * sizes[:kept]


def announce(
    url: str, name: str, *, key: str | None = None, nodes: Sequence[str] | None = None, insecure: bool = False
) -> dict[str, Any]:
    """Ask a gateway to serve a model of its folder of models from now on; return how it lists it.

    **Raises** `InputError` when the gateway refuses, in its own words, or the key would travel in the open; `WorkerError` when it
    cannot be reached.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(
            f"expected the address of a gateway such as 'https://gateway.example', got {url!r}", param="gateway"
        )
    if key and parts.scheme == "http" and parts.hostname not in _LOOPBACK and not insecure:
        raise InputError(
            f"{url} would carry the key in the open; use https, or say --insecure if the way is safe", param="gateway"
        )
    address = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix('/v1')}/v1/models"
    body = {"name": name} if nodes is None else {"name": name, "nodes": list(nodes)}
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        answer = httpx.post(address, json=body, headers=headers, timeout=ANSWER_S)
    except httpx.HTTPError as error:
        raise WorkerError(f"the gateway at {url} cannot be reached: {error}") from error
    try:
        told = answer.json()
    except ValueError:
        told = {}
    if answer.status_code != 201:
        reason = told.get("error", {}).get("message") if isinstance(told, dict) else None
        raise InputError(f"the gateway refuses {name!r}: {reason or f'status {answer.status_code}'}")
    return told
