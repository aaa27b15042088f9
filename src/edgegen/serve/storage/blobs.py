"""Pictures and checkpoints: bytes by name in a folder, or in what else fsspec reaches by URL (`s3://bucket/prefix`).

A blob is written under a temporary name and moved: under its own name it is complete or not there. Whoever keeps its
name keeps its SHA-256 too, so that what comes back is what was written.
"""

import asyncio
import hashlib
import os
import secrets
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from edgegen.core.errors import ConfigError, EdgegenError


class BlobError(EdgegenError):
    """A blob is gone, or is not what was written."""


class Blobs:
    """Bytes by name. Names have slashes between their parts, and no part is special."""

    def __init__(self, place: str):
        try:
            self._fs, self._root = fsspec.core.url_to_fs(str(Path(place).absolute()) if "://" not in place else place)
        except (ImportError, ValueError) as error:
            raise ConfigError(
                f"cannot keep blobs at {place.partition('?')[0]!r}: {error}; see [storage] blobs"
            ) from None

    async def write(self, name: str, data: bytes) -> str:
        """Keep bytes, durably, and return their SHA-256."""
        await asyncio.to_thread(self._write, name, data)
        return sha256(data)

    async def read(self, name: str, expected_sha256: str) -> bytes:
        """Return what was written. **Raises** `BlobError`."""
        try:
            data = await asyncio.to_thread(self._fs.cat_file, self._path(name))
        except FileNotFoundError:
            raise BlobError(f"the blob {name} is gone") from None
        if sha256(data) != expected_sha256:
            raise BlobError(f"the blob {name} is not what was written")
        return data

    async def remove(self, name: str) -> None:
        """Forget one blob, or all whose names begin with this and a slash; what is not there needs no removing."""
        await asyncio.to_thread(self._remove, name)

    def _write(self, name: str, data: bytes) -> None:
        path = self._path(name)
        folder, _, last = path.rpartition("/")
        passing = f"{folder}/.{last}.{secrets.token_hex(4)}"
        self._fs.makedirs(folder, exist_ok=True)
        if not isinstance(self._fs, LocalFileSystem):
            self._fs.pipe_file(passing, data)
            self._fs.mv(passing, path)
            return
        with open(passing, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(passing, path)
        _sync_folder(folder)

    def _remove(self, name: str) -> None:
        try:
            self._fs.rm(self._path(name), recursive=True)
        except FileNotFoundError:
            return

    def _path(self, name: str) -> str:
        if not all(part.strip(".") for part in name.split("/")):
            raise ValueError(f"expected a name without empty parts and dots, got {name!r}")
        return f"{self._root}/{name}"


def sha256(data: bytes) -> str:
    """Return the hash that is kept beside a blob's name."""
    return hashlib.sha256(data).hexdigest()


def _sync_folder(folder: str) -> None:
    """Make the new name durable as well as the bytes."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
