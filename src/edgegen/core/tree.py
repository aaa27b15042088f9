"""Plain frozen dataclasses that JAX understands as trees of arrays."""

import dataclasses
from typing import TypeVar, dataclass_transform

import jax

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def value(cls: type[T]) -> type[T]:
    """Make a class a frozen dataclass and a JAX pytree whose every field is a leaf or a subtree.

    States are built and read hundreds of times per decision in the live path, where a plain dataclass is several times
    cheaper than `equinox.Module` (docs/adr/0006-plain-values.md).
    """
    frozen = dataclasses.dataclass(frozen=True)(cls)
    names = list(frozen.__dataclass_fields__)  # type: ignore[attr-defined]  # `fields` wants a type that knows it
    jax.tree_util.register_dataclass(frozen, data_fields=names, meta_fields=[])
    return frozen
