"""The shape of the house: who may import whom, how large a room may be, and what must not lie around."""

import ast
import os
import re
import subprocess
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "flowerti"
DOORS = ROOT / "ray_jobs"

LAYERS: list[set[str]] = [
    {"flowerti", "config", "artifacts", "metrics", "oxford_names", "shares"},
    {"prompts", "demo", "data", "features", "diffusion"},
    {"personalization", "classifier"},
    {"generation", "scoring"},
    {"study", "sweep"},
    {"cluster"},
    {"report", "plan", "status"},
    {"pipeline"},
    {"cli"},
    {"ray_jobs"},
]
"""A module imports from its own layer and those before it; the demo's drawing and networks stand with the data."""

MAX_LINES = 400
TEXT_SUFFIXES = {".py", ".md", ".toml", ".txt", ".yaml", ".yml", ".json", ".j2", ".cfg", ".ini", ".sh", ".html", ""}


def modules() -> dict[str, Path]:
    """Dotted name -> file, for the package and the doors."""
    found = {}
    for path in sorted([*PACKAGE.rglob("*.py"), *DOORS.rglob("*.py")]):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}


def imported(name: str) -> Iterator[str]:
    """Dotted names that a module imports anywhere in it, relative ones resolved."""
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else str(node.module)


def layer_of(name: str) -> int:
    parts = name.split(".")
    room = parts[0] if parts[0] == "ray_jobs" or len(parts) == 1 else parts[1]
    found = [i for i, rooms in enumerate(LAYERS) if room in rooms]
    assert len(found) == 1, f"{name} stands in {len(found)} layers: give it one place in LAYERS"
    return found[0]


def test_the_rooms_are_found():
    assert {"flowerti", "flowerti.config.experiment", "flowerti.cluster.sweep", "ray_jobs.pipeline"} <= set(MODULES)
    assert "flowerti.config.experiment" in set(imported("flowerti.config.presets"))
    assert "flowerti.pipeline" in set(imported("flowerti.cli")), "imports inside functions count"


@pytest.mark.parametrize("name", list(MODULES))
def test_imports_run_one_way(name: str):
    here = layer_of(name)
    for other in imported(name):
        if other.split(".")[0] in ("flowerti", "ray_jobs"):
            assert layer_of(other) <= here, f"{name} imports {other}, which stands above it"


def test_no_imports_run_in_a_circle():
    graph = {name: {other for other in imported(name) if other in MODULES} - {name} for name in MODULES}
    assert len(list(TopologicalSorter(graph).static_order())) == len(MODULES)


@pytest.mark.parametrize("name", list(MODULES))
def test_ray_is_imported_by_the_cluster_and_the_doors_only(name: str):
    if not name.startswith(("flowerti.cluster", "ray_jobs")):
        assert not [other for other in imported(name) if other.split(".")[0] == "ray"]


def test_the_report_does_not_know_the_cluster():
    rooms = [n for n in MODULES if n.startswith(("flowerti.report", "flowerti.report.publish", "flowerti.status"))]
    assert len(rooms) > 3
    for name in rooms:
        assert not [other for other in imported(name) if other.startswith("flowerti.cluster")]


@pytest.mark.parametrize("name", list(MODULES))
def test_each_module_says_what_it_is(name: str):
    docstring = ast.get_docstring(TREES[name])
    assert docstring, f"{name} has no docstring"
    assert 1 <= len(docstring.splitlines()) <= 20


@pytest.mark.parametrize("name", list(MODULES))
def test_each_function_is_annotated(name: str):
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            where = f"{name}.{node.name} (line {node.lineno})"
            assert node.returns is not None, f"{where} does not say what it returns"
            given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
            bare = [a.arg for a in given if a is not None and a.annotation is None and a.arg not in ("self", "cls")]
            assert not bare, f"{where}: {', '.join(bare)} not annotated"


@pytest.mark.parametrize("name", list(MODULES))
def test_no_file_grows_too_long(name: str):
    assert len(MODULES[name].read_text(encoding="utf-8").splitlines()) <= MAX_LINES


