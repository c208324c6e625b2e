"""Names in a run directory: no class name leaves its folder, and different things never share a name."""

import ast
import itertools
from pathlib import Path

from flowerti.artifacts import layout
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
    ]


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
