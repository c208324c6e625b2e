"""What trials read from the run directory, with features computed in this process."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from features_here import compute_here
from test_sweep import WEAK, selection, study_of

from flowerti.artifacts.records import ImageSet
from flowerti.cluster import trial_arrays
from flowerti.cluster.sweep import complete_sets
from flowerti.config.experiment import ReplicationConfig
from flowerti.config.sampling import SamplingConfig
from flowerti.data.access import read_image
from flowerti.data.shards import write_shard
from flowerti.generation.pixels import encode_png
from flowerti.progress import Progress
from flowerti.study import Study
from flowerti.sweep.repetitions import Repetition
from flowerti.sweep.rounds import TrialPlan
from flowerti.sweep.trial_data import PoolKey
from flowerti.tables.arms import ARMS

SOURCE = "token_inter_class"
ARM = ARMS[f"{SOURCE}_shared_label"]


def drawn_between(study: Study, learning: int = 0) -> ImageSet:
    """Three images of a weak class from two others."""
    file = f"synthetic/{WEAK[0]}.{SOURCE}.{learning}.parquet"
    classes = [study.dataset.class_names[i] for i in (5, 3, 5)]
    rows = [
        {
            "image": {"bytes": encode_png(read_image(f"herbarium:{WEAK[0]}:{9000 + i}", 64)), "path": f"{i}.png"},
            "class_name": WEAK[0],
            "index": i,
            "label_share": share,
            "source_class": name,
        }
        for i, (share, name) in enumerate(zip((0.25, 0.5, 1.0), classes, strict=True))
    ]
    write_shard(study.run, file, rows, "k")
    return ImageSet(
        class_name=WEAK[0], source=SOURCE, learning=learning, prompt="", num_images=3, files=[file], key="k"
    )


@pytest.mark.parametrize(("name", "is_read"), [(ARM.name, True), (f"{SOURCE}_source_label", True), ("real", False)])
def test_labels_are_read_for_the_arms_that_ask_for_them(
    name: str, is_read: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    compute_here(monkeypatch)
    study = study_of(tmp_path)
    pools = trial_arrays.read_pools(study, [drawn_between(study)])
    plan = TrialPlan(arm=ARMS[name], ratio=0.5, repetition=Repetition(index=0), split="validation")
    draws = study.training_draws([s.class_name for s in selection().selected])
    labels = trial_arrays._inputs(study, pools, draws, [plan], Progress()).read().labels
    assert bool(labels) == is_read
    if is_read:
        (found,) = (labels[PoolKey(study.dataset.class_names.index(WEAK[0]), SOURCE)],)
        np.testing.assert_allclose(found.own_share, [0.25, 0.5, 1.0])
        assert found.source_ids.tolist() == [5, 3, 5]


def test_an_arm_that_is_named_has_its_images_drawn_for_every_learning(tmp_path: Path):
    study = study_of(tmp_path)
    plain = dataclasses.replace(
        study.experiment,
        replication=ReplicationConfig(num_learnings=2),
        sampling=SamplingConfig(sources=("token", SOURCE)),
    )
    named = dataclasses.replace(
        plain,
        sweep=dataclasses.replace(plain.sweep, extra_arms=(ARM.name, ARM.held_against), replace_probabilities=(0.5,)),
    )
    assert [list(one.learnings_of(SOURCE)) for one in (plain, named)] == [[0], [0, 1]]
    assert named.num_sets_per_class == 4
    one, two = (drawn_between(study, learning) for learning in (0, 1))
    assert complete_sets([one], plain) == ([one], [])
    assert complete_sets([one], named) == ([], [(WEAK[0], SOURCE)])
    assert complete_sets([one, two], named) == ([one, two], [])
