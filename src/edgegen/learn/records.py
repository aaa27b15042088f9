"""Modules as plain data: what a training was set to, compared field by field; and trained networks without pickle.

A module is its class by name and its fields. Only classes and functions of the rooms that learn and simulate are named and
looked up, and only by what they are called, so a foreign file cannot make anything else run.
"""

import dataclasses
import hashlib
import importlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from edgegen.core.arrays import Array
from edgegen.core.errors import InputError

ROOMS = ("edgegen.learn.", "edgegen.sim.")  # whose classes and functions a file may name
LIBRARIES = {"jax.nn": jax.nn, "jax.numpy": jnp}  # whose functions may be named, too
Plain = Any  # what JSON can say


# ----------------------------------------------------------------------------------------------------------- settings


def settings(thing: Any) -> dict[str, Plain]:
    """Return every number, name and class in a tree by its path; arrays by their digest. Nothing can be built from it."""
    found: dict[str, Plain] = {}
    _settle(thing, "", found)
    return found


def _settle(thing: Any, path: str, found: dict[str, Plain]) -> None:
    below = f"{path}." if path else ""
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        found[path] = type(thing).__qualname__
        for field in dataclasses.fields(thing):
            _settle(getattr(thing, field.name), below + field.name, found)
    elif isinstance(thing, Mapping):
        for name, value in thing.items():
            _settle(value, f"{below}{name}", found)
    elif isinstance(thing, list | tuple):
        for number, value in enumerate(thing):
            _settle(value, f"{below}{number}", found)
    elif isinstance(thing, jax.Array | np.ndarray | np.generic):
        found[path] = _digest(thing)
    elif thing is None or isinstance(thing, bool | int | float | str):
        found[path] = thing
    else:
        found[path] = f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', type(thing).__qualname__)}"


def _digest(array: Array) -> Plain:
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        array = jax.random.key_data(array)
    array = np.asarray(array)
    if array.size == 1 and array.ndim == 0:
        return array.item()
    if array.size and (array == array.flat[0]).all():  # repeated settings, which people may want to read
        return f"{array.dtype}{list(array.shape)} all {array.flat[0].item()}"
    return f"{array.dtype}{list(array.shape)} {hashlib.sha256(array.tobytes()).hexdigest()[:16]}"


def differences(here: Mapping[str, Plain], there: Mapping[str, Plain]) -> list[str]:
    """Return a phrase for each field that differs."""
    missing = "nothing"
    paths = [path for path in {**here, **there} if here.get(path, missing) != there.get(path, missing)]
    return [f"{path} is {here.get(path, missing)}, there {there.get(path, missing)}" for path in paths]


# ------------------------------------------------------------------------------------------------------------ modules


def to_plain(thing: Any) -> tuple[Plain, list[Array]]:
    """Return a module as plain data and its arrays in order; `from_plain` builds it again."""
    arrays: list[Array] = []
    return _plain(thing, arrays), arrays


def _plain(thing: Any, arrays: list[Array]) -> Plain:
    if thing is None or isinstance(thing, bool | int | float | str):
        return thing
    if isinstance(thing, jax.Array | np.ndarray):
        arrays.append(thing)
        return {"array": [str(thing.dtype), list(thing.shape)]}
    if isinstance(thing, list | tuple):
        return {type(thing).__name__: [_plain(value, arrays) for value in thing]}
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        fields = {field.name: _plain(getattr(thing, field.name), arrays) for field in dataclasses.fields(thing)}
        return {"class": _name(type(thing)), "fields": fields}
    if callable(thing):
        return {"function": _name(thing)}
    raise InputError(f"a {type(thing).__name__} cannot be written to a file: {thing!r}")


def _name(thing: Any) -> str:
    module, name = getattr(thing, "__module__", None) or "", getattr(thing, "__qualname__", None) or ""
    for library, names in LIBRARIES.items():
        if module.startswith("jax") and getattr(names, name, None) is thing:
            return f"{library}:{name}"
    if not module.startswith(ROOMS) or not name.isidentifier():
        raise InputError(
            f"{module}:{name} cannot be written to a file: only what is defined in {' and '.join(ROOMS)} can"
        )
    return f"{module}:{name}"


def from_plain(plain: Plain, arrays: list[Array]) -> Any:
    """Build what `to_plain` told; the arrays are used up."""
    if not isinstance(plain, dict):
        return plain
    match plain:
        case {"array": _}:
            return arrays.pop(0)
        case {"list": values}:
            return [from_plain(value, arrays) for value in values]
        case {"tuple": values}:
            return tuple(from_plain(value, arrays) for value in values)
        case {"function": name}:
            return _known(name)
        case {"class": name, "fields": fields}:
            kind = _known(name)
            if not isinstance(kind, type) or not dataclasses.is_dataclass(kind):
                raise InputError(f"{name} is not a record")
            built = {field: from_plain(value, arrays) for field, value in fields.items()}
            if built.keys() != {field.name for field in dataclasses.fields(kind)}:
                raise InputError(f"{name} has other fields in this release than in the file")
            return kind(**built)
    raise InputError(f"what the file says is not understood: {str(plain)[:80]}")


def shapes(plain: Plain) -> list[tuple[str, list[int]]]:
    """Return the dtypes and shapes of the arrays in their order."""
    if isinstance(plain, list):
        return [shape for value in plain for shape in shapes(value)]
    if not isinstance(plain, dict):
        return []
    if "array" in plain:
        return [tuple(plain["array"])]
    return [shape for value in plain.values() for shape in shapes(value)]


def _known(name: str) -> Any:
    module, _, attribute = str(name).partition(":")
    if module in LIBRARIES:
        found = getattr(LIBRARIES[module], attribute, None)
    elif module.startswith(ROOMS):
        try:
            found = getattr(importlib.import_module(module), attribute, None)
        except ImportError:
            found = None
    else:
        raise InputError(f"the file asks for {name}, which is not part of {' or '.join(ROOMS)}")
    if found is None or not callable(found):
        raise InputError(f"the file asks for {name}, which this release does not have")
    return found
