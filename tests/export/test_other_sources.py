"""Training sets of images that are no files: drawn by rule, and in Parquet files."""

import io

import numpy as np
import pytest
from PIL import Image
from small_export import asking

from flowerti.artifacts import layout
from flowerti.artifacts.pending import PendingArtifacts
from flowerti.artifacts.records import Selection
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.artifacts.saved_config import write_config
from flowerti.config.experiment import BaseConfig, DataConfig, Experiment, ImbalanceConfig
from flowerti.data.access import list_records, read_image
from flowerti.data.inspection import Inspection
from flowerti.export.contents import Contents, read_contents
from flowerti.export.exporter import export_run
from flowerti.export.training_set import dataset_of, training_set


def _started(folder, data: DataConfig, imbalance: ImbalanceConfig | None = None) -> RunDirectory:
    experiment = Experiment(name="x", data=data, base=BaseConfig(path="demo"), imbalance=imbalance or ImbalanceConfig())
    run = RunDirectory(str(folder))
    write_config(run, experiment)
    artifacts = PendingArtifacts(run)
    Inspection(data=data, imbalance=experiment.imbalance, seed=experiment.seed, known=None, artifacts=artifacts).of(
        list_records(data, experiment.seed)
    )
    artifacts.save()
    run.save(layout.SELECTION, Selection(selected=[], by_evidence=[]), "k")
    return run


def _drawn(side_px: int = 32) -> DataConfig:
    few = dict.fromkeys(("num_train_common", "num_train_rare", "num_validation", "num_test"), 2)
    return DataConfig(kind="herbarium", image_size_px=side_px, **few)


def _contents(run: RunDirectory) -> Contents:
    return read_contents(run, asking("imagefolder"))


def test_drawn_images_are_written_at_the_side_that_the_run_saw(tmp_path):
    contents = _contents(_started(tmp_path / "run", _drawn(48)))
    images, records = training_set(contents), dataset_of(contents).of("train")
    assert len(images) == len(records) > 20
    for exported, record in list(zip(images, records, strict=True))[:3]:
        assert exported.fields["image_id"] == record.id and exported.path is None
        with Image.open(io.BytesIO(exported.read())) as image:
            assert np.array_equal(np.asarray(image), read_image(record.address, 48))


def test_an_exported_set_is_a_data_set_of_the_next_run(tmp_path):
    """What leaves as Parquet is read as Parquet: the encoded bytes of real images go through unchanged."""
    run = _started(tmp_path / "run", _drawn())
    (first,) = export_run(run, str(tmp_path / "out"), asking("parquet"))
    file = first / "data/train-00000-of-00001.parquet"
    for split in ("validation", "test"):
        (first / f"{split}.parquet").write_bytes(file.read_bytes())
    file.rename(first / "train.parquet")
    again = _started(tmp_path / "next", DataConfig(kind="parquet", root=str(first), image_size_px=32))
    before, after = training_set(_contents(run)), training_set(_contents(again))
    assert [one.class_name for one in before] == [one.class_name for one in after]
    assert [one.read() for one in before] == [one.read() for one in after]
    assert {one.file.rsplit(".")[-1] for one in after} == {"png"}


@pytest.mark.parametrize("imbalance", [ImbalanceConfig(resplit=True), ImbalanceConfig(factor=0.5)])
def test_a_cut_is_that_of_the_run(tmp_path, imbalance):
    from flowerti.artifacts.records import SplitLists

    run = _started(tmp_path / "run", _drawn(), imbalance)
    splits = run.load(layout.SPLITS, SplitLists)
    assert splits is not None
    assert sorted(one.fields["image_id"] for one in training_set(_contents(run))) == sorted(splits.train)
