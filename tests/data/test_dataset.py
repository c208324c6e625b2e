"""Where images come from: counts, order, seeds and decoding."""

import dataclasses
import io
import json
import random
import shutil
import urllib.error
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flowerti.config.experiment import DataConfig
from flowerti.data.dataset import (
    SPLITS,
    Dataset,
    check_counts,
    count_by_split,
    decode_image,
    list_records,
    read_bytes,
    read_image,
    read_images,
    to_square,
)

HERBARIUM = DataConfig(kind="herbarium", num_train_common=5, num_train_rare=2, num_validation=3, num_test=4)


def noise(seed: int, height: int = 12, width: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(image: np.ndarray | Image.Image, file_format: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, file_format, **options)
    return stream.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    seed = 0
    for split, count in zip(SPLITS, (3, 2, 2), strict=True):
        for class_name in ("sword lily", "azalea", "Zinnia"):
            target = root / split / class_name
            target.mkdir(parents=True)
            for index in range(count):
                seed += 1
                (target / f"{index}.png").write_bytes(encoded(noise(seed)))
    return root


def config_of(folder: Path, **changes: object) -> DataConfig:
    return dataclasses.replace(DataConfig(kind="image_folder", root=str(folder), image_size_px=8), **changes)


def test_the_herbarium_has_the_counts_that_were_asked_for():
    from flowerti.demo.herbarium import SPECIES

    dataset = list_records(HERBARIUM, 0)
    assert dataset.class_names == tuple(s.name for s in SPECIES)
    found = Counter((r.class_id, r.split) for r in dataset.records)
    for class_id, species in enumerate(SPECIES):
        assert found[class_id, "train"] == (2 if species.rare else 5)
        assert found[class_id, "validation"] == 3
        assert found[class_id, "test"] == 4
    assert {s.rare for s in SPECIES} == {True, False}
    assert len({r.id for r in dataset.records}) == len(dataset.records)


def test_the_herbariums_splits_share_no_image():
    dataset = list_records(HERBARIUM, 0)
    assert len({r.address for r in dataset.records}) == len(dataset.records)
    firsts = [read_image(dataset.of(split)[0].address, 16) for split in SPLITS]
    assert len({image.tobytes() for image in firsts}) == 3


def test_the_same_seed_draws_the_same_bytes_and_another_seed_others():
    first, again, other = (list_records(HERBARIUM, seed) for seed in (1, 1, 2))
    assert first == again
    assert {r.address for r in first.records}.isdisjoint(r.address for r in other.records)
    assert [r.id for r in first.records] == [r.id for r in other.records]
    images = [read_images([r.address for r in d.records[::40]], 16) for d in (first, again, other)]
    assert images[0].tobytes() == images[1].tobytes()
    same = [np.array_equal(a, b) for a, b in zip(images[0], images[2], strict=True)]
    assert not any(same)


def test_more_images_of_a_split_leave_the_first_ones_as_they_are():
    more = dataclasses.replace(HERBARIUM, num_validation=6)
    few, many = list_records(HERBARIUM, 0), list_records(more, 0)
    assert set(few.records) < set(many.records)


def test_folders_become_classes_in_sorted_order(folder: Path):
    dataset = list_records(config_of(folder), 0)
    assert dataset.class_names == ("Zinnia", "azalea", "sword lily")
    assert [count_by_split(dataset)[1, split] for split in SPLITS] == [3, 2, 2]
    records = dataset.of("train", "sword lily")
    assert [r.id for r in records] == [f"train/sword lily/{i}.png" for i in range(3)]
    assert {r.class_id for r in records} == {2}
    assert len(dataset.of("test")) == 6
    assert list_records(config_of(folder), 9) == dataset, "the seed does not matter to files"


def test_a_image_of_a_folder_is_read_by_its_address(folder: Path):
    record = list_records(config_of(folder), 0).of("train", "Zinnia")[1]
    expected = np.asarray(Image.open(folder / "train" / "Zinnia" / "1.png"))
    assert np.array_equal(read_image(record.address, 12), expected)
    assert read_bytes(record.address) == (folder / "train" / "Zinnia" / "1.png").read_bytes()


def test_other_files_in_a_class_folder_are_no_images(folder: Path):
    before = list_records(config_of(folder), 0)
    (folder / "train" / "azalea" / "notes.txt").write_text("x")
    (folder / "train" / "azalea" / ".DS_Store").write_bytes(b"x")
    (folder / "train" / "readme.md").write_text("x")
    assert list_records(config_of(folder), 0) == before


def test_suffixes_are_read_in_either_case(folder: Path):
    (folder / "train" / "azalea" / "SHOUTED.JPG").write_bytes(encoded(noise(99), "JPEG"))
    assert len(list_records(config_of(folder), 0).of("train", "azalea")) == 4


@pytest.mark.parametrize("split", SPLITS)
def test_a_missing_split_folder_is_named(folder: Path, split: str):
    shutil.rmtree(folder / split)
    with pytest.raises(ValueError, match=r"^data\.root: ") as caught:
        list_records(config_of(folder), 0)
    assert str(folder / split) in str(caught.value)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("keep_folder", [True, False])
def test_a_class_without_images_in_a_split_is_named(folder: Path, split: str, keep_folder: bool):
    shutil.rmtree(folder / split / "azalea")
    if keep_folder:
        (folder / split / "azalea").mkdir()
    with pytest.raises(ValueError, match=f"class 'azalea' has no images .* in the {split} split"):
        list_records(config_of(folder), 0)


def test_one_class_is_no_classification(folder: Path):
    for split in SPLITS:
        shutil.rmtree(folder / split / "azalea")
        shutil.rmtree(folder / split / "Zinnia")
    with pytest.raises(ValueError, match="1 classes found: at least 2"):
        list_records(config_of(folder), 0)


def test_a_class_folder_with_unprintable_characters_is_named(folder: Path):
    for split in SPLITS:
        (folder / split / "Zinnia").rename(folder / split / "zin\nnia")
    with pytest.raises(ValueError, match=r"'zin\\nnia'.*rename it"):
        list_records(config_of(folder), 0)


def test_an_id_that_stands_twice_is_named(folder: Path):
    dataset = list_records(config_of(folder), 0)
    twice = Dataset(dataset.class_names, (*dataset.records, dataset.records[3]))
    with pytest.raises(ValueError, match=r"^data: image id 'train/azalea/0\.png' stands twice"):
        check_counts(twice)


@pytest.mark.parametrize(("height", "width"), [(20, 30), (30, 20), (21, 40), (20, 20)])
def test_the_central_square_is_taken(height: int, width: int):
    image = noise(3, height, width)
    top, left = (height - 20) // 2, (width - 20) // 2
    side = min(height, width)
    expected = image[(height - side) // 2 :, (width - side) // 2 :][:side, :side]
    assert np.array_equal(decode_image(encoded(image), side, "x"), expected)
    if side == 20:
        assert np.array_equal(expected, image[top : top + 20, left : left + 20])


def test_scaling_is_antialiased_bicubic_as_torch_does_it():
    import torch

    rows, columns = np.mgrid[0:96, 0:96]
    waves = 127 + 100 * np.sin(rows / 9)[..., None] * np.cos(columns[..., None] / np.array([5.0, 8.0, 12.0]))
    image = waves.astype(np.uint8)
    levels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    reference = torch.nn.functional.interpolate(levels, (24, 24), mode="bicubic", antialias=True)
    expected = reference[0].permute(1, 2, 0).clamp(0, 255).numpy()
    found = np.asarray(to_square(Image.fromarray(image), 24), dtype=float)
    assert np.abs(found - expected).max() < 1.5
    assert found.std() > 20


UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", list(UPRIGHT))
def test_a_phones_image_comes_upright(orientation: int):
    stored = noise(orientation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(stored, "PNG", exif=exif.tobytes())
    assert np.array_equal(decode_image(content, 12, "x"), UPRIGHT[orientation](stored))


def test_a_jpegs_orientation_is_followed_too():
    stored = np.zeros((32, 32, 3), np.uint8)
    stored[:, :16] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    found = decode_image(encoded(stored, "JPEG", quality=95, exif=exif.tobytes()), 32, "x").astype(int)
    assert found[:12].min() > 240, "what was stored on the left is the top"
    assert found[20:].max() < 15


def test_grey_images_become_rgb():
    grey = noise(4)[..., 0]
    found = decode_image(encoded(Image.fromarray(grey)), 12, "x")
    assert found.shape == (12, 12, 3)
    assert all(np.array_equal(found[..., channel], grey) for channel in range(3))


def test_images_with_a_palette_become_rgb():
    flat = Image.new("RGB", (12, 12), (200, 30, 90))
    found = decode_image(encoded(flat.convert("P", palette=Image.Palette.ADAPTIVE)), 12, "x")
    assert np.array_equal(found[5, 5], [200, 30, 90])


def test_opaque_images_with_alpha_keep_their_colours():
    rgba = np.dstack([noise(5), np.full((12, 12), 255, np.uint8)])
    assert np.array_equal(decode_image(encoded(Image.fromarray(rgba)), 12, "x"), noise(5))


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 200, 30), (255, 255, 255), (0, 0, 0)])
def test_images_for_print_become_rgb(colour: tuple[int, int, int]):
    cmyk = Image.new("RGB", (16, 16), colour).convert("CMYK")
    found = decode_image(encoded(cmyk, "JPEG", quality=100), 16, "x")
    assert np.abs(found[8, 8].astype(int) - colour).max() <= 4


