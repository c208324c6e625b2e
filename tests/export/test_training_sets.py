"""An exported training set is read by torchvision, Hugging Face datasets, pandas and webdataset alike."""

import csv
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_export import NAMES, NUM_DRAWN, NUM_TRAIN, WEAK, asking, noise

from flowerti.artifacts import layout
from flowerti.artifacts.records import Learned
from flowerti.export.exporter import export_run
from flowerti.export.image_folder import write_image_folder

NUM_IMAGES = len(NAMES) * NUM_TRAIN + len(WEAK) * NUM_DRAWN
MARK = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


def _export(run, tmp_path: Path, kind: str, **more) -> Path:
    (folder,) = export_run(run, str(tmp_path / "out"), asking(kind, **more))
    return folder


def _is_as_drawn(image: Image.Image, name: str, index: int) -> bool:
    return np.array_equal(np.asarray(image), np.asarray(noise(f"{name}/token", index, 32)))


def test_torchvision_reads_the_folders(run, tmp_path):
    from torchvision.datasets import ImageFolder

    folder = _export(run, tmp_path, "imagefolder")
    found = ImageFolder(str(folder / "train"))
    assert len(found) == NUM_IMAGES
    assert found.classes == sorted(["Tulip", "café", "prince_of_wales_feathers%3F", "rose", "snow_drop"])
    counts = np.bincount(found.targets)
    assert sorted(counts.tolist()) == sorted([NUM_TRAIN + NUM_DRAWN] * len(WEAK) + [NUM_TRAIN])
    (place,) = [i for i, (path, _) in enumerate(found.samples) if path.endswith("café/token-000002.png")]
    image, class_id = found[place]
    assert _is_as_drawn(image, "café", 2) and found.classes[class_id] == "café"


