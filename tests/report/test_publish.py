"""The end of a run on disk: summary, figures and page; which images are read; and the page written again."""

import dataclasses
import io
import json
import re

import numpy as np
import pytest
from finished_run import classifier, experiment, image_sets, run
from finished_scores import EXTRACTOR, copy_check, scores
from finished_sweep import sweep
from page_reader import pixels
from PIL import Image

from flowerti.artifacts.image_scores import ImageScore, ImageScores
from flowerti.artifacts.page_record import PageRecord
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.artifacts.saved_config import write_config
from flowerti.data.dataset import Dataset, Record
from flowerti.data.shards import write_shard
from flowerti.report import Findings
from flowerti.report.names import copies_file, strip_file
from flowerti.report.publish import images_of_copies, publish, republish, shown_images
from flowerti.report.summary_schema import validate_summary
from flowerti.report.web_images import thumbnail
from flowerti.study import Study
from flowerti.verification import verify

NAMES = ("rose", "lily")
SHARD = "synthetic/rose-token.parquet"
NUM = 10


def image(index):
    return np.random.default_rng(index).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def png(index):
    stream = io.BytesIO()
    Image.fromarray(image(index)).save(stream, "PNG")
    return stream.getvalue()


def check():
    usual = copy_check("rose", "token", num_copies=1, num_pairs=NUM)
    closest = [dataclasses.replace(one, image=f"synthetic:{SHARD}#{i}") for i, one in enumerate(usual.closest)]
    return dataclasses.replace(usual, copies=closest[:1], closest=closest)


@pytest.fixture
def parts():
    """A run of two classes of which one is weak, with images from the token alone, and little for charts to draw."""
    given = dataclasses.replace(scores(NAMES[:1], ("token",), NAMES), copies=[check()], matrix=[])
    sets = [dataclasses.replace(image_sets(NAMES[:1], ("token",))[0], files=[SHARD], num_images=NUM)]
    report = dataclasses.replace(classifier(NAMES), curves=[], confusion=[])
    table = dataclasses.replace(sweep(), rows=sweep().rows[:1])
    return run(NAMES, num_weak=1, classifier=report, scores=given, sets=sets, sweep=table)


@pytest.fixture
def study(tmp_path, parts):
    """Validation and training images 100 and up, 200 and up; synthetic ones 0 and up."""
    directory = RunDirectory(str(tmp_path / "run"))
    rows = [{"image": {"bytes": png(i), "path": ""}, "class_name": "rose", "source": "token"} for i in range(NUM)]
    write_shard(directory, SHARD, rows, "k")
    records = []
    for split, first in (("validation", 100), ("train", 200)):
        for i in range(NUM):
            file = tmp_path / f"{split}{i}.png"
            file.write_bytes(png(first + i))
            records.append(Record(f"{split}/{i}", 0, split, str(file)))
    directory.save("classifier/report.json", parts["classifier"], "k")
    directory.save("data.json", parts["census"], "k")
    return Study(
        experiment=parts["experiment"],
        run=directory,
        dataset=Dataset(NAMES, tuple(records)),
        census=parts["census"],
        base_sha256="b" * 64,
        alternative_names={},
        latin_names={},
    )


def published(study, parts):
    return publish(study, Findings(**parts | {"experiment": study.experiment}))


def hidden(study):
    return dataclasses.replace(study, experiment=experiment(show_images=False))


def test_everything_that_is_promised_is_written(study, parts):
    summary = published(study, parts)
    validate_summary(summary)
    assert json.loads(study.run.read_bytes("summary.json")) == summary
    page = study.run.read_bytes("report.html").decode()
    expected = {"loss_curves.png", strip_file("rose"), copies_file("rose", "token", EXTRACTOR)}
    assert {name.removeprefix("figures/") for name in study.run.names("figures")} == expected
    first_screen, figures = 3 + 3, len(expected) - 1
    assert page.count("data:image/webp") == figures + 8 + NUM + first_screen, "the gallery has the strip's images"


def test_the_first_images_of_each_set_are_shown(study, parts):
    shown = shown_images(study, parts["selection"], parts["sets"])
    assert list(shown) == ["rose"]
    np.testing.assert_array_equal(shown["rose"]["real"], [image(100 + i) for i in range(8)])
    np.testing.assert_array_equal(shown["rose"]["token"], [image(i) for i in range(8)])


def test_pairs_are_read_by_address_and_id(study, parts):
    found = images_of_copies(study, parts["scores"])
    assert len(found) == 2 * 8
    for i in range(8):
        np.testing.assert_array_equal(found[f"synthetic:{SHARD}#{i}"], image(i))
        np.testing.assert_array_equal(found[f"train/{i}"], image(200 + i))


def test_real_images_are_not_even_read_where_they_may_not_be_shown(study, parts, tmp_path):
    for file in tmp_path.glob("*.png"):
        file.unlink()
    assert set(shown_images(hidden(study), parts["selection"], parts["sets"])["rose"]) == {"token"}
    assert not [name for name in images_of_copies(hidden(study), parts["scores"]) if name.startswith("train/")]
    published(hidden(study), parts)
    with pytest.raises(ValueError, match="cannot be read"):
        published(study, parts)


def record_of(study):
    return study.run.load("page.json", PageRecord)


