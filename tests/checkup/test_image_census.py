"""What a check finds in images with one of each defect, against what was put there."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from drawn_folders import draw_classes
from PIL import Image

from flowerti.checkup.image_census import ImageCensus, look_at
from flowerti.config.experiment import DataConfig
from flowerti.data.access import list_records


@pytest.fixture
def census(tmp_path: Path) -> ImageCensus:
    root = draw_classes(tmp_path, {"rose": 12, "lily": 3, "tulip": 2})
    shutil.copy(root / "rose" / "0.png", root / "lily" / "copy.png")
    Image.open(root / "rose" / "1.png").save(root / "rose" / "1-again.jpg", quality=90)
    (root / "rose" / "broken.png").write_bytes(b"no image")
    (root / "rose" / "list.txt").write_text("x")
    Image.fromarray(np.arange(300, dtype=np.uint8).reshape(10, 10, 3)).save(root / "tulip" / "small.png")
    data = DataConfig(kind="image_folder", root=str(root), image_size_px=64)
    return look_at(list_records(data, 0, is_pooled=True), data)


def test_every_defect_is_found_once(census: ImageCensus):
    assert census.num_images == 12 + 3 + 2 + 4
    assert {row.class_name: row.num_train for row in census.counts} == {"rose": 14, "lily": 4, "tulip": 3}
    assert census.unreadable == ["rose/broken.png"]
    assert census.copies == [["lily/copy.png", "rose/0.png"]]
    assert census.near_duplicates == [["lily/copy.png", "rose/0.png"], ["rose/1-again.jpg", "rose/1.png"]]
    assert census.several_classes == [["lily/copy.png", "rose/0.png"]]
    assert census.sizes is not None
    assert (census.sizes.smallest_px, census.sizes.median_px, census.sizes.largest_px) == (10, 40, 40)
    assert census.suspicious == [
        "1 image with a side below 32 px, shown at 64 px (tulip/small.png)",
        "class rose has 67% of all images",
    ]
    assert "left out: 1 .txt file, no image (rose/list.txt)" in census.notes


def test_near_duplicates_of_very_many_images_are_not_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("flowerti.checkup.image_census._MAX_COMPARED", 3)
    data = DataConfig(kind="image_folder", root=str(draw_classes(tmp_path, {"a": 2, "b": 2})))
    assert look_at(list_records(data, 0, is_pooled=True), data).near_duplicates is None
