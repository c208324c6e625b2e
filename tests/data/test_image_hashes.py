"""Hashes of images: right where a file is replaced by one of its size, and taken only where a file was written."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from noise_folder import config_of
from PIL import Image

from flowerti.data import image_pass
from flowerti.data.access import list_records
from flowerti.data.image_hashes import ImageHashes, KnownHashes
from flowerti.data.image_pass import ImagePass


def hashes_of(folder: Path, known: KnownHashes | None = None) -> tuple[dict[str, str], ImageHashes]:
    records = list_records(config_of(folder), 0).records
    hashes = ImageHashes(known, ImagePass(config_of(folder)))
    return dict(zip([record.id for record in records], hashes.of(records), strict=True)), hashes


def replace_by_one_of_its_size(file: Path, *, keep_times: bool = False) -> None:
    before = file.stat()
    Image.fromarray(np.full((8, 8, 3), 7, np.uint8)).save(file)
    content = file.read_bytes()
    assert len(content) <= before.st_size, "a plain image is smaller than noise"
    file.write_bytes(content.ljust(before.st_size, b"\0"))  # what follows a PNG's end is not read
    if keep_times:
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert file.stat().st_mtime_ns == before.st_mtime_ns
    assert file.stat().st_size == before.st_size


def test_they_are_those_of_the_files(folder: Path):
    found, hashes = hashes_of(folder)
    assert found == {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in found}
    assert hashes.has_changed


@pytest.mark.parametrize("keep_times", [False, True])
def test_an_image_that_was_replaced_by_one_of_the_same_size_has_another_hash(folder: Path, keep_times: bool):
    before, hashes = hashes_of(folder)
    replace_by_one_of_its_size(folder / "train/azalea/0.png", keep_times=keep_times)
    after, again = hashes_of(folder, hashes.known)
    assert {name for name in before if before[name] != after[name]} == {"train/azalea/0.png"}
    assert again.has_changed


def test_nothing_is_opened_that_was_not_written_since(folder: Path, monkeypatch: pytest.MonkeyPatch):
    before, hashes = hashes_of(folder)
    monkeypatch.setattr(image_pass, "decode_rgb", lambda *_: pytest.fail("an image was opened again"))
    after, again = hashes_of(folder, hashes.known)
    assert after == before
    assert not again.has_changed


def test_an_image_that_was_only_touched_keeps_its_hash(folder: Path):
    before, hashes = hashes_of(folder)
    (folder / "train/azalea/0.png").touch()
    after, again = hashes_of(folder, hashes.known)
    assert after == before
    assert again.has_changed


def test_what_is_known_of_other_images_stays(folder: Path):
    other = KnownHashes(hashes={"gone.png": "1 2 3 f"})
    assert hashes_of(folder, other)[1].known.hashes["gone.png"] == "1 2 3 f"