def test_each_image_has_its_seed_its_scores_and_the_nearest_photograph(study, parts):
    scored = [
        ImageScore(image=f"synthetic:{SHARD}#{i}", probability=i / 20, similarity=0.5, train_id="train/3")
        for i in range(NUM)
    ]
    study.run.save("scores/images.json", ImageScores(extractor=EXTRACTOR, images=scored), "k")
    published(study, parts)
    record = record_of(study)
    drawn = [one for one in record.gallery if one.source == "token"]
    assert [one.probability for one in drawn] == [i / 20 for i in range(NUM)]
    assert [one.thumbnail for one in drawn] == [thumbnail(image(i)) for i in range(NUM)]
    assert record.nearest == {"train/3": thumbnail(image(203))}
    assert record.num_not_shown == 0
    published(hidden(study), parts)
    record = record_of(study)
    assert {one.source for one in record.gallery} == {"token"} and record.nearest == {}


def test_images_drawn_from_photographs_are_no_more_shown_than_these(study, parts):
    sets = [*parts["sets"], dataclasses.replace(parts["sets"][0], source="raw_img2img")]
    published(study, parts | {"sets": sets})
    assert {one.source for one in record_of(study).gallery} == {"real", "token", "raw_img2img"}
    published(hidden(study), parts | {"sets": sets})
    assert {one.source for one in record_of(study).gallery} == {"token"}
    assert record_of(study).num_not_shown == NUM


@pytest.mark.parametrize("source", ["raw_img2img", "round_trip"])
def test_neither_strips_nor_figures_of_copies_show_images_drawn_from_photographs(study, parts, source):
    sets = [dataclasses.replace(parts["sets"][0], source=source)]
    (check,) = parts["scores"].copies
    scores = dataclasses.replace(parts["scores"], copies=[dataclasses.replace(check, source=source)])
    for of_run, is_shown in ((study, True), (hidden(study), False)):
        assert (source in shown_images(of_run, parts["selection"], sets)["rose"]) == is_shown
        assert bool(images_of_copies(of_run, scores)) == is_shown
        published(of_run, parts | {"sets": sets, "scores": scores})
        drawn = {strip_file("rose"), copies_file("rose", source, EXTRACTOR)}
        names = {name.removeprefix("figures/") for name in study.run.names("figures")}
        assert drawn <= names if is_shown else not drawn & names


def test_a_gallery_without_place_for_all_shows_as_many_of_each_set(study, parts, monkeypatch):
    monkeypatch.setattr("flowerti.report.gallery.MAX_IMAGES", 7)
    published(study, parts)
    record = record_of(study)
    assert [one.index for one in record.gallery if one.source == "token"] == list(range(7))
    assert record.num_not_shown == NUM - 7


def test_figures_of_an_earlier_report_do_not_stay(study, parts):
    published(study, parts)
    before = pixels(study.run.read_bytes(f"figures/{strip_file('rose')}"))
    study.run.write_bytes("figures/grid_old.png", png(0))
    published(hidden(study), parts)
    assert "figures/grid_old.png" not in study.run.names("figures")
    after = pixels(study.run.read_bytes(f"figures/{strip_file('rose')}"))
    assert len(after) == len(before) // 2


def test_the_page_can_be_written_again_from_what_is_stored(study, parts):
    published(study, parts)
    page = study.run.read_bytes("report.html")
    study.run.delete("report.html")
    republish(study.run)
    assert study.run.read_bytes("report.html") == page


@pytest.mark.parametrize("name", ["summary.json", "page.json"])
def test_an_unfinished_run_has_no_page(study, parts, name):
    published(study, parts)
    study.run.delete(name)
    with pytest.raises(ValueError, match=f"{name} is missing: the run is not finished"):
        republish(study.run)


@pytest.mark.parametrize("name", ["summary.json", f"figures/{strip_file('rose')}", "figures/more.png"])
def test_a_report_is_not_written_again_from_what_the_run_did_not_write(study, parts, name):
    summary = published(study, parts)
    changed = json.dumps(summary | {"recommendation": "something else"}).encode()
    study.run.write_bytes(name, changed if name == "summary.json" else png(5))
    with pytest.raises(ValueError, match=f"{re.escape(name)} is not what the run wrote"):
        republish(study.run)


def test_what_was_written_is_listed_and_a_page_that_was_written_again_is_no_change(study, parts):
    write_config(study.run, study.experiment)
    published(study, parts)
    assert verify(study.run).findings == []
    study.run.write_bytes("report.html", b"<p>another</p>")
    assert [finding.file for finding in verify(study.run).findings] == ["report.html"]
    republish(study.run)
    assert verify(study.run).findings == []


def test_a_summary_of_an_older_version_is_not_laid_out(study, parts):
    summary = published(study, parts) | {"format": "flowerti-summary-1"}
    study.run.write_bytes("summary.json", json.dumps(summary).encode())
    with pytest.raises(ValueError, match="run the experiment again"):
        republish(study.run)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"[]", b"null", b'{"a": 1}'])
@pytest.mark.parametrize("name", ["summary.json", "page.json", "config.json"])
def test_a_damaged_file_of_a_finished_run_is_named(study, parts, name, content):
    published(study, parts)
    study.run.write_bytes(name, content)
    with pytest.raises(ValueError, match=re.escape(name)):
        republish(study.run)
