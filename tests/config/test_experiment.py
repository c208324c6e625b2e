"""Experiments: fields that must fit together, the way through JSON, and the form of the config classes."""

import ast
import dataclasses
import json
import math
from pathlib import Path
from typing import Any, Literal, get_origin

import pytest
from settings_of_users import STAGES, SelectionConfig, all_fields, config, demo, from_json, to_json, with_value

from flowerti.artifacts.identity import key_of
from flowerti.config import experiment as hooked
from flowerti.config.presets import PRESETS


def test_a_folder_is_asked_for_unless_the_herbarium_is_drawn():
    for kind in ("flowers102", "image_folder", "parquet"):
        with pytest.raises(ValueError, match=r"^data\.root is empty"):
            config.DataConfig(kind=kind)
    folder = config.DataConfig(kind="image_folder", root="x", num_test=0)
    assert folder.num_test == 0, "counts of the herbarium do not matter to other data"


def test_augmentations_of_images_need_images():
    for changes in ({"rand_augment": True}, {"batch_mixing": "mixup"}):
        with pytest.raises(ValueError, match=r"^classifier\.\w+ needs classifier.mode 'full'"):
            config.ClassifierConfig(**changes)
        assert config.ClassifierConfig(mode="full", **changes).mode == "full"
        assert config.ClassifierConfig(mode="scratch", **changes).mode == "scratch"


def test_only_what_can_be_shared_is_shared():
    """Workers that train together need a network to train, equal parts of a batch, and a GPU each or none."""
    field = r"^cluster\.num_workers_per_classifier "
    full = dataclasses.replace(demo().classifier, mode="full", batch_size=30)
    three = config.ClusterConfig(num_workers=4, num_workers_per_classifier=3)
    assert dataclasses.replace(demo(), classifier=full, cluster=three).cluster == three
    with pytest.raises(ValueError, match=f"{field}needs classifier.mode 'full'"):
        dataclasses.replace(demo(), cluster=three)
    with pytest.raises(ValueError, match=f"{field}must divide classifier.batch_size, which is 32"):
        dataclasses.replace(demo(), classifier=dataclasses.replace(full, batch_size=32), cluster=three)
    with pytest.raises(ValueError, match=f"{field}must be at most cluster.num_workers, which is 2"):
        dataclasses.replace(three, num_workers=2)
    with pytest.raises(ValueError, match=f"{field}needs a whole GPU"):
        dataclasses.replace(three, num_gpus_per_worker=0.5)
    assert dataclasses.replace(three, num_gpus_per_worker=1.0).num_gpus_per_worker == 1


def test_fixed_selection_needs_names_and_only_it():
    with pytest.raises(ValueError, match=r"^selection\.class_names"):
        SelectionConfig(rule="fixed")
    with pytest.raises(ValueError, match=r"^selection\.class_names names a class twice"):
        SelectionConfig(rule="fixed", class_names=("rose", "rose"))
    assert SelectionConfig(rule="fixed", class_names=("rose",)).class_names == ("rose",)


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_survive_json(name: str):
    experiment = PRESETS[name]()
    text = hooked.to_json(experiment)
    again = hooked.from_json(text)
    assert again == experiment
    assert key_of(again) == key_of(experiment)
    assert hooked.to_json(again) == text
    assert json.loads(text) == json.loads(json.dumps(dataclasses.asdict(experiment)))
    assert text.endswith("}\n")


def test_a_changed_value_survives_json():
    experiment = with_value("sweep.ratios", (0.25, 8.0))
    assert from_json(to_json(experiment)).sweep.ratios == (0.25, 8.0)
    assert from_json(to_json(experiment)) != demo()


def test_whole_numbers_and_lists_give_the_same_key_as_floats_and_tuples():
    values = json.loads(to_json(demo()))
    values["sweep"]["synthetic_weight"] = 1
    values["sweep"]["ratios"] = [1, 2]
    experiment = from_json(json.dumps(values))
    expected = with_value("sweep.ratios", (1.0, 2.0))
    assert key_of(experiment) == key_of(expected)
    assert key_of(with_value("sweep.ratios", [1, 2])) == key_of(expected)


def in_file(path: tuple[str, ...], value: Any) -> str:
    values = json.loads(to_json(demo()))
    inner = values
    for part in path[:-1]:
        inner = inner[part]
    if value is KeyError:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return json.dumps(values)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "line 1"),
        ("{", "line 1"),
        ("[]", "object"),
        ("null", "object"),
        ("{}", "name"),
        (in_file(("colour",), 1), "colour"),
        (in_file(("techniques", "textual_inversion", "nums_steps"), 1), "nums_steps"),
        (in_file(("techniques", "hypernetwork"), {}), "hypernetwork"),
        (in_file(("data",), KeyError), "data"),
        (in_file(("data", "kind"), KeyError), "data.kind"),
        (in_file(("data",), 3), "data"),
        (in_file(("data",), None), "data"),
        (in_file(("data", "kind"), "zip"), "data.kind"),
        (in_file(("techniques", "textual_inversion", "num_steps"), "many"), "textual_inversion.num_steps"),
        (in_file(("techniques", "textual_inversion", "num_steps"), 1.5), "textual_inversion.num_steps"),
        (in_file(("techniques", "textual_inversion", "num_steps"), True), "textual_inversion.num_steps"),
        (in_file(("techniques", "textual_inversion", "num_steps"), 0), "textual_inversion.num_steps"),
        (in_file(("techniques", "textual_inversion", "learning_rate"), "abc"), "textual_inversion.learning_rate"),
        (in_file(("techniques", "textual_inversion", "learning_rate"), None), "textual_inversion.learning_rate"),
        (in_file(("techniques", "textual_inversion", "learning_rate"), math.inf), "textual_inversion.learning_rate"),
        (in_file(("sampling", "sources"), "token"), "sampling.sources"),
        (in_file(("sampling", "sources"), ["token", 3]), "sampling.sources"),
        (in_file(("sweep", "ratios"), 3), "sweep.ratios"),
        (in_file(("sweep", "ratios"), ["a"]), "sweep.ratios"),
    ],
)
def test_a_bad_file_is_refused_in_one_line_that_names_it(text: str, named: str):
    with pytest.raises(ValueError, match=r"^my/config\.json: ") as caught:
        from_json(text, file_name="my/config.json")
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def config_classes() -> list[ast.ClassDef]:
    folder = Path(hooked.__file__).parent
    trees = [ast.parse(file.read_text()) for file in sorted(folder.glob("*.py"))]
    classes = [node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)]
    return [node for node in classes if node.name.endswith("Config") or node.name == "Experiment"]


