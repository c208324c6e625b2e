"""The settings of the data as far as the table of data sources decides: which exist, and what each needs."""

import subprocess
import sys

import pytest
import tyro

from flowerti.config.data import DataConfig
from flowerti.config.data_sources import DATA_SOURCES, DataSource


@pytest.mark.parametrize("kind", ["zip", ""])
def test_a_data_source_that_does_not_exist_is_refused_with_those_that_do(kind: str):
    expected = rf"^data\.kind must be one of herbarium, flowers102, image_folder, parquet, csv, not '{kind}'$"
    with pytest.raises(ValueError, match=expected):
        DataConfig(kind=kind, root="x")


@pytest.mark.parametrize("row", list(DATA_SOURCES), ids=lambda row: row.name)
def test_a_folder_is_asked_for_where_one_is_needed(row: DataSource):
    if not row.needs_root:
        assert DataConfig(kind=row.name).root == ""
        return
    with pytest.raises(ValueError, match=rf"^data\.root is empty: name the folder of the {row.name} data set"):
        DataConfig(kind=row.name)
    assert DataConfig(kind=row.name, root="x").root == "x"


@pytest.mark.parametrize("name", ["num_train_common", "num_train_rare", "num_validation", "num_test"])
def test_counts_matter_to_drawn_data_alone(name: str):
    for row in DATA_SOURCES:
        if row.is_drawn:
            with pytest.raises(ValueError, match=rf"^data\.{name} must be at least 2"):
                DataConfig(kind=row.name, root="x", **{name: 1})
        else:
            assert getattr(DataConfig(kind=row.name, root="x", **{name: 0}), name) == 0


def test_help_lists_the_data_sources_those_of_plugins_included(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(DATA_SOURCES, "_rows", dict(DATA_SOURCES._rows))
    DATA_SOURCES.add(DataSource(name="stripes", label="two widths", implementation="x:Y"))
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as caught:
        tyro.cli(DataConfig, default=DataConfig(kind="herbarium"), args=["--help"])
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "default: herbarium" in text
    for row in DATA_SOURCES:
        assert f"{row.name}: {row.label}" in text


def test_settings_import_no_heavy_package():
    code = (
        "import sys, flowerti.config.presets; "
        "print([name for name in ('torch', 'PIL', 'pyarrow', 'ray', 'torchvision') if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
