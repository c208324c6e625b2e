"""A base's networks as their configs describe them, built without memory, and held against the headers of its files.

Building them imports torch, diffusers and transformers, which takes seconds; so it is done once for each content of a
base, and the run directory keeps that it was done. No weight is read: whether they are finite is seen where they are
loaded. This module does not know what a base is used for.
"""

from importlib.metadata import version
from pathlib import Path
from typing import Any

from flowerti.artifacts import layout
from flowerti.artifacts.identity import key_of
from flowerti.artifacts.pending import PendingArtifacts
from flowerti.artifacts.records import CheckedBase
from flowerti.base_checks.json_files import quoted, read_object, refused
from flowerti.base_checks.noise_schedule import load_noise_schedule
from flowerti.base_checks.part_configs import text_settings
from flowerti.base_checks.tokenizer_files import load_tokenizer
from flowerti.base_checks.weight_files import StoredTensor, stored_tensors

_VERSION = 1
"""Of these checks: another one has them done again."""
_LIBRARIES = ("diffusers", "transformers")
_FLOATS = ("F64", "F32", "F16", "BF16")
_RENAMED = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}
"""What diffusers called an autoencoder's attention when Stable Diffusion 1.x was saved; it renames them on loading."""

Shapes = dict[str, tuple[int, ...]]


def check_networks_once(folder: Path, parts: tuple[str, ...], sha256: str, artifacts: PendingArtifacts) -> None:
    """Do `check_networks` unless the run directory knows that this base has passed.

    Raises:
        ValueError: as `check_networks`.
    """
    key = key_of(_VERSION, sha256, parts, [version(name) for name in _LIBRARIES])

    def make() -> CheckedBase:
        return CheckedBase(sha256=sha256, num_tensors=check_networks(folder, parts))

    artifacts.get(layout.CHECKED_BASE, CheckedBase, key, make)


def check_networks(folder: Path, parts: tuple[str, ...]) -> int:
    """Check that each part's files hold the tensors that its config asks for, that tokenizers and noise schedule load.

    Args:
        folder: of a base whose files and configs passed the checks without torch.
        parts: the sub-folders that make it up.

    Returns:
        Tensors of all networks.

    Raises:
        ValueError: a tensor is missing, surplus or of another shape, or a part cannot be built; names the file.
    """
    num_tensors = 0
    for part in parts:
        if part == "scheduler":
            load_noise_schedule(folder / part / "scheduler_config.json")
        elif not part.startswith("tokenizer"):
            expected = _expected(folder, part)
            _compare(folder / part, expected, stored_tensors(folder / part))
            num_tensors += len(expected)
    _check_vocabularies(folder, parts)
    return num_tensors


def _expected(folder: Path, part: str) -> Shapes:
    """The tensors that a part's config asks for."""
    import torch

    config = folder / part / "config.json"
    kind = _class_of(folder, part)
    try:
        with torch.device("meta"):
            network = _built(kind, config)
    except Exception as error:
        # a config may break the libraries at any place
        raise refused(config, f"describes no {kind} that can be built ({quoted(error)})") from error
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def _class_of(folder: Path, part: str) -> str:
    names = {"unet": "UNet2DConditionModel", "text_encoder": "CLIPTextModel"}
    names |= {"text_encoder_2": "CLIPTextModelWithProjection"}
    return names.get(part) or read_object(folder / part / "config.json").get("_class_name", "AutoencoderKL")


def _built(kind: str, config: Path) -> Any:
    import diffusers
    import transformers

    if kind.startswith("CLIP"):
        return getattr(transformers, kind)(transformers.CLIPTextConfig.from_pretrained(config.parent))
    network: Any = getattr(diffusers, kind)
    return network.from_config(network.load_config(config.parent))


def _compare(part: Path, expected: Shapes, stored: dict[str, StoredTensor]) -> None:
    """Refuse a part whose files do not hold the tensors that are expected."""
    is_text = part.name.startswith("text_encoder")
    wanted = {_plain(name) if is_text else name: shape for name, shape in expected.items()}
    found = {_plain(name) if is_text else _as_loaded(name, wanted): one for name, one in stored.items()}
    files = sorted({one.file for one in stored.values()})
    where = files[0] if len(files) == 1 else part
    missing = [name for name in wanted if name not in found]
    if missing:
        problem = f"lacks {len(missing)} of the {len(wanted)} tensors of its config.json, such as {quoted(missing[0])}"
        raise refused(where, f"{problem}: fetch the whole part again")
    # older files hold the positions, which are numbers from 0 on
    surplus = [name for name in found if name not in wanted and not name.endswith("position_ids")]
    if surplus:
        problem = f"holds {len(surplus)} tensors that its config.json does not ask for, such as {quoted(surplus[0])}"
        raise refused(where, f"{problem}: fetch config and weights of one base")
    for name, shape in wanted.items():
        one = found[name]
        if one.shape != shape:
            problem = f"holds {quoted(name)} of shape {list(one.shape)}, its config.json asks for {list(shape)}"
            raise refused(one.file, f"{problem}: fetch config and weights of one base")
        if one.dtype not in _FLOATS:
            raise refused(one.file, f"holds {quoted(name)} as {one.dtype}: only {', '.join(_FLOATS)} are supported")


def _plain(name: str) -> str:
    """Without the prefix that transformers gave a text encoder's tensors before version 5."""
    return name.removeprefix("text_model.")


def _as_loaded(name: str, wanted: Shapes) -> str:
    if name not in wanted:
        for old, new in _RENAMED.items():
            if name.replace(old, new) in wanted:
                return name.replace(old, new)
    return name


def _check_vocabularies(folder: Path, parts: tuple[str, ...]) -> None:
    """Check that each tokenizer loads, and gives ids inside the text encoders' tables; special tokens may add some."""
    num_rows = min(text.count("vocab_size") for text in text_settings(folder, parts))
    found: list[dict[str, int]] = []
    for part in (part for part in parts if part.startswith("tokenizer")):
        words = load_tokenizer(folder / part).get_vocab()
        last = max(words, key=lambda word: words[word])
        if words[last] >= num_rows:
            problem = f"gives token {quoted(repr(last))} the id {words[last]}, outside the text encoder's table"
            raise refused(folder / part, f"{problem} of {num_rows} rows: fetch tokenizer and text encoder of one base")
        found.append(words)
    if found[0] != found[-1]:
        raise refused(folder / "tokenizer_2", "has another vocabulary than tokenizer, which is not supported")
