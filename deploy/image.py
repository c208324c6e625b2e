"""The Dockerfile, read as text: stages, user, versions, what it copies and what `.dockerignore` keeps from it.

Nothing is built here, and no docker is needed.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from deploy.pins import IMAGE_USER, ROOT, pins, project, requirements

SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|CREDENTIAL|ACCESS_KEY|API_KEY", re.IGNORECASE)
TOOLS = {
    "gcc": "Triton compiles with it",
    "openssh-client": "the head reaches workers by it",
    "rsync": "Ray brings files into a container by it",
    "wget": "KubeRay's probes call it",
}
"""Debian packages that a node's container needs, and why."""


@dataclass(frozen=True)
class Instruction:
    """One instruction of a Dockerfile."""

    name: str
    text: str
    """What follows the name, on one line."""


@dataclass(frozen=True)
class Stage:
    """What one FROM begins."""

    name: str
    base: str
    instructions: tuple[Instruction, ...]

    def texts(self, name: str) -> list[str]:
        """What follows each instruction of this name."""
        return [step.text for step in self.instructions if step.name == name]


def read_instructions(text: str) -> list[Instruction]:
    """The instructions of a Dockerfile; comments are left out, continued lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    words = [line.strip().split(None, 1) for line in joined.splitlines() if line.strip()]
    return [Instruction(pair[0].upper(), pair[1] if len(pair) > 1 else "") for pair in words]


def read_stages(text: str) -> list[Stage]:
    """The stages of a Dockerfile, with the defaults of the arguments before the first FROM put in."""
    instructions = read_instructions(text)
    starts = [number for number, step in enumerate(instructions) if step.name == "FROM"]
    defaults = dict(step.text.split("=", 1) for step in instructions[: starts[0]] if "=" in step.text)
    stages = []
    for start, end in zip(starts, [*starts[1:], len(instructions)], strict=True):
        base, *rest = re.sub(r"\$\{(\w+)\}", lambda m: defaults.get(m[1], m[0]), instructions[start].text).split()
        stages.append(Stage(rest[1] if rest else "", base, tuple(instructions[start + 1 : end])))
    return stages


def is_ignored(path: str, patterns: str) -> bool:
    """Whether a .dockerignore keeps a path from the builder: its last line that fits the path or a parent decides."""
    parts = PurePosixPath(path).parts
    names = ["/".join(parts[:length]) for length in range(1, len(parts) + 1)]
    ignored = False
    for line in (line.strip() for line in patterns.splitlines()):
        if not line or line.startswith("#"):
            continue
        pattern = line.lstrip("!").strip("/")
        expression = re.compile(_expression_of(pattern))
        if any(expression.fullmatch(name) for name in names):
            ignored = not line.startswith("!")
    return ignored


def _expression_of(pattern: str) -> str:
    """A regular expression for a pattern: `*` stays within a folder, `**` does not."""
    escaped = re.escape(pattern)
    for glob, expression in ((r"\*\*/", "(?:.*/)?"), (r"\*\*", ".*"), (r"\*", "[^/]*"), (r"\?", "[^/]")):
        escaped = escaped.replace(glob, expression)
    return escaped


def base_problems(stages: list[Stage]) -> Iterator[str]:
    """Whether each base is of a named version, and its Python one that the project takes."""
    wanted = SpecifierSet(project()["requires-python"])
    for stage in stages:
        found = re.fullmatch(r"python:(\d+\.\d+)[\w.-]*(@sha256:[0-9a-f]{64})?", stage.base)
        if not found:
            yield f"FROM {stage.base}: is not a Python image of a named version"
        elif found[1] not in wanted:
            yield f"FROM {stage.base}: the project wants Python {wanted}"


def user_problems(stage: Stage) -> Iterator[str]:
    """Whether the container runs as a user that is not root, with the number that the cluster's files know."""
    users = stage.texts("USER")
    if not users or users[-1] in ("root", "0"):
        yield "USER: the container runs as root"
    elif not any(f"--uid {IMAGE_USER}" in text and text.endswith(f" {users[-1]}") for text in _commands(stage)):
        yield f"USER: {users[-1]} is not made with the number {IMAGE_USER}, which the cluster's files name"
    if stage.texts("ENTRYPOINT"):
        yield "ENTRYPOINT: Ray's launcher starts `bash` in the container, which one would come before"


