"""Every failure is named, and what a reader would look for and not find."""

import dataclasses

from finished_run import adapter, census, concept, experiment, image_sets, run
from finished_scores import FOURTEEN, class_names, scores
from finished_sweep import sweep

from flowerti.artifacts.identity import ALL_CLASSES
from flowerti.artifacts.records import Learned
from flowerti.config.experiment import SamplingConfig
from flowerti.report.findings import Findings
from flowerti.report.gaps import failures, left_out
from flowerti.report.summary_rows import Failure


def missing_from(parts):
    return left_out(Findings(**parts))


def test_nothing_is_missing_from_a_whole_run():
    assert missing_from(run()) == []
    assert failures([*run()["learned"], adapter(FOURTEEN[0])], sweep()) == []


def test_gaps_are_named():
    names = class_names(14)
    parts = run(
        experiment=dataclasses.replace(
            experiment(), sampling=SamplingConfig(), sweep=dataclasses.replace(experiment().sweep, ratios=(0.5, 8.0))
        ),
        census=dataclasses.replace(census(names), unreadable=["train/broken.jpg"]),
        learned=[concept(name) for name in names[:2]],
        sets=image_sets(names[:3])[:-2],
        scores=scores(names[:2]),
        sweep=dataclasses.replace(
            sweep(), rows=[r for r in sweep().rows if r.split == "validation" and r.arm != "balanced"]
        ),
    )
    notes = missing_from(parts)
    for expected in (
        "Images that could not be opened and were skipped: 1.",
        f"No tokens were tried for: {names[2]}.",
        f"No images from the learnt token: {names[2]}.",
        f"Images from the class name have no distance: {names[2]}.",
        "The sweep has no row for the arm balanced sampling.",
        "The sweep's arm learnt token lacks the ratios 8.",
        "The sweep has no row on the test split.",
    ):
        assert expected in notes


def test_hidden_images_are_said_to_be_hidden():
    assert missing_from(run(experiment=experiment(show_images=False))) == [
        "Real images, and those drawn from them, are not shown: data.show_images is off."
    ]


def test_failures_come_from_tokens_adapters_and_trials():
    concepts = [concept(FOURTEEN[0]), concept(FOURTEEN[1], error="loss is NaN")]
    adapters = [adapter(FOURTEEN[0], error="damaged")]
    assert failures([*concepts, *adapters], sweep(failures=["token at 2: killed"])) == [
        Failure(stage="personalize.textual_inversion", class_name=FOURTEEN[1], reason="loss is NaN"),
        Failure(stage="personalize.lora", class_name=FOURTEEN[0], reason="damaged"),
        Failure(stage="sweep", class_name="", reason="token at 2: killed"),
    ]


def test_what_all_classes_share_fails_once_and_says_which_classes_it_was_tried_for():
    sampling = SamplingConfig(sources=("token", "shared_lora"))
    shared = Learned(class_name=ALL_CLASSES, technique="shared_lora", classes=list(FOURTEEN[:2]), error="loss is NaN")
    parts = run(experiment=dataclasses.replace(experiment(), sampling=sampling))
    parts["learned"] = [*parts["learned"], shared]
    assert failures(parts["learned"], sweep())[-1:] == [
        Failure(stage="personalize.shared_lora", class_name="all classes", reason="loss is NaN")
    ]
    notes = missing_from(parts)
    assert f"No shared adapters, which need tokens, were tried for: {FOURTEEN[2]}." in notes


def test_classes_without_what_a_technique_needs_are_named():
    sampling = SamplingConfig(sources=("token", "lora"))
    asked = dataclasses.replace(experiment(), sampling=sampling)
    notes = missing_from(run(experiment=asked))
    assert f"No adapters, which need tokens, were tried for: {', '.join(FOURTEEN[:3])}." in notes