@pytest.mark.parametrize("file_format", ["BMP", "WEBP", "JPEG", "PNG"])
def test_the_listed_formats_can_be_read(file_format: str):
    flat = np.full((16, 16, 3), (180, 60, 120), np.uint8)
    found = decode_image(encoded(flat, file_format), 16, "x").astype(int)
    assert np.abs(found - (180, 60, 120)).max() <= 4


@pytest.mark.parametrize("file_format", ["BMP", "WEBP", "JPEG", "PNG"])
def test_any_damage_is_either_readable_or_refused_by_name(file_format: str):
    rng = random.Random(file_format)
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = encoded(noise(6, 14, 18), file_format, **({} if file_format == "BMP" else {"exif": exif.tobytes()}))
    refusals = []
    for round_ in range(300):
        content = bytearray(whole)
        if round_ % 3 == 0:
            del content[rng.randrange(1, len(content)) :]
        for _ in range(rng.randint(1, 4)):
            content[rng.randrange(min(len(content), 120))] = rng.randrange(256)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd sizes and metadata
            try:
                assert decode_image(bytes(content), 8, "p").shape == (8, 8, 3)
            except ValueError as error:
                refusals.append(str(error))
    assert len(refusals) > 50
    assert all(refusal.startswith("image p cannot be read") for refusal in refusals)