def _commands(stage: Stage) -> list[str]:
    return [command.strip() for text in stage.texts("RUN") for command in text.split("&&")]


def environment_of(stage: Stage) -> dict[str, str]:
    """What a stage's ENV instructions set."""
    return dict(word.split("=", 1) for text in stage.texts("ENV") for word in shlex.split(text))


def environment_problems(stages: list[Stage]) -> Iterator[str]:
    """Whether Ray and NVIDIA's runtime find what they read, and no secret is baked in."""
    known = environment_of(stages[-1])
    for name in ("HOME", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES"):
        if name not in known:
            yield f"ENV: {name} is not set"
    if known.get("RAY_AUTH_MODE") != "token":
        yield "ENV: RAY_AUTH_MODE is not token"
    names = [name for stage in stages for name in (*environment_of(stage), *stage.texts("ARG"))]
    yield from (f"{name}: a secret does not belong in an image" for name in names if SECRET.search(name.split("=")[0]))
    for tool, reason in TOOLS.items():
        if not any(tool in command.split() for command in _commands(stages[-1]) if "apt-get install" in command):
            yield f"RUN apt-get install: {tool} is missing: {reason}"


def install_problems(stages: list[Stage]) -> Iterator[str]:
    """Whether all that pip installs has the version of constraints.txt."""
    for command in (command for stage in stages for command in _commands(stage) if command.startswith("pip ")):
        if "--constraint constraints.txt" not in command and "--no-deps" not in command:
            yield f"RUN {command}: takes versions that are not those of constraints.txt"
    versions = pins()
    try:
        wanted = requirements(extras_of(stages[-1]))
    except ValueError as error:
        yield f"ARG EXTRAS: {error}"
        return
    for requirement in wanted:
        version = versions.get(canonicalize_name(requirement.name))
        if version is None:
            yield f"constraints.txt: {requirement.name} is not pinned"
        elif version not in requirement.specifier:
            yield f"constraints.txt: {requirement.name} {version} is not {requirement.specifier} of pyproject.toml"


def extras_of(stage: Stage) -> list[str]:
    """The project's extras that an image is built with."""
    values = [text.split("=", 1)[1] for text in stage.texts("ARG") if text.startswith("EXTRAS=")]
    return shlex.split(values[0])[0].split() if values else []


def sources_of(stage: Stage) -> list[str]:
    """The paths that a stage copies out of the project's folder."""
    lines = [shlex.split(text) for text in stage.texts("COPY") if "--from=" not in text]
    return [word for words in lines for word in words[:-1] if not word.startswith("--")]


def copy_problems(stages: list[Stage], ignore: str, root: Path) -> Iterator[str]:
    """Whether what is copied exists and reaches the builder."""
    yield from ("ADD: use COPY, which fetches nothing" for stage in stages if stage.texts("ADD"))
    for source in sorted({source for stage in stages for source in sources_of(stage)}):
        if not (root / source).exists():
            yield f"COPY {source}: does not exist"
        elif is_ignored(source, ignore):
            yield f"COPY {source}: .dockerignore keeps it from the builder"


def image_file_problems(text: str, ignore: str, root: Path = ROOT) -> list[str]:
    """All that is wrong with a Dockerfile and the .dockerignore beside it."""
    stages = read_stages(text)
    found = [*base_problems(stages), *user_problems(stages[-1]), *environment_problems(stages)]
    return [*found, *install_problems(stages), *copy_problems(stages, ignore, root)]
