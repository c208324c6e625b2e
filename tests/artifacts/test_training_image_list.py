"""The list of a base's training images: what is written is read, what was changed or is no list is refused."""

import hashlib
import json
from pathlib import Path

import pytest

from flowerti.artifacts.training_images import read_training_images, training_images_json

DIGESTS = [hashlib.sha256(bytes([i])).hexdigest() for i in range(3)]


def test_what_is_written_is_read(tmp_path: Path):
    file = tmp_path / "training_images.json"
    file.write_text(training_images_json([*DIGESTS, DIGESTS[0]], 64))
    found = read_training_images(file)
    assert (found.sha256, found.image_size_px, found.drawn) == (frozenset(DIGESTS), 64, "")
    assert found.fingerprint == hashlib.sha256("".join(sorted(DIGESTS)).encode()).hexdigest()
    assert training_images_json(DIGESTS[::-1], 64) == file.read_text()


def test_a_sentence_may_stand_in_place_of_a_list(tmp_path: Path):
    file = tmp_path / "training_images.json"
    file.write_text(training_images_json([], 64, "Drawn from other seeds."))
    assert read_training_images(file).drawn == "Drawn from other seeds."
    assert not read_training_images(file).sha256
    assert "drawn" not in json.loads(training_images_json(DIGESTS, 64))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"sha256": DIGESTS[:2]}, "fingerprint is that of another list"),
        ({"sha256": [], "fingerprint": hashlib.sha256(b"").hexdigest()}, "lists no image"),
        ({"image_size_px": 0}, "size"),
        ({"image_size_px": None}, "size"),
        ({"sha256": None}, "NoneType"),
    ],
)
def test_what_is_no_list_is_refused_by_name(tmp_path: Path, change: dict, named: str):
    file = tmp_path / "list.json"
    file.write_text(json.dumps(json.loads(training_images_json(DIGESTS, 64)) | change))
    with pytest.raises(ValueError, match=rf"^base\.training_images: .*list\.json cannot be used \(.*{named}"):
        read_training_images(file)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"sha256": '])
def test_a_damaged_or_missing_file_is_refused_by_name(tmp_path: Path, text: str):
    file = tmp_path / "list.json"
    with pytest.raises(ValueError, match=r"list\.json"):
        read_training_images(file)
    file.write_text(text)
    with pytest.raises(ValueError, match=r"list\.json"):
        read_training_images(file)
