"""The shape of the package: who may import whom, how large functions and files may be."""

import ast
import re
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "flowerti"
FOLDERS = ("flowerti", "ray_jobs", "benchmarks", "pretraining", "deploy")
"""Whose modules keep the shape; those outside the package may import all of it, and it imports none of them."""

LAYERS: list[set[str]] = [
    {"flowerti", "tables", "metrics", "progress", "progress_bars", "prompts", "stopping"},
    {"config"},
    {"artifacts", "base_files", "base_checks", "error_lines"},
    {"data", "features", "diffusion", "demo", "stage_clock", "status", "outcome", "run_place"},
    {"personalization", "classifier"},
    {"generation", "scoring", "curation", "sweep", "ceiling", "study", "choosing"},
    {"cluster", "detection", "plan", "report", "export", "checkup"},
    {"pipeline", "measured_times", "verification", "reading"},
    {"cli", "commands", "boundary", "option_parser", "starting", "__main__"},
]
"""Modules and folders of the package. A module imports from those of its own layer that do not import it, directly or
through others, and from the layers before it."""

MAX_LAYERS = 9
"""In the package; the entry points of `ray_jobs/` stand on them as the tenth."""
MAX_FILE_LINES = 300
MAX_FUNCTION_LINES, MAX_MEDIAN_LINES, MAX_P90_LINES = 45, 10, 25
MAX_PARAMETERS = 7
BANNED_WORDS = ("picture", "room", "door", "house")
ALLOWED_PHRASES = (
    "a picture of a {}",
    "floor_num_pictures",
    "num_pictures",
    "show_pictures",
    '"picture"',
    '"pictures"',
)
"""A prompt template that all numbers depend on, and keys of summary.json that programs rely on."""


def modules() -> dict[str, Path]:
    """Dotted name -> file, for the package and what stands beside it."""
    found = {}
    for path in sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}
PACKAGED = [name for name in MODULES if name.split(".")[0] == "flowerti"]


def imports_of(tree: ast.Module) -> Iterator[str]:
    """Dotted names that a module imports anywhere in it; a module that is imported from its folder by its own name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno} imports relatively"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else str(node.module)


IMPORTS = {name: set(imports_of(tree)) for name, tree in TREES.items()}


def member_of(name: str) -> str:
    """Which entry of LAYERS a module of the package belongs to."""
    parts = name.split(".")
    return parts[0] if len(parts) == 1 else parts[1]


def layer_of(name: str) -> int:
    found = [i for i, members in enumerate(LAYERS) if member_of(name) in members]
    assert len(found) == 1, f"{name} stands in {len(found)} layers: give it one place in LAYERS"
    return found[0]


def circle_in(graph: dict[str, set[str]]) -> list[str]:
    """The nodes of one circle, in order; none where there is no circle."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_the_modules_are_found():
    assert {"flowerti", "flowerti.config.experiment", "flowerti.cluster.sweep", "ray_jobs.pipeline"} <= set(MODULES)
    assert "benchmarks.paired" in MODULES
    assert "flowerti.config.experiment" in IMPORTS["flowerti.config.presets"]
    assert "flowerti.pipeline" in IMPORTS["flowerti.commands.run"], "imports inside functions count"


def test_there_are_few_layers_and_nothing_in_them_is_gone():
    assert len(LAYERS) <= MAX_LAYERS
    assert set().union(*LAYERS) == {member_of(name) for name in PACKAGED}


@pytest.mark.parametrize("name", PACKAGED)
def test_imports_run_one_way(name: str):
    here = layer_of(name)
    outside = [other for other in IMPORTS[name] if other.split(".")[0] in FOLDERS[1:]]
    assert not outside, f"{name} imports {outside[0]}, which is not part of the package"
    above = [o for o in IMPORTS[name] if o.split(".")[0] == "flowerti" and layer_of(o) > here]
    assert not above, f"{name} imports {', '.join(above)}, which stand above it"


def test_no_imports_of_modules_run_in_a_circle():
    assert circle_in({name: {o for o in IMPORTS[name] if o in MODULES} - {name} for name in MODULES}) == []


