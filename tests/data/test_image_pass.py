"""One pass over the images: what it takes, against each reader on its own; nothing is opened twice."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from noise_folder import config_of

from flowerti.config.experiment import DataConfig
from flowerti.data import image_pass
from flowerti.data.access import list_records, read_image
from flowerti.data.image_pass import ImagePass
from flowerti.data.thumbnails import thumbnails


def test_it_takes_what_readers_give_on_their_own(folder: Path):
    config = config_of(folder, image_size_px=16)
    records = list_records(config, 0).records
    looks = ImagePass(config, hash_size_px=24, with_thumbnails=True).of(records)
    for record, look in zip(records, looks, strict=True):
        assert look.digest == hashlib.sha256(Path(record.address).read_bytes()).hexdigest()
        assert look.pixel_sha256 == hashlib.sha256(read_image(record.address, 24).tobytes()).hexdigest()
        assert np.array_equal(look.thumbnail, thumbnails(read_image(record.address, 16)[None])[0])


def test_it_takes_no_more_than_is_wanted(folder: Path):
    config = config_of(folder)
    (look, *_) = ImagePass(config).of(list_records(config, 0).records)
    assert (look.pixel_sha256, look.thumbnail) == ("", None)


def test_drawn_images_are_drawn_where_pixels_are_wanted():
    config = DataConfig(kind="herbarium", num_train_common=2, num_train_rare=2, num_validation=2, num_test=2)
    record = list_records(config, 0).records[0]
    (look,) = ImagePass(config, hash_size_px=32).of([record])
    assert look.pixel_sha256 == hashlib.sha256(read_image(record.address, 32).tobytes()).hexdigest()


def test_an_image_is_opened_once(folder: Path, monkeypatch: pytest.MonkeyPatch):
    config = config_of(folder)
    records = list_records(config, 0).records
    images = ImagePass(config)
    first = images.of(records[:5])
    opened = []
    real = image_pass.reader_of
    monkeypatch.setattr(image_pass, "reader_of", lambda address: opened.append(address) or real(address))
    assert images.of(records)[:5] == first
    assert sorted(opened) == sorted(record.address for record in records[5:])
