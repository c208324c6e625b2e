"""Names in a run directory: no class name leaves its folder, and different things never share a name."""

import ast
import itertools
from pathlib import Path

import pytest

from flowerti.artifacts import layout
from flowerti.artifacts.identity import ALL_CLASSES, slug
from flowerti.artifacts.run_directory import RunDirectory

CLASSES = ("rose", "Rose", "../../etc/passwd", "a.b", "a b", "a_b", "prince of wales feathers?", "café", "x" * 300)
PACKAGE = Path(layout.__file__).parents[1]


def names_of(class_name: str) -> list[str]:
    return [
        layout.learned_record(class_name, "lora"),
        layout.learned_record(class_name, "textual_inversion"),
        layout.learned_file(class_name, "learned_embeds.safetensors"),
        layout.checkpoint(class_name, "lora"),
        layout.checkpoint(class_name, "textual_inversion"),
        layout.shard(class_name, "token", 0),
        layout.shard(class_name, "token", 16),
        layout.shard(class_name, "raw", 0),
        *[name for learning in (1, 2, 11) for name in names_of_learning(class_name, learning)],
    ]


def names_of_learning(class_name: str, learning: int) -> list[str]:
    return [
        layout.learned_record(class_name, "lora", learning),
        layout.learned_file(class_name, "learned_embeds.safetensors", learning),
        layout.checkpoint(class_name, "lora", learning),
        layout.shard(class_name, "token", 0, learning),
        layout.shard(class_name, "token", 16, learning),
    ]


def test_the_names_of_shards_say_how_many_images_each_has():
    files = [layout.shard("rose", "token", begin, learning=1) for begin in (0, 16, 32)]
    assert layout.num_rows(files, 40) == [16, 16, 8]
    assert layout.num_rows(files[:1], 7) == [7]
    for wrong, num in ((files, 32), (files[::-1], 40), (["synthetic/a.parquet", "synthetic/b.parquet"], 2)):
        with pytest.raises(ValueError, match=rf"^{wrong[0]} and .* are not the shards of a set of {num} images"):
            layout.num_rows(wrong, num)


def test_the_first_learning_lies_in_the_class_s_folder_and_the_others_in_one_of_their_own():
    for first in (names_of_learning("red lily", 0), names_of("red lily")):
        assert {name for name in first if "learning" not in name} >= {
            "concepts/red_lily/lora.json",
            "concepts/red_lily/learned_embeds.safetensors",
            "concepts/red_lily/checkpoints/lora.safetensors",
            "synthetic/red_lily.token.000000.parquet",
            "synthetic/red_lily.token.000016.parquet",
        }
    assert names_of_learning("red lily", 3) == [
        "concepts/red_lily/learning-3/lora.json",
        "concepts/red_lily/learning-3/learned_embeds.safetensors",
        "concepts/red_lily/learning-3/checkpoints/lora.safetensors",
        "synthetic/red_lily.token.learning-3.000000.parquet",
        "synthetic/red_lily.token.learning-3.000016.parquet",
    ]
    assert layout.concept_folder("red lily") == "concepts/red_lily"
    assert layout.concept_folder("red lily", 3) == "concepts/red_lily/learning-3"
    assert layout.shards("red lily", "token", 3) == "synthetic/red_lily.token.learning-3"


def test_what_all_classes_share_has_a_folder_that_no_class_can_have():
    assert layout.concept_folder(ALL_CLASSES) == "concepts/@all"
    assert (
        layout.checkpoint(ALL_CLASSES, "shared_lora", 2)
        == "concepts/@all/learning-2/checkpoints/shared_lora.safetensors"
    )
    alike = ("all", "@ all", " @all", "@all ", "@ALL", "%40all", "@all/", "@" * 300)
    assert not [name for name in alike if layout.concept_folder(name).startswith("concepts/@")]
    assert "@" not in "".join(slug(name) for name in (*CLASSES, *alike, ALL_CLASSES))


def test_every_name_is_accepted_by_a_run_directory_and_unique(tmp_path: Path):
    run = RunDirectory(str(tmp_path))
    names = list(itertools.chain.from_iterable(names_of(name) for name in CLASSES))
    names += [layout.scores("test"), layout.timing("sample"), layout.trial("test.real.0.0"), layout.figure("a.png")]
    names += [layout.log_entry(layout.TEST_OPENINGS, number, "ab" * 32) for number in (1, 10000)]
    names += [value for key, value in vars(layout).items() if key.isupper()]
    assert len(set(names)) == len(names)
    for name in names:
        assert Path(run.path(name)).resolve().is_relative_to(tmp_path.resolve())


def test_no_other_module_spells_a_path_of_the_run_directory():
    """Every JSON artifact and folder is named in `layout` alone."""
    known = {value for key, value in vars(layout).items() if key.isupper() and ("/" in value or value.endswith("json"))}
    assert {"selection.json", "sweep/intent", "summary.json"} <= known
    known -= {"config.json"}  # the parts of a base have files of this name
    for file in PACKAGE.rglob("*.py"):
        if file == Path(layout.__file__):
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert node.value not in known, f"{file.relative_to(PACKAGE)}, line {node.lineno}: {node.value}"
