"""Files with a header that people can read and arrays that nobody executes: one line of JSON, then arrays as equinox writes them.

`head -1 FILE` shows what a file is. Reading it runs nothing that it holds: no pickle, and the header is data. Written
beside the old file and swapped, so that a kill leaves one of the two whole.
"""

import hashlib
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import numpy as np

from edgegen.core.arrays import Array
from edgegen.core.errors import InputError

HEADER_BYTES = 1 << 26  # the longest header that is read


def write(path: Path, kind: str, version: int, header: Mapping[str, Any], arrays: Sequence[Array]) -> None:
    """Write a header and arrays; `kind` and `version` name the format."""
    from edgegen import __version__

    body = io.BytesIO()
    eqx.tree_serialise_leaves(body, list(arrays))
    payload = body.getbuffer()
    first = {
        "format": kind,
        "version": version,
        "edgegen": __version__,
        "payload_bytes": len(payload),
        "payload_sha256": hashlib.sha256(payload).hexdigest(),
    }
    fresh = path.with_name(path.name + ".new")
    with fresh.open("wb") as file:
        file.write(json.dumps({**first, **header}, separators=(",", ":")).encode() + b"\n")
        file.write(payload)
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)


def read(path: Path, kind: str, version: int) -> tuple[dict[str, Any], bytes]:
    """Return the header and the bytes of the arrays, or say what is wrong with the file."""
    header, payload = _open(path, kind)
    if header.get("version") != version:
        raise InputError(
            f"{path} has version {header.get('version')} of the format {kind}, this release reads version {version};"
            f" it was written by edgegen {header.get('edgegen')}"
        )
    if len(payload) != header.get("payload_bytes"):
        raise InputError(
            f"{path} is cut off: {len(payload)} of {header.get('payload_bytes')} bytes of arrays are there;"
            " take another copy"
        )
    if hashlib.sha256(payload).hexdigest() != header.get("payload_sha256"):
        raise InputError(f"{path} is damaged: its arrays are not those that were written; take another copy")
    return header, payload


def arrays_of(path: Path, payload: bytes, shapes: Sequence[tuple[Any, Sequence[int]]]) -> list[np.ndarray]:
    """Return the arrays, which must have these dtypes and shapes."""
    like = [np.broadcast_to(np.zeros((), dtype), tuple(shape)) for dtype, shape in shapes]
    try:
        return eqx.tree_deserialise_leaves(io.BytesIO(payload), like)
    except (RuntimeError, ValueError, EOFError) as error:
        raise InputError(f"{path} holds other arrays than expected: {str(error).splitlines()[0]}") from None


def _open(path: Path, kind: str) -> tuple[dict[str, Any], bytes]:
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    with path.open("rb") as file:
        line = file.readline(HEADER_BYTES)
        try:
            header = json.loads(line) if line.startswith(b"{") else None
        except ValueError:  # UnicodeDecodeError is one, too
            header = None
        if not isinstance(header, dict) or header.get("format") != kind:
            found = header.get("format") if isinstance(header, dict) else None
            raise InputError(f"{path} is not of the format {kind}" + (f", it says {found!r}" if found else ""))
        return header, file.read()
