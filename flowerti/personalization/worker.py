"""Classes from training images to stored concepts: checkpoints, the embeddings files, and the record.

`Inverter` is the plain class that the cluster wraps into an actor. The record is written last: a concept without it is
unfinished. This module does not know about Ray, the files' insides or what is done with a concept.
"""

import hashlib
import time
from dataclasses import dataclass, fields
from importlib.metadata import version

import torch

from flowerti.artifacts.identity import key_of, seed_for, slug
from flowerti.artifacts.records import Concept, ConceptNeighbour, LossPoint
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.config.experiment import BaseConfig, TextualInversionConfig
from flowerti.data.dataset import read_images
from flowerti.diffusion import Base, load_base, resolve_folder, verify_base
from flowerti.personalization import checkpoints
from flowerti.personalization.denoising import prepare
from flowerti.personalization.textual_inversion.embedding_files import diffusers_bytes, read_parts, web_bytes
from flowerti.personalization.textual_inversion.neighbours import nearest_concepts, nearest_tokens
from flowerti.personalization.trainer import Lesson, Progress, learn_together, start

_PACKAGES = ("torch", "diffusers", "transformers")


@dataclass(frozen=True, kw_only=True, slots=True)
class InversionTask:
    """All that a worker needs to learn one class."""

    class_name: str
    addresses: tuple[str, ...]
    """Training images."""
    image_size_px: int
    run_seed: int
    key: str
    """What the concept is made from: config, base and images."""


def token_of(class_name: str) -> str:
    """The placeholder token of a class."""
    return f"<{slug(class_name)}>"


def concept_folder(class_name: str) -> str:
    """Where a class's concept lies in the run directory."""
    return f"concepts/{slug(class_name)}"


def web_file(class_name: str) -> str:
    """Where a class's embeddings for AUTOMATIC1111 and ComfyUI lie; the file's name is the word to write there."""
    return f"{concept_folder(class_name)}/web/{slug(class_name)}.safetensors"


def failed_concept(class_name: str, reason: str) -> Concept:
    """The record of a class that could not be learnt."""
    return Concept(class_name=class_name, token=token_of(class_name), error=reason)


def store_failure(run: RunDirectory, task: InversionTask, reason: str) -> Concept:
    """Write down that a class could not be learnt."""
    concept = failed_concept(task.class_name, reason)
    run.save(f"{concept_folder(task.class_name)}/concept.json", concept, task.key)
    return concept


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
    return torch.cat(_load_parts(run, concept), dim=1)


def _load_parts(run: RunDirectory, concept: Concept) -> list[torch.Tensor]:
    content = run.read_bytes(f"{concept_folder(concept.class_name)}/learned_embeds.safetensors")
    return read_parts(content, concept.token)


def neighbours_among(run: RunDirectory, concepts: list[Concept]) -> list[ConceptNeighbour]:
    """The nearest rows of other classes for each row of the concepts that were learnt."""
    parts = {concept.class_name: _load_parts(run, concept) for concept in concepts if not concept.error}
    # all come from one base
    row_widths = [part.shape[1] for part in next(iter(parts.values()), [])]
    return nearest_concepts({name: torch.cat(of_class, dim=1) for name, of_class in parts.items()}, row_widths)


def concept_key(
    config: TextualInversionConfig, base: BaseConfig, base_sha256: str, images_sha256: str, seed: int
) -> str:
    """Key of a concept; how often checkpoints are written does not enter it."""
    settings = {
        name: getattr(config, name) for name in (f.name for f in fields(config)) if name != "checkpoint_every_steps"
    }
    return key_of(settings, base.dtype, base_sha256, images_sha256, seed)


def last_checkpoint(run: RunDirectory, task: InversionTask) -> LossPoint | None:
    """Step of a class's last checkpoint and the evaluation loss known there; None where there is no checkpoint."""
    return checkpoints.last_point_in(run, _checkpoint_name(task), task.key)


class Inverter:
    """Learns classes on one loaded base, one after another or several in one batch."""

    def __init__(
        self,
        base: BaseConfig,
        base_sha256: str,
        config: TextualInversionConfig,
        run: RunDirectory,
        num_threads: int,
        device: str,
    ) -> None:
        """Load the base once; `device` is "cpu" or "cuda"."""
        torch.set_num_threads(num_threads)
        self._base_config, self._base_sha256 = base, base_sha256
        self._config, self._run = config, run
        folder = resolve_folder(base) or verify_base(base)
        self._base: Base = load_base(
            folder, base.dtype, device, channels_last=base.channels_last, compile_unet=base.compile
        )

    def learn(self, task: InversionTask) -> Concept:
        """Learn one class, from its last checkpoint where there is one, and store the concept.

        Raises:
            ValueError: the class failed; says why.
        """
        (concept,) = self.learn_together([task])
        if concept.error:
            raise ValueError(concept.error)
        return concept

    def learn_together(self, tasks: list[InversionTask]) -> list[Concept]:
        """Learn several classes in one batch and store each concept as soon as it ends; in the order of the tasks.

        A class that cannot be prepared or whose loss is no number comes back with its error and is not stored.
        """
        began = time.monotonic()
        by_name = {task.class_name: task for task in tasks}
        outcomes, lessons = {}, []
        for task in tasks:
            try:
                lessons.append(self._prepare(task))
            except (OSError, ValueError) as error:
                outcomes[task.class_name] = failed_concept(task.class_name, str(error))
        for lesson in learn_together(
            self._base,
            lessons,
            self._config,
            lambda lesson: self._save_checkpoint(by_name[lesson.class_name], lesson.progress),
        ):
            if lesson.error:
                outcomes[lesson.class_name] = failed_concept(lesson.class_name, lesson.error)
            else:
                seconds = time.monotonic() - began
                outcomes[lesson.class_name] = self._store(by_name[lesson.class_name], lesson.progress, seconds)
        return [outcomes[task.class_name] for task in tasks]

    def _prepare(self, task: InversionTask) -> Lesson:
        if not task.addresses:
            raise ValueError(f"class {task.class_name!r} has no training image: it cannot be learnt")
        images = torch.from_numpy(read_images(list(task.addresses), task.image_size_px))
        data = prepare(self._base, images, token_of(task.class_name), self._config.num_vectors)
        progress = checkpoints.load_from(self._run, _checkpoint_name(task), task.key, str(self._base.device))
        if progress is None:
            progress = start(self._base, data, self._config, task.class_name, task.run_seed)
        return Lesson(class_name=task.class_name, run_seed=task.run_seed, data=data, progress=progress)

    def _store(self, task: InversionTask, progress: Progress, seconds: float) -> Concept:
        folder, token = concept_folder(task.class_name), token_of(task.class_name)
        embeddings = diffusers_bytes(token, progress.best_rows, self._base.row_widths)
        self._run.write_bytes(f"{folder}/learned_embeds.safetensors", embeddings)
        self._run.write_bytes(web_file(task.class_name), web_bytes(progress.best_rows, self._base.row_widths))
        concept = Concept(
            class_name=task.class_name,
            token=token,
            num_vectors=self._config.num_vectors,
            start=self._config.start,
            initializer_token=self._config.initializer_token,
            base=self._base_config.path,
            base_sha256=self._base_sha256,
            embeddings_sha256=_sha256(embeddings),
            num_images=len(task.addresses),
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
        self._run.write_bytes(_checkpoint_name(task), checkpoints.to_bytes(progress, task.key))


def _checkpoint_name(task: InversionTask) -> str:
    return f"{concept_folder(task.class_name)}/checkpoints/last.safetensors"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
