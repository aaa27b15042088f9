"""Blobs in a folder and in a store by URL: complete or not there, and what was written."""

import os

import pytest

from edgegen.core.errors import ConfigError
from edgegen.serve.storage.blobs import BlobError, Blobs, sha256


@pytest.fixture(params=["folder", "store"])
def place(request, tmp_path):
    return str(tmp_path / "blobs") if request.param == "folder" else f"memory://{tmp_path.name}"


async def test_what_comes_back_is_what_was_written(place):
    blobs = Blobs(place)
    kept = await blobs.write("jobs/one/0.png", b"first")
    assert kept == sha256(b"first")
    kept = await blobs.write("jobs/one/0.png", b"second")
    assert await blobs.read("jobs/one/0.png", kept) == b"second"


async def test_a_blob_that_is_another_one_or_gone_is_an_error(place):
    blobs = Blobs(place)
    kept = await blobs.write("jobs/one/0.png", b"first")
    await blobs.write("jobs/one/0.png", b"damaged")
    with pytest.raises(BlobError, match="not what was written"):
        await blobs.read("jobs/one/0.png", kept)
    await blobs.remove("jobs/one")
    await blobs.remove("jobs/one")
    with pytest.raises(BlobError, match="gone"):
        await blobs.read("jobs/one/0.png", kept)


async def test_no_name_leads_out_of_the_place(place):
    for name in ("../other", "jobs//one", "jobs/./one", ""):
        with pytest.raises(ValueError, match="expected a name"):
            await Blobs(place).write(name, b"")


async def test_a_write_that_fails_leaves_the_blob_as_it_was(tmp_path, monkeypatch):
    blobs = Blobs(str(tmp_path))
    kept = await blobs.write("one", b"first")

    def full(handle):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        await blobs.write("one", b"second")
    assert await blobs.read("one", kept) == b"first"


def test_a_place_that_nothing_reaches_is_said():
    with pytest.raises(ConfigError, match=r"\[storage\] blobs"):
        Blobs("nothing://bucket")
