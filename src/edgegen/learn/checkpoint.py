"""Checkpoints: all that a training goes on from, so that a killed run ends with the same weights, bit by bit.

The header holds what was trained on what, every setting by its path; a checkpoint of another training is refused with
the fields that differ. The format is that of `files`.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from edgegen.core.errors import InputError
from edgegen.learn import files, records

KIND, VERSION = "edgegen-checkpoint", 1
NAMED = 5  # so many fields that differ are named in a refusal


@dataclasses.dataclass(frozen=True)
class Row:
    """One point of a learning curve."""

    iterations: int
    steps: int  # environment steps, those before training included
    updates: int  # gradient steps
    cpu_s: float  # of this process, for training alone: neither evaluations nor checkpoints count
    metrics: dict[str, float]  # means over the iterations since the row before
    evaluation: dict[str, float] | None = None


def save(path: Path, config: Mapping[str, Any], state: Any, curve: list[Row]) -> None:
    """Write a checkpoint in place of the one before."""
    header = {
        "config_sha256": digest(config),
        "config": dict(config),
        "jax": jax.__version__,
        "curve": [dataclasses.asdict(row) for row in curve],
    }
    leaves = jax.tree.leaves(_without_keys(state))
    files.write(path, KIND, VERSION, header, leaves)


def load(path: Path, config: Mapping[str, Any], like: Any) -> tuple[Any, list[Row]]:
    """Return the state and the curve; `like` is a state of the same shapes, of arrays or of `jax.ShapeDtypeStruct`."""
    header, payload = files.read(path, KIND, VERSION)
    there = header.get("config", {})
    if header.get("config_sha256") != digest(config):
        found = records.differences(config, there)
        more = f"; and {len(found) - NAMED} more" if len(found) > NAMED else ""
        raise InputError(
            f"{path} is a checkpoint of another training: {'; '.join(found[:NAMED])}{more}."
            " Go on with its settings, or choose another file",
            param="checkpoint",
        )
    leaves, shape = jax.tree.flatten(eqx.filter_eval_shape(_without_keys, like))
    arrays = files.arrays_of(path, payload, [(leaf.dtype, leaf.shape) for leaf in leaves])
    state = shape.unflatten([jnp.asarray(array) for array in arrays])
    return _with_keys(state, like), [Row(**row) for row in header["curve"]]


def digest(config: Mapping[str, Any]) -> str:
    """Return the hash of a configuration."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _without_keys(state: Any) -> Any:
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, state)


def _with_keys(state: Any, like: Any) -> Any:
    """Make keys of the numbers where `like` has keys."""
    return jax.tree.map(
        lambda old, leaf: jax.random.wrap_key_data(leaf) if _is_key(old) else leaf,
        like,
        state,
    )
