"""Sweeps with every arm that runs where it is named, from images to the table, in this process."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from sweep_here import sweep_here
from test_sweep import WEAK, pools, selection, study_of

from flowerti.artifacts import layout
from flowerti.artifacts.curation import Curation
from flowerti.artifacts.records import ImageSet, SweepTable
from flowerti.cluster.sweep import sweep
from flowerti.config.experiment import BaseConfig, ClassifierConfig, FiltersConfig, SweepConfig
from flowerti.data.access import read_image
from flowerti.data.shards import write_shard
from flowerti.generation.pixels import encode_png
from flowerti.progress import Event, Info, Progress
from flowerti.study import Study

PAIRS = {
    "token_round_trip_rest": "round_trip_all",
    "token_inter_class_shared_label": "token_inter_class_source_label",
    "token_first": "balanced_first",
}
"""Arms, and what each is held against."""
BETWEEN = "token_inter_class"
PLAIN = SweepConfig(
    mixing=("fixed",),
    replace_probabilities=(0.5,),
    free_arms=("real",),
    num_bootstrap=100,
    learning_rate_factors=(1.0,),
    negative_control=False,
)


def study_with(base: Path, folder: Path, config: SweepConfig, **changes: Any) -> Study:
    study = study_of(folder)
    experiment = dataclasses.replace(study.experiment, base=BaseConfig(path=str(base)))
    sampling = dataclasses.replace(experiment.sampling, sources=("token", BETWEEN))
    experiment = dataclasses.replace(experiment, sampling=sampling, sweep=config, **changes)
    return dataclasses.replace(study, experiment=experiment, base_sha256="of the base")


def between(study: Study) -> list[ImageSet]:
    """Images of each weak class that come from another one."""
    sets, donor = [], study.dataset.class_names[0]
    for name in WEAK:
        file = f"synthetic/{name}.{BETWEEN}.parquet"
        rows = [
            {
                "image": {"bytes": encode_png(read_image(f"herbarium:{name}:{9100 + i}", 64)), "path": f"{i}.png"},
                "label_share": 0.6,
                "source_class": donor,
                "index": i,
            }
            for i in range(4)
        ]
        write_shard(study.run, file, rows, "drawn")
        sets.append(ImageSet(class_name=name, source=BETWEEN, prompt="", num_images=4, files=[file], key=f"b {name}"))
    return sets


def run_in(study: Study, sets: list[ImageSet], heard: list[Event] | None = None) -> SweepTable:
    listeners = [heard.append] if heard is not None else []
    return sweep(study, selection(), sets, Progress("sweep", listeners))


def test_every_arm_is_trained_beside_what_it_is_held_against(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    trained = sweep_here(monkeypatch)
    plain = study_with(tiny_base, tmp_path, PLAIN)
    sets = [*pools(plain.run), *between(plain)]
    before = run_in(plain, sets)
    named = dataclasses.replace(
        PLAIN, extra_arms=(*PAIRS, *PAIRS.values()), free_arms=("real", "class_gaussians", "feature_noise")
    )
    study, first = study_with(tiny_base, tmp_path, named), list(trained)
    trained.clear()
    table = run_in(study, sets)
    assert table.failures == []
    arms = {row.arm for row in table.rows if row.split == "validation"}
    assert {*PAIRS, *PAIRS.values(), "class_gaussians", "feature_noise"} <= arms
    kept = {name for name in first if name.startswith("validation.real.")}
    assert kept and not kept & set(trained), "trials of arms that were there are not trained again"
    if table.best_control == "real":
        assert not set(first) & {name for name in trained if name.startswith("validation.")}
    of_before = {(row.arm, row.ratio): row for row in before.rows if row.split == "validation"}
    of_now = {(row.arm, row.ratio): row for row in table.rows if row.split == "validation"}
    assert of_now["real", 0.0].weak_f1 == of_before["real", 0.0].weak_f1
    for arm, other in PAIRS.items():
        gain = of_now[arm, 0.5].weak_f1 - of_now[other, 0.5].weak_f1
        assert of_now[arm, 0.5].content_gain == pytest.approx(gain, abs=1e-9)
    trained.clear()
    assert run_in(study, sets) == table
    assert trained == []
    other_base = dataclasses.replace(study, base_sha256="of another one")
    run_in(other_base, sets)
    assert {name.split(".")[1] for name in trained if name.startswith("validation.")} == {
        "token_round_trip_rest",
        "round_trip_all",
    }


def test_a_small_network_is_trained_from_random_weights_under_every_arm(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    trained = sweep_here(monkeypatch)
    config = dataclasses.replace(PLAIN, extra_arms=(*PAIRS, *PAIRS.values()), free_arms=("real", "augmented"))
    classifier = ClassifierConfig(mode="scratch", input_size_px=16, num_epochs=1)
    study = study_with(tiny_base, tmp_path, config, classifier=classifier)
    table = run_in(study, [*pools(study.run), *between(study)])
    assert table.failures == []
    assert {*PAIRS, *PAIRS.values(), "augmented"} <= {row.arm for row in table.rows}
    assert not [name for name in study.run.names("features") if "real." in name], "images are read where they are"
    assert len(trained) == len(set(trained))


def test_a_class_of_which_filters_keep_nothing_is_told_and_left_out(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    trained = sweep_here(monkeypatch)
    study = study_with(
        tiny_base,
        tmp_path,
        PLAIN,
        filters=FiltersConfig(keep=("top_share", "top_k"), share=0.9, top_k=3),
        classifier=ClassifierConfig(input_size_px=64, num_epochs=20, num_views=2),
    )
    sets, heard = pools(study.run), list[Event]()
    # the second weak class has the first one's images
    sets[1] = dataclasses.replace(sets[1], files=sets[0].files, key="the first class's")
    run_in(study, sets, heard)
    found = study.run.load(layout.CURATION, Curation)
    assert found is not None
    assert found.left_out == [(WEAK[1], "token")]
    assert found.rows[0].num_kept >= 2 and found.rows[1].num_kept == 0
    said = [event.text for event in heard if isinstance(event, Info)]
    assert said[0] == f"filtering {2 * sets[0].num_images} images by top_share, top_k"
    assert any(text.endswith("too few for every learning and pool: the sweep leaves it out") for text in said)
    names = study.run.names("features")
    assert not [name for name in names if "real.test.mirrored" in name or "real.validation.mirrored" in name]
    trained.clear()
    run_in(study, sets)
    assert trained == []
    looser = dataclasses.replace(study.experiment, filters=FiltersConfig(keep=("no_outliers",), far_share=0.5))
    run_in(dataclasses.replace(study, experiment=looser), sets)
    assert {name.split(".")[1].removeprefix("real+") for name in trained} == {"token_replace"}
