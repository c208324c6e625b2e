"""Oxford 102: its official splits and names, and what to fetch where it is missing."""

import json
import urllib.error
from collections import Counter
from pathlib import Path

import pytest

from flowerti.config.data import DataConfig
from flowerti.data.access import list_records
from flowerti.data.dataset import SPLITS, Dataset
from flowerti.data.sources.flowers102 import FLOWERS102
from flowerti.data.sources.flowers102_names import NAMES


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


def test_other_names_are_known_of_every_class_and_of_no_other():
    from torchvision.datasets import Flowers102

    assert set(NAMES) == set(Flowers102.classes)
    assert all(name not in others and others[0] != others[1] and others[1] for name, others in NAMES.items())
    known = FLOWERS102.known_names()
    assert {name: (names.class_name, names.alternative, names.latin) for name, names in known.items()} == {
        name: (name, *others) for name, others in NAMES.items()
    }
