"""Settings: what is refused, by which name, and that nothing is lost on the way through JSON."""

import ast
import dataclasses
import importlib.util
import json
import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_origin

import pytest

from flowerti.artifacts.identity import key_of
from flowerti.config import experiment as hooked
from flowerti.config.presets import PRESETS

PARTS = (
    "base", "classifier", "cluster", "data", "schedule", "lora", "textual_inversion", "techniques", "sampling",
    "scoring", "sweep",
)  # fmt: skip
"""Modules of settings, each before those that import it."""


def as_users_import_it() -> ModuleType:
    """The module without the type checks that tests add to it, which would refuse wrong types before it can."""
    parts = {name: sys.modules[name] for part in PARTS if (name := f"flowerti.config.{part}")}
    try:
        for name, part in parts.items():
            sys.modules[name] = without_checks(name, str(part.__file__))
        return without_checks("flowerti.config.experiment", hooked.__file__)
    finally:
        sys.modules |= parts


def without_checks(name: str, file: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{name}_of_users".replace(".", "_"), file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


config = as_users_import_it()
from_json, to_json, Experiment, SelectionConfig = (
    config.from_json,
    config.to_json,
    config.Experiment,
    config.SelectionConfig,
)


def demo() -> Any:
    return from_json(to_json(PRESETS["demo"]()))


STAGES = [f.name for f in dataclasses.fields(Experiment) if dataclasses.is_dataclass(f.type)]

OUT_OF_RANGE: dict[str, list[Any]] = {
    "name": ["", "  ", "../elsewhere", "a/b", ".hidden"],
    "seed": [-1, 2**31],
    "data.kind": ["zip", ""],
    "data.image_size_px": [7, 0, -64],
    "data.num_train_common": [1, 0],
    "data.num_train_rare": [1],
    "data.num_validation": [1],
    "data.num_test": [1],
    "imbalance.factor": [0.0, -0.1, 1.1, math.nan],
    "imbalance.minority_classes": [("rose",), ("rose", "rose")],
    "imbalance.validation_share": [0.0, 1.0, math.nan],
    "imbalance.test_share": [0.0, 1.0, 0.8],
    "imbalance.positive_classes": [("rose", "rose")],
    "base.path": [""],
    "base.dtype": ["float64", "int8"],
    "classifier.input_size_px": [0],
    "classifier.mode": ["all"],
    "classifier.num_epochs": [0],
    "classifier.batch_size": [0],
    "classifier.learning_rate": [0.0, -1.0, math.nan, math.inf],
    "classifier.weight_decay": [-1e-9, math.nan, math.inf],
    "classifier.label_smoothing": [-0.1, 1.0, math.nan],
    "classifier.num_views": [0],
    "classifier.batch_mixing": ["blend"],
    "selection.rule": ["worst"],
    "selection.num_classes": [0],
    "selection.class_names": [("rose",)],
    "textual_inversion.num_vectors": [0],
    "textual_inversion.initializer_token": ["", "  "],
    "textual_inversion.start": ["flower", ""],
    "lora.rank": [0],
    **{
        f"{technique}.{name}": values
        for technique in ("textual_inversion", "lora")
        for name, values in {
            "num_steps": [0],
            "batch_size": [0],
            "learning_rate": [0.0, math.nan, math.inf],
            "weight_decay": [-1.0],
            "eval_every_steps": [0],
            "num_eval_latents": [0],
            "patience_evals": [-1],
            "checkpoint_every_steps": [0],
        }.items()
    },
    "sampling.num_per_class": [1, 0],
    "sampling.sources": [(), ("raw",), ("token", "token"), ("lora",), ("token", "dreambooth")],
    "sampling.prompt": ["a flower", "{} {}", "{{}}", "a {} {0}", "a {} {", "}{ {}"],
    "sampling.num_inference_steps": [0],
    "sampling.guidance_scale": [0.5, math.inf, math.nan],
    "sampling.batch_size": [0],
    "scoring.extractors": [(), ("clip", "clip")],
    "scoring.weights": [("a.pth", "b.pth")],
    "scoring.input_sizes_px": [(0,), (), (64, 128)],
    "scoring.num_neighbours": [0],
    "scoring.num_closest_pairs": [0],
    "scoring.num_permutations": [98],
    "scoring.num_floor_splits": [0],
    "sweep.ratios": [(), (0.0,), (-1.0, 1.0), (1.0, 1.0), (1.0, math.nan), (math.inf,)],
    "sweep.free_arms": [(), ("balanced",), ("real", "mixup")],
    "sweep.extra_arms": [("mixup",), ("token_replace",)],
    "sweep.num_seeds": [0],
    "sweep.num_bootstrap": [99],
    "sweep.max_rest_drop": [-0.1, 1.1, math.nan],
    "sweep.max_concurrent_trials": [-1],
    "sweep.replace_probabilities": [(0.0,), (1.1,), (0.3, 0.3), (math.nan,)],
    "sweep.refit_epochs": [-1],
    "sweep.synthetic_weight": [0.0, -1.0, math.nan],
    "sweep.synthetic_smoothing": [-0.1, 1.0, math.nan],
    "plugins": [("nothing",), ("no_such_module:register",), ("json:register",), ("os:abort",)],
    "cluster.num_workers": [0],
    "cluster.num_cpus_per_worker": [0.0, math.nan, math.inf],
    "cluster.num_gpus_per_worker": [-0.5, 1.5, math.inf],
    "cluster.device": ["gpu"],
    "cluster.num_threads_per_worker": [0],
    "cluster.classes_per_actor": [0],
    "cluster.num_workers_per_classifier": [0, 99],
    "cluster.max_retries_per_class": [-1],
}


def all_fields() -> dict[str, dataclasses.Field]:
    return fields_of(demo(), "")


def fields_of(part: Any, prefix: str) -> dict[str, dataclasses.Field]:
    found = {}
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        name = f"{prefix}{field.name}"
        if field.name == "techniques":
            for technique, config in value.items():
                found |= fields_of(config, f"{technique}.")
            continue
        found |= fields_of(value, f"{name}.") if dataclasses.is_dataclass(value) else {name: field}
    return found


def with_value(name: str, value: Any) -> Any:
    return replaced(demo(), name.split("."), value)


def replaced(part: Any, path: list[str], value: Any) -> Any:
    name, *rest = path
    if rest and name in getattr(part, "techniques", {}):
        config = replaced(part.techniques[name], rest, value)
        return dataclasses.replace(part, techniques=part.techniques | {name: config})
    return dataclasses.replace(part, **{name: replaced(getattr(part, name), rest, value) if rest else value})


def test_every_field_with_a_range_is_in_the_table():
    free = {"str", "bool"}
    ranged = {name for name, f in all_fields().items() if getattr(f.type, "__name__", "") not in free}
    assert ranged <= set(OUT_OF_RANGE)
    assert set(OUT_OF_RANGE) <= set(all_fields())
    assert len(STAGES) == 9


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in OUT_OF_RANGE.items() for v in values])
def test_a_value_out_of_range_is_refused_by_its_field_name(name: str, value: Any):
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the message is looked at below
        with_value(name, value)
    assert str(caught.value).startswith(f"{name} ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", list(all_fields()))
