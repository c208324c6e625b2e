"""Copies of tiny bases, and what is done to their files to damage them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flowerti.base_checks.networks import check_networks
from flowerti.base_files import parts_of, verify_base
from flowerti.config.experiment import BaseConfig

UNET = "unet/diffusion_pytorch_model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"
TEXT = "text_encoder/model.safetensors"

Damage = Callable[[Path], None]
MISSING = object()
"""In place of a value: the name is taken out of the file."""


def checked(folder: Path) -> int:
    """What preflight does with a base; returns the number of its tensors."""
    return check_networks(verify_base(BaseConfig(path=str(folder))), parts_of(folder))


def setting(name: str, key: str, value: Any) -> Damage:
    """Sets a value of a JSON file."""

    def damage(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        content[key] = value
        if value is MISSING:
            del content[key]
        (folder / name).write_text(json.dumps(content))

    return damage


def written(name: str, content: str) -> Damage:
    """Writes a file anew."""
    return lambda folder: (folder / name).write_text(content) and None


def cut(name: str, num_bytes: int) -> Damage:
    """Leaves the beginning of a file, or takes bytes from its end where the number is negative."""
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:num_bytes]) and None


def tensors(name: str, change: Callable[[dict], Any]) -> Damage:
    """Changes the tensors of a weight file in place."""

    def damage(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        content = load_file(folder / name)
        change(content)
        save_file({key: tensor.contiguous() for key, tensor in content.items()}, folder / name, {"format": "pt"})

    return damage


def renamed(name: str, other: str) -> Damage:
    return lambda folder: (folder / name).rename((folder / name).parent / other) and None


def halved(name: str) -> Damage:
    """Takes every other tensor out of a file."""
    return tensors(name, lambda content: [content.pop(key) for key in sorted(content)[::2]])


def reshaped(name: str, key: str, *shape: int) -> Damage:
    """Puts a tensor of another shape in the place of one."""
    import torch

    return tensors(name, lambda content: content.update({key: torch.zeros(shape)}))


def valued(name: str, key: str, value: float) -> Damage:
    """Puts a value in the place of the first number of a tensor."""
    return tensors(name, lambda content: content[key].view(-1)[:1].fill_(value))


def in_shards(folder: Path, name: str = UNET) -> Path:
    """Spreads a weight file over two with an index, as diffusers does with large ones; returns the index."""
    from safetensors.torch import load_file, save_file

    whole, content = folder / name, load_file(folder / name)
    stem, places = whole.name.removesuffix(".safetensors"), {}
    for number in (1, 2):
        shard = f"{stem}-{number:05d}-of-00002.safetensors"
        part = {key: content[key] for key in sorted(content)[number - 1 :: 2]}
        save_file(part, whole.parent / shard, {"format": "pt"})
        places |= dict.fromkeys(part, shard)
    whole.unlink()
    index = whole.parent / f"{stem}.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return index


def with_index(change: Callable[[dict[str, str]], Any]) -> Damage:
    """Spreads the U-Net over two files and changes what their index says."""

    def damage(folder: Path) -> None:
        index = in_shards(folder)
        content = json.loads(index.read_text())
        change(content["weight_map"])
        index.write_text(json.dumps(content))

    return damage