def test_no_imports_of_folders_run_in_a_circle():
    graph: dict[str, set[str]] = {}
    for name in PACKAGED:
        members = {member_of(o) for o in IMPORTS[name] if o.split(".")[0] == "flowerti" and o != "flowerti"}
        graph.setdefault(member_of(name), set()).update(members - {member_of(name)})
    assert circle_in(graph) == []


def test_a_circle_would_be_seen():
    assert set(circle_in({"a": {"b"}, "b": {"c"}, "c": {"b"}})) == {"b", "c"}


def imports_ray(name: str) -> bool:
    return "ray" in {other.split(".")[0] for other in IMPORTS[name]}


@pytest.mark.parametrize("name", [name for name in PACKAGED if not name.startswith("flowerti.cluster")])
def test_the_cluster_alone_imports_ray(name: str):
    assert not imports_ray(name)


def test_one_module_of_the_pretraining_imports_ray():
    assert len([name for name in MODULES if name.split(".")[0] == "pretraining" and imports_ray(name)]) <= 1


def test_the_report_does_not_know_the_cluster():
    names = [n for n in MODULES if n.startswith(("flowerti.report", "flowerti.status"))]
    assert len(names) > 3
    for name in names:
        assert not [other for other in IMPORTS[name] if other.startswith("flowerti.cluster")]


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """How large a function is."""

    where: str
    num_lines: int
    """Decorators and docstring included."""
    num_parameters: int
    """Without self and cls."""


def shapes_of(name: str, tree: ast.Module) -> Iterator[Shape]:
    """The shape of each function of a module, nested ones and methods included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            yield Shape(
                where=f"{name}.{node.name} (line {node.lineno})",
                num_lines=(node.end_lineno or node.lineno) - first + 1,
                num_parameters=len([a for a in given if a is not None and a.arg not in ("self", "cls")]),
            )


SHAPES = [shape for name, tree in TREES.items() for shape in shapes_of(name, tree)]


def too_large(measure: Callable[[Shape], int], most: int) -> list[str]:
    return [f"{shape.where}: {measure(shape)}" for shape in SHAPES if measure(shape) > most]


def test_shapes_are_measured():
    code = "class A:\n    @property\n    def f(self, a, *, b=1, **c):\n        def g(): ...\n        return g\n"
    found = {shape.where.split(" ")[0]: shape for shape in shapes_of("m", ast.parse(code))}
    assert (found["m.f"].num_lines, found["m.f"].num_parameters) == (4, 3)
    assert (found["m.g"].num_lines, found["m.g"].num_parameters) == (1, 0)


def test_no_function_grows_too_long():
    assert too_large(lambda shape: shape.num_lines, MAX_FUNCTION_LINES) == []


def test_most_functions_are_short():
    lengths = sorted(shape.num_lines for shape in SHAPES)
    assert statistics.median(lengths) <= MAX_MEDIAN_LINES
    assert statistics.quantiles(lengths, n=10)[-1] <= MAX_P90_LINES


def test_no_function_takes_too_much():
    assert too_large(lambda shape: shape.num_parameters, MAX_PARAMETERS) == []


@pytest.mark.parametrize("name", list(MODULES))
def test_no_file_grows_too_long(name: str):
    assert len(MODULES[name].read_text(encoding="utf-8").splitlines()) <= MAX_FILE_LINES


def banned_words_in(text: str) -> list[str]:
    """Where a text uses one of the banned words or its plural, as a word or as a part of a name such as a_word."""
    for phrase in ALLOWED_PHRASES:
        text = text.replace(phrase, "")
    pattern = re.compile(rf"(?<![a-z])({'|'.join(BANNED_WORDS)})s?(?![a-z])", re.IGNORECASE)
    return [f"{i}: {line.strip()}" for i, line in enumerate(text.splitlines(), start=1) if pattern.search(line)]


@pytest.mark.parametrize("name", list(MODULES))
def test_no_metaphors(name: str):
    assert banned_words_in(MODULES[name].read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "text", ["the Room = 1", "doors.open()", "a picture of a lily", 'x = {"house": 1}', "read_room()"]
)
def test_metaphors_would_be_seen(text: str):
    assert banned_words_in(text)


@pytest.mark.parametrize("text", ["headroom", 'TEMPLATE = "a picture of a {}"', "indoor", "greenhouse"])
def test_other_words_are_free(text: str):
    assert banned_words_in(text) == []


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