def test_the_table_beside_the_folders_tells_all_images(run, tmp_path):
    folder = _export(run, tmp_path, "imagefolder")
    with (folder / "images.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    files = {path.relative_to(folder).as_posix() for path in (folder / "train").rglob("*.*")}
    assert {row["file"] for row in rows} == files and len(rows) == NUM_IMAGES
    assert all(NAMES[int(row["class_id"])] == row["class_name"] for row in rows)
    of_cafe = [row for row in rows if row["class_name"] == "café"]
    assert [row["is_synthetic"] for row in of_cafe] == ["False"] * NUM_TRAIN + ["True"] * NUM_DRAWN
    assert of_cafe[0]["image_id"] == "train/café/photo 0.JPEG"
    assert of_cafe[-1]["prompt"] == 'Photo of a "<ti-cafe>"'


def test_real_files_are_linked_and_copied_where_that_fails(run, tmp_path, monkeypatch):
    folder = _export(run, tmp_path, "imagefolder")
    source, exported = tmp_path / "data/train/café/photo 1.JPEG", folder / "train/café/real-000001.jpg"
    assert exported.samefile(source)

    def refuse(*_paths):
        raise OSError("another disk")

    monkeypatch.setattr(os, "link", refuse)
    (copied,) = export_run(run, str(tmp_path / "again"), asking("imagefolder"))
    again = copied / "train/café/real-000001.jpg"
    assert again.read_bytes() == source.read_bytes() and not again.samefile(source)


def test_hugging_face_reads_the_folders(run, tmp_path):
    from datasets import load_dataset

    folder = _export(run, tmp_path, "imagefolder")
    found = load_dataset("imagefolder", data_dir=str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(found) == NUM_IMAGES and "rose" in found.features["label"].names


def test_hugging_face_reads_images_and_class_names(run, tmp_path):
    from datasets import ClassLabel, load_dataset
    from datasets import Image as ImageFeature

    folder = _export(run, tmp_path, "parquet")
    found = load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(found) == NUM_IMAGES
    assert found.features["label"] == ClassLabel(names=list(NAMES)) and isinstance(
        found.features["image"], ImageFeature
    )
    row = next(row for row in found if row["source"] == "token" and row["index"] == 3 and row["label"] == 1)
    assert _is_as_drawn(row["image"], NAMES[1], 3)
    assert row["is_synthetic"] and row["weight"] == 1.0
    assert sum(found["is_synthetic"]) == len(WEAK) * NUM_DRAWN


def test_pandas_reads_the_same_with_unique_paths(run, tmp_path):
    import pandas
    import pyarrow.parquet as pq

    folder = _export(run, tmp_path, "parquet")
    (file,) = (folder / "data").iterdir()
    table = pandas.read_parquet(file)
    paths = [image["path"] for image in table["image"]]
    assert len(set(paths)) == len(paths) == NUM_IMAGES
    features = json.loads(pq.read_schema(file).metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"}
    assert features["label"] == {"names": list(NAMES), "_type": "ClassLabel"}
    assert table["seed"].dropna().astype("int64").is_unique


def test_the_card_is_one_of_the_hub(run, tmp_path):
    from datasets import Features
    from huggingface_hub import DatasetCard

    run.write_bytes("summary.json", json.dumps({"recommendation": "Use no synthetic images."}).encode())
    folder = _export(run, tmp_path, "parquet")
    card = DatasetCard.load(folder / "README.md")
    assert card.data.task_categories == ["image-classification"]
    assert card.data.configs[0]["data_files"] == [{"split": "train", "path": "data/train-*.parquet"}]
    features = Features._from_yaml_list(card.data.to_dict()["dataset_info"]["features"])
    assert features["label"].names == list(NAMES)
    assert f"| rose | {NUM_TRAIN} | 0 |" in card.content and f"| café | {NUM_TRAIN} | {NUM_DRAWN} |" in card.content
    assert "Use no synthetic images." in card.content
    learnt = run.load(layout.learned_record("café", "textual_inversion"), Learned)
    assert learnt is not None
    assert f"- café: learned_embeds.safetensors `{learnt.files['learned_embeds.safetensors']}`" in card.content
    assert "pytorch_lora_weights" not in card.content, "no image of it is in here"
    assert str(tmp_path) not in card.content, "paths of this machine stay here"


def test_webdataset_reads_the_shards(run, tmp_path):
    webdataset = pytest.importorskip("webdataset", reason="it is in the group dev")
    folder = _export(run, tmp_path, "webdataset")
    (shard,) = folder.glob("*.tar")
    found = list(webdataset.WebDataset(str(shard), shardshuffle=False).decode("pil").to_tuple("png;jpg", "cls", "json"))
    assert len(found) == NUM_IMAGES
    assert json.loads((folder / "classes.json").read_text(encoding="utf-8")) == list(NAMES)
    for image, class_id, known in found:
        assert NAMES[class_id] == known["class_name"]
        assert not known["is_synthetic"] or _is_as_drawn(image, known["class_name"], known["index"])
    labels = [class_id for _, class_id, _ in found]
    assert labels != sorted(labels), "in a random order"


def test_shards_are_the_same_again(run, tmp_path):
    folder = _export(run, tmp_path, "webdataset")
    (again,) = export_run(run, str(tmp_path / "again"), asking("webdataset"))
    assert (again / "train-000000.tar").read_bytes() == (folder / "train-000000.tar").read_bytes()


def test_drawn_images_say_so_in_every_form(run, tmp_path):
    import pyarrow.parquet as pq

    (parquet,) = (_export(run, tmp_path, "parquet") / "data").iterdir()
    rows = pq.read_table(parquet).to_pylist()
    marked = [MARK in Image.open(io.BytesIO(row["image"]["bytes"])).info.get("XML:com.adobe.xmp", "") for row in rows]
    assert marked == [row["is_synthetic"] for row in rows]


def test_large_sets_are_cut_into_files(run, tmp_path, monkeypatch):
    from datasets import load_dataset

    import flowerti.export.dataset_repository as repository
    import flowerti.export.tar_shards as shards

    monkeypatch.setattr(repository, "_ROWS_PER_FILE", 10)
    monkeypatch.setattr(repository, "_ROWS_PER_GROUP", 4)
    monkeypatch.setattr(shards, "_IMAGES_PER_SHARD", 10)
    parquet, tar = export_run(run, str(tmp_path / "out"), asking("parquet", "webdataset"))
    assert len(list((parquet / "data").iterdir())) == len(list(tar.glob("*.tar"))) == -(-NUM_IMAGES // 10)
    found = load_dataset(str(parquet), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(found) == NUM_IMAGES
    assert "train-{000000..000003}.tar" in (tar / "README.md").read_text(encoding="utf-8")


def test_folders_are_written_through_the_table():
    from flowerti.export.exporter import _code_of
    from flowerti.export.kinds import KINDS

    assert _code_of(KINDS["imagefolder"]) is write_image_folder
    assert all(callable(_code_of(kind)) for kind in KINDS)
