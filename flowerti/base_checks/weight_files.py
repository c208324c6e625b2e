"""The weight files of one part of a base: which are loaded, and the name and shape of each tensor from headers.

No tensor is read, and neither torch nor diffusers is needed. This module does not know which tensors a part needs.
"""

from dataclasses import dataclass
from pathlib import Path

from flowerti.base_checks.json_files import quoted, read_object, refused

_PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
_GIT_LFS = b"version https://git-lfs"


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredTensor:
    """A tensor of a weight file, without its values."""

    shape: tuple[int, ...]
    dtype: str
    """As safetensors name it: F32, BF16, I64, ..."""
    file: Path


def stored_tensors(part: Path) -> dict[str, StoredTensor]:
    """All tensors of a part, from the one file or from the shards that its index lists.

    Raises:
        ValueError: files are missing, pickles, variants, cut short or unlike their index; names the file.
    """
    whole, index = _names(part)
    if index.is_file() and (whole.name != "model.safetensors" or not whole.is_file()):
        # which of them counts where there are both differs between diffusers and transformers
        return _of_shards(index)
    if whole.is_file():
        return _of_file(whole)
    raise _without_weights(part, whole)


def file_with(part: Path, name: str) -> Path:
    """The weight file that holds a tensor of a loaded network; the part's folder where no file has that name."""
    stored = stored_tensors(part)
    # transformers before version 5 gave a text encoder's tensors a prefix
    one = stored.get(name) or stored.get(f"text_model.{name}")
    return one.file if one else part


def _names(part: Path) -> tuple[Path, Path]:
    stem = "model" if part.name.startswith("text_encoder") else "diffusion_pytorch_model"
    return part / f"{stem}.safetensors", part / f"{stem}.safetensors.index.json"


def _without_weights(part: Path, wanted: Path) -> ValueError:
    """The error for a part whose weights are there under no name that is loaded."""
    others = sorted(path.name for path in part.glob("*.safetensors"))
    if others:
        shown = ", ".join(others[:2])
        return refused(part, f"has {shown}, but no {wanted.name}: rename the one to be used to {wanted.name}")
    pickles = sorted(path.name for path in part.glob("*") if path.suffix in _PICKLES)
    if pickles:
        problem = f"has no *.safetensors file, and {pickles[0]} is a pickle, which could run code: fetch {wanted.name}"
        return refused(part, problem)
    return refused(part, f"has no *.safetensors file: fetch {wanted.name}")


def _of_file(path: Path) -> dict[str, StoredTensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with path.open("rb") as stream:
            if stream.read(len(_GIT_LFS)) == _GIT_LFS:
                raise refused(path, "is a pointer of Git LFS, not weights: fetch it with `git lfs pull`")
        with safe_open(path, framework="np") as opened:  # compares the header's offsets with the file's length
            found = {name: opened.get_slice(name) for name in opened.keys()}
            return {
                name: StoredTensor(shape=tuple(one.get_shape()), dtype=one.get_dtype(), file=path)
                for name, one in found.items()
            }
    except (SafetensorError, OSError) as error:
        raise refused(path, f"is cut short or damaged ({quoted(error)}): fetch it again") from error


def _of_shards(index: Path) -> dict[str, StoredTensor]:
    places = read_object(index).get("weight_map")
    if not isinstance(places, dict) or not places or not all(isinstance(name, str) for name in places.values()):
        raise refused(index, "has no weight_map of tensors and files: fetch it again")
    found: dict[str, StoredTensor] = {}
    for name in sorted(set(places.values())):
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise refused(index, f"names {quoted(name)}, which is no safetensors file beside it")
        if not (index.parent / name).is_file():
            raise refused(index, f"names {quoted(name)}, which is missing: fetch it")
        found |= {tensor: one for tensor, one in _of_file(index.parent / name).items() if places.get(tensor) == name}
    lacking = sorted(set(places) - set(found))
    if lacking:
        where = quoted(places[lacking[0]])
        raise refused(index, f"places {quoted(lacking[0])} in {where}, which lacks it: fetch both again")
    return found
