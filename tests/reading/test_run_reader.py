"""`flowerti.Run`: what it gives is what the files hold, and what is not there is told in one line."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from finished_run import FOURTEEN, census, classifier
from PIL import Image
from small_export import BATCH_SIZE, NAMES, NUM_DRAWN, NUM_TRAIN, WEAK, noise

import flowerti
from flowerti.artifacts import layout
from flowerti.artifacts.image_scores import ImageScore, ImageScores
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.personalization.encoding import token_of

SOURCES = ("raw", "token", "lora", "raw_img2img")


def test_importing_the_package_imports_nothing_heavy_and_reading_needs_no_torch(finished: Path):
    code = (
        "import sys, flowerti\n"
        "before = [name for name in sys.modules if name.startswith('flowerti.')]\n"
        f"flowerti.Run({str(finished)!r}).arms()\n"
        "print(before, [name for name in ('torch', 'ray', 'diffusers', 'matplotlib') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[] []"


def test_the_package_names_what_it_hands_out():
    assert {"Run", "__version__"} <= set(dir(flowerti))
    assert flowerti.Run.__module__ == "flowerti.reading.run"
    with pytest.raises(AttributeError, match="'Walk'"):
        flowerti.Walk  # noqa: B018


def test_a_finished_run_has_its_summary_and_what_follows_from_it(finished: Path):
    run = flowerti.Run(finished)
    assert run.summary == json.loads((finished / "summary.json").read_bytes())
    assert run.recommendation == run.summary["recommendation"] != ""
    assert run.verdict == run.summary["verdict"]
    assert (run.uri, repr(run)) == (str(finished), f"Run({str(finished)!r})")
    assert run.settings.name == "demo"
    assert run.class_names == tuple(FOURTEEN)
    assert run.weak_classes == tuple(FOURTEEN[:3])


def test_a_summary_that_was_edited_is_refused(finished: Path):
    text = (finished / "summary.json").read_text()
    (finished / "summary.json").write_text(text.replace('"preset": "demo"', '"preset": "mine"'))
    with pytest.raises(ValueError, match=r"summary\.json is not what the run wrote"):
        _ = flowerti.Run(finished).summary


def test_arms_and_distances_have_the_numbers_of_the_summary(finished: Path):
    """The summary is written from the same artifacts by other code, with a few keys under other names."""
    run = flowerti.Run(finished)

    def published(name: str) -> list[dict]:
        return [{key.replace("pictures", "images"): v for key, v in row.items()} for row in run.summary[name]]

    assert run.arms().to_pylist() == published("sweep") != []
    assert run.arms_by_class().to_pylist() == published("sweep_classes") != []
    assert run.distances().to_pylist() == published("distances") != []
    frame = run.arms().to_pandas()
    assert frame["weak_f1"].dtype == np.float64 and len(frame) == len(run.summary["sweep"])


def test_distances_of_the_test_split_follow_once_they_are_confirmed(finished: Path):
    run, directory = flowerti.Run(finished), RunDirectory(str(finished))
    num = run.distances().num_rows
    (finished / "scores/test.json").write_bytes(b"{")
    with pytest.raises(ValueError, match=r"scores/test\.json is damaged: .* --until confirm"):
        run.distances()
    from finished_scores import scores

    directory.save(layout.scores("test"), scores(FOURTEEN[:1], all_names=FOURTEEN), "k")
    assert num < run.distances().num_rows < 2 * num


def test_a_table_without_rows_has_its_columns(finished: Path):
    directory = RunDirectory(str(finished))
    from flowerti.artifacts.records import SweepTable

    before = flowerti.Run(finished).arms().schema
    empty = SweepTable(rows=[], recommended_ratio=0.0, recommendation="", failures=[])
    directory.save(layout.SWEEP_TABLE, empty, "k")
    assert flowerti.Run(finished).arms().schema == before
    assert flowerti.Run(finished).arms().num_rows == 0


def test_classes_are_counted_scored_and_weak(finished: Path):
    rows = flowerti.Run(finished).classes().to_pylist()
    assert [row["class_id"] for row in rows] == list(range(14))
    assert [row["f1"] for row in rows] == [score.f1 for score in classifier(FOURTEEN).classes]
    assert [row["num_train"] for row in rows] == [count.num_train for count in census(FOURTEEN).counts]
    assert [row["is_weak"] for row in rows] == [True] * 3 + [False] * 11
    assert "lowest" in rows[0]["reason"] and rows[3]["reason"] is None


@pytest.mark.parametrize(
    ("read", "stage"),
    [
        ("class_names", "classify"),
        ("weak_classes", "select"),
        ("classes", "select"),
        ("images", "select"),
        ("distances", "score"),
        ("arms", "sweep"),
        ("arms_by_class", "sweep"),
    ],
)
def test_what_is_not_done_names_its_stage(finished: Path, read: str, stage: str):
    for file in finished.rglob("*.json"):
        if file.name != "config.json":
            file.unlink()
    run = flowerti.Run(str(finished))
    with pytest.raises(ValueError, match=f"is missing: .* --until {stage}`$") as caught:
        getattr(run, read)()
    assert "\n" not in str(caught.value)


def test_a_run_without_a_report_and_a_folder_without_a_run_are_told(finished: Path, tmp_path: Path):
    (finished / "summary.json").unlink()
    with pytest.raises(ValueError, match=r"summary\.json is missing: the run is not finished"):
        _ = flowerti.Run(finished).verdict
    with pytest.raises(ValueError, match="no run was started in this directory"):
        flowerti.Run(tmp_path)


def test_every_image_has_a_row(run_dir: Path):
    rows = flowerti.Run(run_dir).images().to_pylist()
    assert len(rows) == len(WEAK) * len(SOURCES) * NUM_DRAWN
    row = next(row for row in rows if (row["class_name"], row["source"], row["index"]) == ("café", "token", 5))
    assert (row["class_id"], row["learning"], row["weight"]) == (NAMES.index("café"), 0, 1.0)
    assert row["prompt"] == f'Photo of a "{token_of("café")}"'
    assert row["address"] == f"synthetic:{layout.shard('café', 'token', BATCH_SIZE)}#1"
    assert row["probability"] is None and row["train_id"] is None
    sets = list(dict.fromkeys((row["class_name"], row["source"]) for row in rows))
    assert sets == [(name, source) for name in WEAK for source in SOURCES]


def test_scores_stand_beside_the_images_that_have_some(run_dir: Path):
    address = f"synthetic:{layout.shard('café', 'token', 0)}#2"
    score = ImageScore(image=address, probability=0.25, similarity=0.5, train_id="train/café/photo 1.JPEG")
    RunDirectory(str(run_dir)).save(layout.IMAGE_SCORES, ImageScores(extractor="net", images=[score]), "k")
    scored = [row for row in flowerti.Run(run_dir).images().to_pylist() if row["probability"] is not None]
    assert [(row["class_name"], row["source"], row["index"]) for row in scored] == [("café", "token", 2)]
    assert (scored[0]["similarity"], scored[0]["train_id"]) == (0.5, "train/café/photo 1.JPEG")


def test_images_are_those_that_were_drawn(run_dir: Path):
    run = flowerti.Run(run_dir)
    found = list(run.iter_images("snow_drop", "lora"))
    assert [row["index"] for row, _ in found] == list(range(NUM_DRAWN))
    for row, image in found:
        np.testing.assert_array_equal(np.asarray(image), np.asarray(noise("snow_drop/lora", row["index"], 32)))
    np.testing.assert_array_equal(np.asarray(run.image(found[3][0]["address"])), np.asarray(found[3][1]))


def test_a_damaged_file_of_images_is_refused(run_dir: Path):
    shard = run_dir / layout.shard("Tulip", "token", 0)
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(content)
    with pytest.raises(ValueError, match=r"Tulip\.token\.000000\.parquet is damaged"):
        flowerti.Run(run_dir).images()


def test_a_run_without_images_says_who_draws_them(run_dir: Path):
    for shard in (run_dir / "synthetic").iterdir():
        shard.unlink()
    with pytest.raises(ValueError, match=r"no image was drawn yet: .* --until sample"):
        flowerti.Run(run_dir).images()
    with pytest.raises(ValueError, match=r"no image of token was drawn yet: .* --until sample"):
        flowerti.Run(run_dir).dataset(["token"])


def test_a_token_file_is_what_was_learnt(run_dir: Path):
    run = flowerti.Run(run_dir)
    file = run.token_file("café")
    record = json.loads((file.parent / "textual_inversion.json").read_text())
    assert hashlib.sha256(file.read_bytes()).hexdigest() == record["files"][file.name]
    with pytest.raises(ValueError, match=r"'rose' is no weak class: choose among Tulip, café"):
        run.token_file("rose")
    with pytest.raises(ValueError, match=r"no token of 'café' was learnt in learning 1: .* --until personalize"):
        run.token_file("café", learning=1)
    with pytest.raises(ValueError, match=r"^learning: 2 is none of the run's 2 learnings"):
        run.token_file("café", learning=2)
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="is not what was learnt"):
        run.token_file("café")


def test_a_data_set_has_real_and_drawn_images_with_their_classes(run_dir: Path, tmp_path: Path):
    data = flowerti.Run(run_dir).dataset(["real", "token"])
    num_real = len(NAMES) * NUM_TRAIN
    assert len(data) == num_real + len(WEAK) * NUM_DRAWN
    assert data.classes == list(NAMES)
    assert data.targets[:num_real] == [i for i in range(len(NAMES)) for _ in range(NUM_TRAIN)]
    image, class_id = data[0]
    assert (image.size, class_id) == ((32, 32), 0)
    photo = Image.open(tmp_path / "data/train" / NAMES[0] / "photo 0.JPEG")
    expected = np.asarray(photo.convert("RGB").resize((32, 32), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(np.asarray(image), expected)
    image, class_id = data[num_real]
    name = next(name for name in NAMES if name in WEAK)
    assert class_id == NAMES.index(name)
    np.testing.assert_array_equal(np.asarray(image), np.asarray(noise(f"{name}/token", 0, 32)))


def test_a_data_set_goes_through_a_loader_of_torch(run_dir: Path):
    import torch
    from torchvision.transforms.functional import pil_to_tensor

    data = flowerti.Run(run_dir).dataset(["token", "lora"], ratio=1.0, transform=pil_to_tensor)
    assert len(data) == len(WEAK) * 2 * NUM_TRAIN
    images, targets = next(iter(torch.utils.data.DataLoader(data, batch_size=4)))
    assert (images.shape, images.dtype) == ((4, 3, 32, 32), torch.uint8)
    assert targets.tolist() == data.targets[:4]


@pytest.mark.parametrize(
    ("sources", "more", "message"),
    [
        (["alternative_name"], {}, "^sources: the run drew no images of source alternative_name: choose among raw"),
        ("token", {}, "^sources: 'token' is no list"),
        ([], {}, r"^sources: \[\] is no list"),
        (["token", "token"], {}, "^sources names one twice"),
        (["token"], {"ratio": -1.0}, "^ratio must be at least 0"),
        (["token"], {"ratio": 9.0}, "^ratio: 9 asks for 27 images"),
    ],
)
def test_what_a_run_has_not_is_refused(run_dir: Path, sources, more, message: str):
    with pytest.raises(ValueError, match=message):
        flowerti.Run(run_dir).dataset(sources, **more)