def test_a_header_that_claims_to_be_short_is_refused_by_name():
    content = bytearray(encoded(noise(7)))
    assert content[8:16] == b"\0\0\0\x0dIHDR"
    content[11] = 5
    with pytest.raises(ValueError, match=r"^image p cannot be read"):
        decode_image(bytes(content), 8, "p")


def test_reading_a_missing_image_names_it(tmp_path: Path):
    with pytest.raises(ValueError, match=r"gone\.png cannot be read"):
        read_image(str(tmp_path / "gone.png"), 8)


def test_oxford_that_is_not_there_is_refused_by_folder(tmp_path: Path):
    with pytest.raises(ValueError, match=r"^data\.root: .*flowers-102 is missing.*data\.download"):
        list_records(DataConfig(kind="flowers102", root=str(tmp_path)), 0)


def test_oxford_that_is_incomplete_says_what_to_fetch(tmp_path: Path):
    (tmp_path / "flowers-102").mkdir()
    with pytest.raises(ValueError, match=r"^data\.root: .*102flowers\.tgz.*imagelabels\.mat"):
        list_records(DataConfig(kind="flowers102", root=str(tmp_path)), 0)


def test_a_download_without_a_network_says_what_to_fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_args: object, **_options: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    with pytest.raises(ValueError, match=r"^data\.root: .*no network.*102flowers\.tgz"):
        list_records(DataConfig(kind="flowers102", root=str(tmp_path), download=True), 0)


@pytest.fixture(scope="module")
def oxford(shared_root: Path) -> tuple[DataConfig, Dataset]:
    config = DataConfig(kind="flowers102", root=str(shared_root / "data" / "flowers102-64"))
    return config, list_records(config, 0)


def test_oxford_has_its_official_splits(oxford: tuple[DataConfig, Dataset]):
    dataset = oxford[1]
    assert [len(dataset.of(split)) for split in SPLITS] == [1020, 1020, 6149]
    assert len({r.id for r in dataset.records}) == 8189
    train = Counter(r.class_id for r in dataset.of("train"))
    assert set(train.values()) == {10}
    assert [len(dataset.of("test", name)) for name in ("azalea", "sword lily", "canna lily")] == [76, 110, 62]


def test_oxfords_names_are_those_of_its_label_file(oxford: tuple[DataConfig, Dataset]):
    listed = json.loads((Path(oxford[0].root) / "flowers-102" / "cat_to_name.json").read_text())
    names = [listed[str(label)] for label in range(1, 103)]
    differing = [i for i, name in enumerate(oxford[1].class_names, start=1) if name != names[i - 1]]
    assert differing == [60, 78], "the two that are spelt differently"