def test_a_value_of_another_type_is_refused_by_its_field_name(name: str):
    for value in (None, b"bytes", {"a": 1}, object):
        with pytest.raises(ValueError, match=rf"^{name} must be "):
            with_value(name, value)


@pytest.mark.parametrize(("name", "field"), list(all_fields().items()))
def test_truth_values_text_and_fractions_are_no_numbers(name: str, field: dataclasses.Field):
    bad = {int: [True, "3", 3.0], float: [True, "0.5"], bool: [1, "yes"], str: [3, True]}.get(field.type, [3, True])
    for value in bad:
        with pytest.raises(ValueError, match=rf"^{name} must be "):
            with_value(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data.image_size_px", 8),
        ("data.num_test", 2),
        ("classifier.label_smoothing", 0.0),
        ("selection.num_classes", 1),
        ("sampling.guidance_scale", 1.0),
        ("sampling.num_per_class", 2),
        ("scoring.num_permutations", 99),
        ("sweep.max_rest_drop", 1.0),
        ("cluster.num_gpus_per_worker", 0.25),
        ("cluster.num_gpus_per_worker", 2.0),
        ("seed", 2**31 - 1),
    ],
)
def test_the_edge_of_a_range_is_accepted(name: str, value: Any):
    stage, _, field = name.rpartition(".")
    experiment = with_value(name, value)
    assert getattr(getattr(experiment, stage) if stage else experiment, field) == value


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
        (in_file(("techniques", "dreambooth"), {}), "dreambooth"),
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
        assert 1 <= len(fields) <= 14, class_node.name


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
