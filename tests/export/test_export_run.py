"""An export leaves the run as it is, appears whole or not at all, and refuses in one line what may not be."""

import hashlib
import json
import re
from pathlib import Path

import pytest
from PIL import Image
from small_export import NAMES, NUM_DRAWN, NUM_TRAIN, WEAK, asking, make_run

from flowerti import cli
from flowerti.artifacts import layout
from flowerti.export.columns import columns_of, counts_of
from flowerti.export.contents import read_contents
from flowerti.export.exporter import export_run
from flowerti.export.kinds import KINDS
from flowerti.export.request import ExportRequest
from flowerti.export.training_set import training_set


def _hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_all_kinds_leave_run_and_data_set_as_they_are(run, tmp_path, capsys):
    before = {name: _hashes(tmp_path / name) for name in ("run", "data")}
    assert cli.main(["export", run.uri, str(tmp_path / "out"), "--what", *KINDS.names]) == 0
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "out" / name) for name in KINDS.names]
    assert {name: _hashes(tmp_path / name) for name in ("run", "data")} == before
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(KINDS.names)
    assert {path.name for path in tmp_path.iterdir()} == {"data", "run", "out"}


def test_an_empty_folder_is_taken(run, tmp_path):
    (tmp_path / "out").mkdir()
    (folder,) = export_run(run, str(tmp_path / "out"), asking("tokens"))
    assert folder.is_dir()


@pytest.mark.parametrize(
    ("out_dir", "problem"),
    [
        ("full", "OUT_DIR .*full is not empty: choose a new folder"),
        ("full/file", "OUT_DIR .*file is a file: choose another name"),
        ("run/export", "OUT_DIR .* lies in .*run, which an export leaves as it is"),
        ("run", "OUT_DIR .* lies in .*run, which an export leaves as it is"),
        ("link/inside", "OUT_DIR .* lies in .*run, which an export leaves as it is"),
        ("data/train/new", "OUT_DIR .* lies in .*data, which an export leaves as it is"),
    ],
)
def test_an_unfit_folder_is_refused_in_one_line(run, tmp_path, capsys, out_dir, problem):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    before = _hashes(tmp_path)
    assert cli.main(["export", run.uri, str(tmp_path / out_dir), "--what", "tokens"]) == 2
    assert re.fullmatch(f"flowerti: {problem}[^\n]*\n", capsys.readouterr().err)
    assert _hashes(tmp_path) == before


def test_an_object_store_is_no_place_for_an_export(run):
    with pytest.raises(ValueError, match="is no local folder"):
        export_run(run, "s3://bucket/out", asking("tokens"))


def test_what_fails_leaves_nothing(run, tmp_path):
    name = layout.shard("café", "token", 4)
    run.write_bytes(name, b"no Parquet")
    with pytest.raises(ValueError, match="is damaged"):
        export_run(run, str(tmp_path / "out"), asking("tokens", "imagefolder"))
    assert {path.name for path in tmp_path.iterdir()} == {"data", "run"}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"what": ()}, "--what is empty"),
        ({"what": ("zip",)}, "--what must be among imagefolder, .*, not 'zip'"),
        ({"what": ("tokens", "tokens")}, "--what names one twice"),
        ({"sources": ("token", "token")}, "--sources names one twice"),
        ({"ratio": -1.0}, "--ratio must be at least 0"),
        ({"ratio": float("nan")}, "--ratio must be at least 0"),
        ({"learning": -1}, "--learning must be at least 0"),
    ],
)
def test_a_bad_request_is_refused(changes, problem):
    with pytest.raises(ValueError, match=problem):
        ExportRequest(**{"what": ("tokens",), **changes})


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        (asking("images", sources=("dreambooth",)), "the run drew no images of source dreambooth: choose among raw"),
        (asking("tokens", learning=2), "--learning: 2 is none of the run's 2 learnings"),
        (asking("images", ratio=3.0), "--ratio: 3 asks for 9 images of class 'Tulip', and 6 were drawn and kept"),
        (asking("images", learning=1), "no image of token is there"),
    ],
)
def test_what_a_run_does_not_have_is_refused(run, tmp_path, request_, problem):
    with pytest.raises(ValueError, match=problem):
        export_run(run, str(tmp_path / "out"), request_)


def test_a_run_that_has_not_come_far_is_told(tmp_path, run):
    run.delete(layout.SELECTION)
    with pytest.raises(ValueError, match="the weak classes are not selected yet"):
        export_run(run, str(tmp_path / "out"), asking("tokens"))


def test_a_changed_data_set_is_refused_and_its_tokens_still_leave(run, tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "data/train/rose/photo 0.JPEG")
    with pytest.raises(ValueError, match=r"data\.json: the images in .* are no longer those that the run had"):
        export_run(run, str(tmp_path / "out"), asking("imagefolder"))
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    (folder,) = export_run(run, str(tmp_path / "out"), asking("tokens"))
    assert folder.is_dir()


class TestRestrictedImages:
    """Of a data set whose licence does not let its photographs go."""

    @pytest.fixture
    def restricted(self, tmp_path, tiny_base, base):
        return make_run(tmp_path, tiny_base, base, show_images=False)

    def test_real_images_stay_and_the_card_says_so(self, restricted, tmp_path):
        (folder,) = export_run(restricted, str(tmp_path / "out"), asking("imagefolder"))
        assert {path.suffix for path in (folder / "train").rglob("*.*")} == {".png"}
        assert len(list((folder / "train").rglob("*.png"))) == len(WEAK) * NUM_DRAWN
        assert "**Without real images**" in (folder / "README.md").read_text(encoding="utf-8")

    def test_they_leave_where_somebody_asks_for_them(self, restricted, tmp_path):
        (folder,) = export_run(restricted, str(tmp_path / "out"), asking("parquet", with_real_images=True))
        text = (folder / "README.md").read_text(encoding="utf-8")
        assert "**Restricted real images**" in text and f"| rose | {NUM_TRAIN} | 0 |" in text

    def test_so_do_images_that_show_them(self, restricted, tmp_path):
        with pytest.raises(ValueError, match="images of raw_img2img show real images, and data"):
            export_run(restricted, str(tmp_path / "out"), asking("images", sources=("raw_img2img",)))
        export_run(restricted, str(tmp_path / "out"), asking("images", sources=("raw_img2img",), with_real_images=True))
        (file,) = (tmp_path / "out/images/Tulip").glob("*000000.png")
        with Image.open(file) as image:
            assert "compositeWithTrainedAlgorithmicMedia" in image.info["XML:com.adobe.xmp"]
            assert "Denoising strength: 0.5" in image.info["parameters"]


def test_images_of_the_training_split_alone_leave(run):
    images = training_set(read_contents(run, asking("imagefolder")))
    assert counts_of(images) == {name: (NUM_TRAIN, NUM_DRAWN if name in WEAK else 0) for name in NAMES}
    assert all(str(columns_of(image)["image_id"]).startswith("train/") for image in images if not image.is_synthetic)
    assert all(columns_of(image)["weight"] == columns_of(image)["label_share"] == 1.0 for image in images)


def test_a_run_without_a_summary_has_a_card_without_a_finding(run, tmp_path):
    (folder,) = export_run(run, str(tmp_path / "out"), asking("webdataset"))
    assert "What the run found" not in (folder / "README.md").read_text(encoding="utf-8")
    run.write_bytes(layout.SUMMARY, json.dumps({"recommendation": "Use none."}).encode())
    (folder,) = export_run(run, str(tmp_path / "again"), asking("webdataset"))
    assert "Use none." in (folder / "README.md").read_text(encoding="utf-8")
