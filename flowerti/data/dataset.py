"""Where labelled images come from: the drawn herbarium, Oxford 102, folders of images, or Parquet files.

A data set is a list of records; an image is read only when a worker asks for it, by its address, so that images
never travel through the driver. Listing checks names and counts and opens no image. This module does not know about
models, stages or synthetic images.
"""

import io
import struct
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from flowerti.artifacts.identity import seed_for
from flowerti.config.experiment import DataConfig
from flowerti.data.parquet import list_parquet, read_parquet_image

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


@dataclass(frozen=True, slots=True)
class Record:
    """One labelled image; `address` is a file path, "herbarium:<species>:<seed>" or "parquet:<file>#<row>"."""

    id: str
    class_id: int
    split: Split
    address: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """Class names in the order of their ids, and all records."""

    class_names: tuple[str, ...]
    records: tuple[Record, ...]

    def of(self, split: Split, class_name: str | None = None) -> list[Record]:
        """The records of a split, of one class or of all."""
        class_id = None if class_name is None else self.class_names.index(class_name)
        return [r for r in self.records if r.split == split and class_id in (None, r.class_id)]


def list_records(config: DataConfig, seed: int) -> Dataset:
    """List a data set without opening an image.

    Raises:
        ValueError: a folder is missing or empty, or a class has no images in a split; names it.
    """
    if config.kind == "herbarium":
        dataset = _herbarium(config, seed)
    elif config.kind == "flowers102":
        dataset = _flowers102(config)
    elif config.kind == "parquet":
        names, rows = list_parquet(config.root, SPLITS)
        dataset = Dataset(names, tuple(Record(r.id, r.class_id, r.split, r.address) for r in rows))
    else:
        dataset = _image_folder(config)
    check_counts(dataset)
    return dataset


def _herbarium(config: DataConfig, seed: int) -> Dataset:
    from flowerti.demo.herbarium import SPECIES

    records = []
    for class_id, species in enumerate(SPECIES):
        num_train = config.num_train_rare if species.rare else config.num_train_common
        for split, count in zip(SPLITS, (num_train, config.num_validation, config.num_test), strict=True):
            for index in range(count):
                image_seed = seed_for(seed, species.name, f"herbarium/{split}", index)
                address = f"herbarium:{species.name}:{image_seed}"
                records.append(Record(f"{species.name}/{split}/{index}", class_id, split, address))
    return Dataset(tuple(species.name for species in SPECIES), tuple(records))


def _flowers102(config: DataConfig) -> Dataset:
    from torchvision.datasets import Flowers102

    folder = Path(config.root) / "flowers-102"
    if not config.download and not folder.is_dir():
        raise ValueError(
            f"data.root: {folder} is missing: point data.root at the folder that holds flowers-102, "
            "or set data.download to fetch it"
        )
    records = []
    for split, official in zip(SPLITS, ("train", "val", "test"), strict=True):
        try:
            images = Flowers102(config.root, split=official, download=config.download)
        except (RuntimeError, OSError) as error:
            raise ValueError(
                f"data.root: Oxford 102 in {folder} is incomplete ({error}): put 102flowers.tgz (unpacked as jpg/), "
                "imagelabels.mat and setid.mat of https://www.robots.ox.ac.uk/~vgg/data/flowers/102/ there"
            ) from error
        for path, class_id in zip(images._image_files, images._labels, strict=True):
            records.append(Record(Path(path).name, int(class_id), split, str(Path(path).resolve())))
    return Dataset(tuple(Flowers102.classes), tuple(records))


def _image_folder(config: DataConfig) -> Dataset:
    root = Path(config.root)
    for split in SPLITS:
        if not (root / split).is_dir():
            raise ValueError(f"data.root: {root / split} is missing: lay images out as split/class/image")
    class_names = tuple(sorted({p.name for split in SPLITS for p in (root / split).iterdir() if p.is_dir()}))
    for class_name in class_names:
        if not class_name.isprintable():
            raise ValueError(f"data.root: class folder {class_name!r} in {root} has unprintable characters: rename it")
    records = []
    for split in SPLITS:
        for class_id, class_name in enumerate(class_names):
            folder = root / split / class_name
            files = sorted(folder.iterdir()) if folder.is_dir() else []
            images = [p for p in files if p.suffix.lower() in IMAGE_SUFFIXES]
            records += [Record(f"{split}/{class_name}/{p.name}", class_id, split, str(p.resolve())) for p in images]
    return Dataset(class_names, tuple(records))