def test_every_setting_is_explained_where_it_stands():
    classes = config_classes()
    assert {f"{stage.capitalize()}Config" for stage in STAGES} < {class_node.name for class_node in classes}
    for class_node in classes:
        assert ast.get_docstring(class_node)
        for statement, following in zip(class_node.body, class_node.body[1:], strict=False):
            if isinstance(statement, ast.AnnAssign) and "Config" not in (kind := ast.unparse(statement.annotation)):
                if kind.startswith("ClassVar"):
                    continue
                explained = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
                assert explained, f"{class_node.name}.{ast.unparse(statement.target)} has no line below it"


def test_no_config_grows_past_a_dozen_fields():
    for class_node in config_classes():
        fields = [s for s in class_node.body if isinstance(s, ast.AnnAssign)]
        sections = len(STAGES) if class_node.name == "Experiment" else 0  # one a stage, no settings of its own
        assert 1 <= len(fields) - sections <= 14, class_node.name


def test_configs_are_frozen_and_named_by_keyword():
    for stage in STAGES:
        part = getattr(demo(), stage)
        field = dataclasses.fields(part)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(part, field, getattr(part, field))
        with pytest.raises(TypeError, match="positional"):
            type(part)(getattr(part, field))


def test_choices_are_literals():
    fields = all_fields()
    literals = {name for name, f in fields.items() if get_origin(f.type) is Literal}
    assert {"base.dtype", "classifier.mode", "selection.rule"} <= literals


def test_learnings_are_counted_for_what_is_learnt_and_trained_with():
    counts = config.ReplicationConfig(num_draws=2, num_learnings=3)
    sampling = dataclasses.replace(demo().sampling, sources=("raw", "token", "lora"))
    experiment = dataclasses.replace(demo(), sampling=sampling, replication=counts)
    assert [list(experiment.learnings_of(name)) for name in ("raw", "token")] == [[0], [0, 1, 2, 3, 4, 5]]
    assert experiment.num_sets_per_class == 1 + 6 + 6
    assert [counts.draw_of(learning) for learning in range(6)] == [0, 0, 0, 1, 1, 1]
    once = config.ReplicationConfig(num_learnings=1)
    assert dataclasses.replace(demo(), sampling=sampling, replication=once).num_sets_per_class == 3


def test_sources_that_start_from_training_images_have_images_of_each_learning():
    counts = config.ReplicationConfig(num_draws=2, num_learnings=2)
    names = ("raw", "round_trip", "raw_img2img", "token", "token_inter_class", "token_noise")
    sampling = dataclasses.replace(demo().sampling, sources=names)
    experiment = dataclasses.replace(demo(), sampling=sampling, replication=counts)
    found = {name: len(experiment.learnings_of(name)) for name in names}
    assert found == {
        "raw": 1, "round_trip": 4, "raw_img2img": 4, "token": 4, "token_inter_class": 1, "token_noise": 4,
    }  # fmt: skip


def test_a_strength_without_a_step_is_refused_where_a_source_has_one():
    sampling = dataclasses.replace(demo().sampling, num_inference_steps=3)
    assert min(sampling.strengths) * 3 < 1
    for source in ("raw_img2img", "token_inter_class"):
        with pytest.raises(
            ValueError, match=r"^sampling.strengths has 0.25, which leaves none of the 3 steps: raise it"
        ):
            dataclasses.replace(sampling, sources=("token", source))
    assert dataclasses.replace(sampling, sources=("token", "round_trip")).strengths == sampling.strengths
    fits = dataclasses.replace(sampling, sources=("token", "raw_img2img"), strengths=(1 / 3, 1.0))
    assert fits.strengths == (1 / 3, 1.0)


def test_a_negative_prompt_without_guidance_is_refused():
    with pytest.raises(ValueError, match=r"^sampling.negative needs a sampling.guidance_scale above 1"):
        dataclasses.replace(demo().sampling, negative="confusable", guidance_scale=1.0)


def test_an_interval_between_two_steps_is_refused():
    with pytest.raises(ValueError, match=r"^sampling.guidance_interval holds none of the 4 steps: widen it$"):
        dataclasses.replace(demo().sampling, num_inference_steps=4, guidance_interval=(0.3, 0.45))
