"""What Ray's own check of a launcher's file lets through and a user would regret, for every cloud.

Reads Ray's schema and defaults as files of the installed wheel and does not import Ray. Knows no cloud's own fields.
"""

import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from deploy.pins import IMAGE_NAME, min_driver, project

Config = dict[str, Any]
TOKEN = "~/.ray/auth_token"
"""Ray's token, on each node and in its container; it lies on the machine under a folder of the cluster's name."""


def ray_folder() -> Path:
    """Where the installed Ray lies; nothing of it is imported.

    Raises:
        ValueError: Ray is not installed.
    """
    spec = importlib.util.find_spec("ray")
    if spec is None or not spec.submodule_search_locations:
        raise ValueError("ray is not installed: the check reads its schema; run `make setup`")
    return Path(spec.submodule_search_locations[0])


def schema_problems(config: Config) -> Iterator[str]:
    """What Ray's own schema refuses; Ray itself drops some keys of earlier versions, unread, before it looks."""
    schema = json.loads((ray_folder() / "autoscaler/ray-schema.json").read_text(encoding="utf-8"))
    for error in jsonschema.Draft7Validator(schema).iter_errors(config):
        yield f"{'/'.join(map(str, error.absolute_path)) or 'top level'}: {error.message}"
    if config.get("head_node_type") not in config.get("available_node_types", {}):
        yield "head_node_type: is not among available_node_types"


def growth_problems(config: Config) -> Iterator[str]:
    """A cluster that does not grow, does not shrink, or works on its head."""
    if config["available_node_types"][config["head_node_type"]]["resources"].get("CPU") != 0:
        yield "head: takes tasks: set its CPU to 0"
    if not 0 < config.get("upscaling_speed", 0):
        yield "upscaling_speed: is 0, so the cluster does not grow"
    if not 0 < config.get("idle_timeout_minutes", 0):
        yield "idle_timeout_minutes: is 0, so idle nodes are never given back"
    for name, node in workers(config).items():
        if not node.get("max_workers"):
            yield f"{name}: has no max_workers"
        if node.get("min_workers", 0):
            yield f"{name}: is kept while idle: set min_workers to 0"


def workers(config: Config) -> dict[str, Config]:
    """The node types beside the head's."""
    return {name: node for name, node in config["available_node_types"].items() if name != config["head_node_type"]}


def closed_problems(config: Config) -> Iterator[str]:
    """What anybody on the internet could reach."""
    commands = " ".join([*config.get("head_start_ray_commands", []), *config.get("worker_start_ray_commands", [])])
    if commands.count("RAY_AUTH_MODE=token ray start") != 2:
        yield "*_start_ray_commands: Ray starts without token authentication"
    text = yaml.safe_dump(config)
    yield from (f"{address}: is open to the world" for address in ("0.0.0.0", "::/0") if address in text)
    if TOKEN not in config.get("file_mounts", {}):
        yield f"file_mounts: lack {TOKEN}, without which nodes refuse each other"
    mounted = f"/tmp/ray_tmp_mount/{config['cluster_name']}/{TOKEN}"
    if not any(mounted in command for command in config.get("initialization_commands", [])):
        yield f"initialization_commands: none sees to it that the container's user may read {mounted}"


def image_problems(config: Config) -> Iterator[str]:
    """Whether every node runs the one image, with the GPUs of its machine."""
    docker = config.get("docker") or {}
    yield from (f"docker/{key}: is missing" for key in ("image", "container_name") if not docker.get(key))
    if docker.get("image"):
        yield from (f"docker/image: {problem}" for problem in name_problems(docker["image"]))
    others = {"head_image", "worker_image"} & set(docker)
    yield from (f"docker/{key}: all nodes run one image" for key in sorted(others))
    yield from (f"{name}: all nodes run one image" for name, node in workers(config).items() if node.get("docker"))
    if docker.get("pull_before_run") is False:
        yield "docker/pull_before_run: is off, so a machine keeps an old image of this name"
    if "--gpus all" not in docker.get("worker_run_options", []):
        yield "docker/worker_run_options: lack `--gpus all`, so a worker's container may have no GPU"
    if "NVIDIA_VISIBLE_DEVICES=void" not in " ".join(docker.get("head_run_options", [])):
        yield "docker/head_run_options: lack `--env NVIDIA_VISIBLE_DEVICES=void`: the head has no GPU to bring in"


def name_problems(image: str) -> Iterator[str]:
    """Whether an image has the name and the version that the project's own has."""
    wanted = f"{IMAGE_NAME}:{project()['version']}"
    if image.rsplit("/", 1)[-1] != wanted:
        yield f"{image} is not REGISTRY/{wanted}, the image of this version"


def boot_problems(config: Config) -> Iterator[str]:
    """Whether a boot installs anything, by our commands or by those that Ray puts in where a list is left out."""
    kind = config["provider"]["type"]
    defaults = yaml.safe_load((ray_folder() / f"autoscaler/{kind}/defaults.yaml").read_text(encoding="utf-8"))
    for key in (key for key in defaults if key.endswith("_commands")):
        if defaults[key] and key not in config:
            yield f"{key}: is left out, so Ray runs its own: {defaults[key][-1]}"
        for command in config.get(key, []):
            if re.search(r"\b(pip|conda|uv) install\b|apt(-get)? install", command):
                yield f"{key}: {command.split()[0]} ... installs at every boot: put it into the image"


def driver_problems(config: Config) -> Iterator[str]:
    """Whether the driver is new enough for the pinned torch, by the file's word and by a question to the machine."""
    needed, told = min_driver(), (config.get("metadata") or {}).get("min_nvidia_driver", 0)
    if told < needed:
        yield f"metadata/min_nvidia_driver: is {told}, and the pinned torch needs {needed}"
    asked = re.findall(r"driver_version.*?-ge (\d+)", " ".join(config.get("initialization_commands", [])))
    if not asked or int(asked[0]) < needed:
        yield f"initialization_commands: no command refuses a driver older than {needed}"


COMMON = (growth_problems, closed_problems, image_problems, boot_problems, driver_problems)