def unsafe_reads(tree: ast.Module) -> Iterator[str]:
    """Calls and imports that can run code found in a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in ("pickle", "cloudpickle", "dill", "marshal", "shelve"):
            yield f"line {node.lineno}: from {node.module}"
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            used = f"{node.value.id}.{node.attr}"
            is_pickle = node.value.id in ("pickle", "cloudpickle", "dill", "marshal", "shelve")
            if (is_pickle and not node.attr.endswith("Error")) or used in ("yaml.load", "yaml.unsafe_load"):
                yield f"line {node.lineno}: {used}"
        elif isinstance(node, ast.Call):
            options = {k.arg: k.value for k in node.keywords}
            weights_only = options.get("weights_only")
            if isinstance(weights_only, ast.Constant) and weights_only.value is not True:
                yield f"line {node.lineno}: weights_only is not True"
            if ast.unparse(node.func) == "torch.load" and weights_only is None:
                yield f"line {node.lineno}: torch.load without weights_only"
            if ast.unparse(node.func) in ("eval", "exec"):
                yield f"line {node.lineno}: {ast.unparse(node.func)}"
            allow = options.get("allow_pickle")
            if isinstance(allow, ast.Constant) and allow.value is not False:
                yield f"line {node.lineno}: allow_pickle"


@pytest.mark.parametrize("name", list(MODULES))
def test_no_file_is_read_in_a_way_that_could_run_it(name: str):
    assert list(unsafe_reads(TREES[name])) == []


@pytest.mark.parametrize(
    "code",
    [
        "pickle.load(f)",
        "from pickle import loads",
        "yaml.load(f)",
        "torch.load(f)",
        "torch.load(f, weights_only=False)",
        "np.load(f, allow_pickle=True)",
        "eval(x)",
    ],
)
def test_unsafe_reading_would_be_seen(code: str):
    assert list(unsafe_reads(ast.parse(code)))


def kept_text_files() -> list[Path]:
    """Files that are, or would be, under version control, as far as they are text."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs git and a check-out")
    paths = [ROOT / name for name in listed.split("\0") if name]
    return [p for p in paths if p.suffix in TEXT_SUFFIXES and p.is_file() and p.stat().st_size < 5_000_000]


# Spelt in pieces, because this file is looked at as well. The home of Ray's own images is no one's machine.
HOMES = [rf"/{'home'}/(?!ray\b)\w", rf"/{'Users'}/\w", rf"/{'root'}/\w", rf"/{'work'}/\w"]
INDEXES = ["index" + "-url", "index" + "_url", "find" + "-links", r"https?://[^\s/]+/(?:[^\s/]+/)*" + "simple" + r"\b"]


def found_in_kept_files(patterns: list[str], *, leave_out: str = "") -> list[str]:
    pattern = re.compile("|".join(patterns))
    found = []
    for path in kept_text_files():
        if leave_out and path.is_relative_to(ROOT / leave_out):
            continue
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        found += [f"{path.relative_to(ROOT)}:{i}" for i, line in enumerate(lines, start=1) if pattern.search(line)]
    return found


def test_the_kept_files_are_found():
    names = {p.relative_to(ROOT).as_posix() for p in kept_text_files()}
    assert {"pyproject.toml", "flowerti/config/experiment.py", "tests/test_architecture.py"} <= names


def test_no_kept_file_names_a_folder_of_this_machine():
    assert found_in_kept_files([*HOMES, re.escape(str(ROOT)) + r"\b"]) == []


def test_no_kept_file_names_a_package_index():
    configured = [os.environ.get(name, "") for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "UV_INDEX_URL")]
    hosts = [re.escape(url.split("/")[2].rpartition("@")[2]) for url in configured if url.count("/") > 2]
    assert found_in_kept_files([*INDEXES, *hosts]) == []


def test_nothing_is_left_to_do():
    words = [r"\b" + "TO" + r"DO\b", r"\b" + "FIX" + r"ME\b", r"\b" + "X" + r"XX\b"]
    # a report holds its images as letters, in which any word may stand
    assert found_in_kept_files(words, leave_out="results") == []
