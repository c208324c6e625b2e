"""One class from training pictures to a stored concept: checkpoints, the embeddings file, and its record.

`Inverter` is the plain class that the cluster wraps into an actor. `learned_embeds.safetensors` holds one tensor named
by the token, which is what diffusers' `load_textual_inversion` reads. The record is written last: a concept without it
is unfinished. This module does not know about Ray or about what is done with a concept.
"""

import hashlib
import json
import time
from dataclasses import dataclass
from importlib.metadata import version

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from flowerti.artifacts import Concept, LossPoint, key_of, seed_for, slug
from flowerti.config import BaseConfig, InversionConfig
from flowerti.data import read_pictures
from flowerti.diffusion import Base, load_base, resolve_folder, verify_base
from flowerti.inversion import Progress, learn, prepare, start
from flowerti.neighbours import nearest_tokens
from flowerti.run_directory import RunDirectory
from flowerti.tensor_files import metadata_of

_PACKAGES = ("torch", "diffusers", "transformers")


@dataclass(frozen=True, kw_only=True, slots=True)
class InversionTask:
    """All that a worker needs to learn one class."""

    class_name: str
    addresses: tuple[str, ...]
    """Training pictures."""
    image_size_px: int
    run_seed: int
    key: str
    """What the concept is made from: config, base and pictures."""


def token_of(class_name: str) -> str:
    """The placeholder token of a class."""
    return f"<{slug(class_name)}>"


def concept_folder(class_name: str) -> str:
    """Where a class's concept lies in the run directory."""
    return f"concepts/{slug(class_name)}"


def load_concept(run: RunDirectory, class_name: str, key: str | None = None) -> Concept | None:
    """The finished concept of a class; None where there is none of that key, or its embeddings were changed."""
    folder = concept_folder(class_name)
    concept = run.load(f"{folder}/concept.json", Concept, key)
    if concept is None or concept.error:
        return None
    embeddings = f"{folder}/learned_embeds.safetensors"
    if not run.exists(embeddings) or _sha256(run.read_bytes(embeddings)) != concept.embeddings_sha256:
        return None
    return concept


def load_rows(run: RunDirectory, concept: Concept) -> torch.Tensor:
    """The learnt rows of a concept, float32 [vectors, width]."""
    content = run.read_bytes(f"{concept_folder(concept.class_name)}/learned_embeds.safetensors")
    return load(content)[concept.token]


def concept_key(config: InversionConfig, base: BaseConfig, base_sha256: str, pictures_sha256: str, seed: int) -> str:
    """Key of a concept; how often checkpoints are written does not enter it."""
    settings = {name: getattr(config, name) for name in config.__slots__ if name != "checkpoint_every_steps"}
    return key_of(settings, base.dtype, base_sha256, pictures_sha256, seed)


def last_checkpoint(run: RunDirectory, task: InversionTask) -> LossPoint | None:
    """Step of a class's last checkpoint and the evaluation loss known there; None where there is no checkpoint."""
    name = _checkpoint_name(task)
    try:
        metadata = metadata_of(run.read_bytes(name))
    except (FileNotFoundError, ValueError):
        # not written yet, or deleted because the class has just ended; the worker itself judges a damaged one
        return None
    if metadata.get("key") != task.key:
        return None
    return LossPoint(step=int(metadata["step"]), loss=json.loads(metadata["curve"])[-1][1])


class Inverter:
    """Learns classes one after another on one loaded base."""

    def __init__(
        self,
        base: BaseConfig,
        base_sha256: str,
        config: InversionConfig,
        run: RunDirectory,
        num_threads: int,
        device: str,
    ) -> None:
        """Load the base once; `device` is "cpu" or "cuda"."""
        torch.set_num_threads(num_threads)
        self._base_config, self._base_sha256 = base, base_sha256
        self._config, self._run = config, run
        folder = resolve_folder(base) or verify_base(base)
        self._base: Base = load_base(folder, base.dtype, device)

    def learn(self, task: InversionTask) -> Concept:
        """Learn one class, from its last checkpoint where there is one, and store the concept."""
        began = time.monotonic()
        token = token_of(task.class_name)
        pictures = torch.from_numpy(read_pictures(list(task.addresses), task.image_size_px))
        data = prepare(self._base, pictures, token, self._config.num_vectors)
        progress = self._load_checkpoint(task) or start(self._base, self._config)
        progress = learn(
            self._base,
            data,
            self._config,
            task.class_name,
            task.run_seed,
            progress,
            lambda state: self._save_checkpoint(task, state),
        )
        return self._store(task, token, progress, time.monotonic() - began)

    def _store(self, task: InversionTask, token: str, progress: Progress, seconds: float) -> Concept:
        folder = concept_folder(task.class_name)
        embeddings = save({token: progress.best_rows.cpu().contiguous()})
        self._run.write_bytes(f"{folder}/learned_embeds.safetensors", embeddings)
        concept = Concept(
            class_name=task.class_name,
            token=token,
            num_vectors=self._config.num_vectors,
            initializer_token=self._config.initializer_token,
            base=self._base_config.path,
            base_sha256=self._base_sha256,
            embeddings_sha256=_sha256(embeddings),
            num_pictures=len(task.addresses),
            num_steps=progress.step,
            best_step=progress.best.step,
            seed=seed_for(task.run_seed, task.class_name, "inversion/step", 0),
            loss_curve=progress.curve,
            neighbours=nearest_tokens(self._base, progress.best_rows),
            versions={name: version(name) for name in _PACKAGES},
            seconds=seconds,
        )
        self._run.save(f"{folder}/concept.json", concept, task.key)
        self._run.delete(_checkpoint_name(task))
        return concept

    def _save_checkpoint(self, task: InversionTask, progress: Progress) -> None:
        tensors = {
            "rows": progress.rows.detach(),
            "first_moment": progress.first_moment,
            "second_moment": progress.second_moment,
            "best_rows": progress.best_rows,
        }
        curve = [[point.step, point.loss] for point in progress.curve]
        metadata = {"key": task.key, "step": str(progress.step), "curve": json.dumps(curve)}
        content = save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, metadata)
        self._run.write_bytes(_checkpoint_name(task), content)

    def _load_checkpoint(self, task: InversionTask) -> Progress | None:
        name = _checkpoint_name(task)
        if not self._run.exists(name):
            return None
        content = self._run.read_bytes(name)
        try:
            tensors = {key: tensor.to(self._base.device) for key, tensor in load(content).items()}
        except SafetensorError as error:
            raise ValueError(
                f"{self._run.uri}/{name} is damaged ({error}): delete it to start the class anew"
            ) from error
        metadata = metadata_of(content)
        if metadata["key"] != task.key:
            return None
        curve = [LossPoint(step=step, loss=loss) for step, loss in json.loads(metadata["curve"])]
        return Progress(step=int(metadata["step"]), curve=curve, **tensors)


def _checkpoint_name(task: InversionTask) -> str:
    return f"{concept_folder(task.class_name)}/checkpoints/last.safetensors"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
