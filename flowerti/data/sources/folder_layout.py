"""How somebody laid out labelled images: which folders are splits and which are classes.

Known are split/class/image, class/split/image and class/image, with the splits under their usual names, below folders
that hold nothing else, and with folders inside those of classes. Where a folder may be one or the other, it is refused
rather than guessed. This module opens no file.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flowerti.data.dataset import SPLITS, Split
from flowerti.data.sources.folder_tree import Folder
from flowerti.data.sources.split_names import settled, split_of_folder


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Where the images of each class are in each split."""

    classes: Mapping[Split, Sequence[tuple[str, Folder]]]
    """(class, folder) by split; all images of the folder are the class's."""
    missing: tuple[Split, ...]
    split_folders: Mapping[Split, Folder]
    """The folder of each split; empty where splits have no folder of their own."""
    class_parents: tuple[Folder, ...]
    """The folders whose folders are classes."""
    strays: tuple[Folder, ...] = ()
    """Folders with images beside three complete splits, which belong to none of them."""


def layout_of(root: Folder) -> Layout:
    """Find out how images are laid out below a folder.

    Raises:
        ValueError: there are no folders of classes, or a folder may be a class or a split; names it.
    """
    (base,) = _unwrapped([root])
    if not base.filled:
        raise ValueError(
            f"data.root: {base.path} holds {base.num_images} images and no folder of a class: put the images of each "
            "class into a folder that is named after it"
        )
    splits = _split_folders(base)
    if splits:
        parents = dict(zip(splits, _unwrapped(list(splits.values())), strict=True))
        return Layout(
            classes={split: [(c.path.name, c) for c in parent.filled] for split, parent in parents.items()},
            missing=tuple(split for split in SPLITS if split not in splits),
            split_folders=splits,
            class_parents=tuple(parents.values()),
            strays=tuple(f for f in base.filled if f not in splits.values()),
        )
    inner = _splits_in_classes(base)
    classes = inner or {"train": [(folder.path.name, folder) for folder in base.filled]}
    return Layout(
        classes=classes,
        missing=tuple(split for split in SPLITS if split not in classes),
        split_folders={},
        class_parents=(base,),
    )


def _unwrapped(folders: list[Folder]) -> list[Folder]:
    """Step into folders that hold one folder and nothing else, as long as all of them do and it has the same name."""
    while True:
        inside = [folder.filled[0] for folder in folders if len(folder.filled) == 1 and not folder.images]
        is_wrapper = (
            len(inside) == len(folders)
            and len({folder.path.name for folder in inside}) == 1
            and all(folder.filled for folder in inside)
            and not split_of_folder(inside[0].path.name)
        )
        if not is_wrapper:
            return folders
        folders = inside


def _split_folders(base: Folder) -> dict[Split, Folder]:
    """The folder of each split, in the order of the splits; empty where the folders are classes."""
    named = {folder.path: folder for folder in base.filled if split_of_folder(folder.path.name)}
    exact: dict[Split, Folder] = {
        split: folder for split in SPLITS for folder in named.values() if folder.path.name == split
    }
    if len(exact) == len(SPLITS) and all(folder.filled for folder in exact.values()):
        return exact
    strays = [folder for folder in base.filled if folder.path not in named]
    nested = [folder for folder in named.values() if folder.filled]
    if strays and all(folder.images for folder in nested):  # "train" is a class beside "bus" and "car"
        return {}
    unlabelled = [folder for folder in named.values() if folder not in nested]
    if unlabelled:
        raise ValueError(
            f"data.root: {unlabelled[0].path} holds {unlabelled[0].num_images} images of no class: sort them into "
            "folders of classes, or move it out of data.root"
        )
    splits = _one_each(named)
    missing = [split for split in SPLITS if split not in splits]
    if strays and splits and missing:
        raise ValueError(
            f"data.root: {strays[0].path} is beside {next(iter(splits.values())).path} and may be a class or a split: "
            f"rename it to {' or '.join(missing)}, or move it out of data.root"
        )
    return splits


def _one_each(named: Mapping[Path, Folder]) -> dict[Split, Folder]:
    names = {path: path.name for path in named}
    split_of = settled({path: split for path in named if (split := split_of_folder(path.name))}, names)
    found: dict[Split, Folder] = {}
    for split in SPLITS:
        of_split = [path for path in named if split_of[path] == split]
        if len(of_split) > 1:
            raise ValueError(
                f"data.root: {of_split[0]} and {of_split[1]} are both named after the {split} split: rename one, or "
                "move it out of data.root"
            )
        if of_split:
            found[split] = named[of_split[0]]
    return found


def _splits_in_classes(base: Folder) -> dict[Split, list[tuple[str, Folder]]]:
    """(class, folder) by split where each class has folders of splits; empty where no class has any."""
    divided = [c for c in base.filled if c.filled and not c.images and all(map(_is_split, c.filled))]
    if not divided:
        return {}
    whole = [c for c in base.filled if c not in divided]
    if whole:
        raise ValueError(
            f"data.root: {divided[0].path} has folders of splits and {whole[0].path} has none: give all classes the "
            "same splits"
        )
    found: dict[Split, list[tuple[str, Folder]]] = defaultdict(list)
    for class_folder in divided:
        for split, folder in _one_each({folder.path: folder for folder in class_folder.filled}).items():
            found[split].append((class_folder.path.name, folder))
    return {split: found[split] for split in SPLITS if split in found}


def _is_split(folder: Folder) -> bool:
    return split_of_folder(folder.path.name) is not None