def check_counts(dataset: Dataset) -> None:
    """Refuse a data set that lacks a class or a split.

    Raises:
        ValueError: fewer than 2 classes, an id that stands twice, or a class without images in a split; names it.
    """
    twice = [name for name, count in Counter(r.id for r in dataset.records).items() if count > 1]
    if twice:
        raise ValueError(f"data: image id {twice[0]!r} stands twice ({len(twice)} such ids): list each image once")
    if len(dataset.class_names) < 2:
        raise ValueError(f"data: {len(dataset.class_names)} classes found: at least 2 are needed")
    counts = count_by_split(dataset)
    for class_id, class_name in enumerate(dataset.class_names):
        for split in SPLITS:
            if counts[class_id, split] == 0:
                raise ValueError(
                    f"data: class {class_name!r} has no images ({', '.join(IMAGE_SUFFIXES)}) in the {split} split: "
                    "each class needs some in each split"
                )


def count_by_split(dataset: Dataset) -> dict[tuple[int, Split], int]:
    """Number of images of each (class id, split)."""
    counts: dict[tuple[int, Split], int] = defaultdict(int)
    for record in dataset.records:
        counts[record.class_id, record.split] += 1
    return counts


def read_bytes(address: str) -> bytes:
    """The bytes that identify an image: the file's content, or the address and the rules of a drawn one.

    Raises:
        ValueError: the file cannot be opened; names it.
    """
    if address.startswith("herbarium:"):
        from flowerti.demo.herbarium import fingerprint

        return f"{address}:{fingerprint()}".encode()
    if address.startswith("parquet:"):
        return read_parquet_image(address)
    try:
        return Path(address).read_bytes()
    except OSError as error:
        raise _unreadable(address, error) from error


def _unreadable(name: str, error: Exception) -> ValueError:
    return ValueError(f"image {name} cannot be read ({error}): remove it, or set data.skip_unreadable to leave it out")


def read_image(address: str, size_px: int) -> UInt8[np.ndarray, "{size_px} {size_px} 3"]:
    """Read one image as RGB, turned upright, cropped to its central square and scaled with antialiasing.

    Raises:
        ValueError: the image cannot be opened; names it.
    """
    if address.startswith("herbarium:"):
        from flowerti.demo.herbarium import draw

        _, species, image_seed = address.split(":")
        return draw(species, int(image_seed), size_px)
    return decode_image(read_bytes(address), size_px, address)


def decode_image(content: bytes, size_px: int, name: str) -> UInt8[np.ndarray, "{size_px} {size_px} 3"]:
    """Decode an encoded image as `read_image` does; `name` is for the error."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            ImageOps.exif_transpose(image, in_place=True)
            rgb = image.convert("RGB")
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        raise _unreadable(name, error) from error
    return np.asarray(to_square(rgb, size_px), dtype=np.uint8)


def to_square(image: Image.Image, size_px: int) -> Image.Image:
    """Crop the central square and scale it to `size_px`, bicubic and antialiased (as clean-fid asks for)."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    return square if side == size_px else square.resize((size_px, size_px), Image.Resampling.BICUBIC)


def read_images(addresses: list[str], size_px: int) -> UInt8[np.ndarray, "num {size_px} {size_px} 3"]:
    """Read several images into one array."""
    return np.stack([read_image(address, size_px) for address in addresses])


def without(dataset: Dataset, ids: list[str]) -> Dataset:
    """The data set without the records of those ids."""
    left_out = set(ids)
    return Dataset(dataset.class_names, tuple(r for r in dataset.records if r.id not in left_out))
