"""Folders of images, as people have them: with splits under their usual names or without, nested or not.

`folder_layout` says which folders are splits and classes; here they become records, and what a person should know about
them becomes notes. Only files whose suffix is not an image's are opened, to see whether they are one.
"""

import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from flowerti.config.data import DataConfig
from flowerti.data.dataset import SPLITS, Dataset, Record, Split
from flowerti.data.listing_notes import counted, first_of, left_out
from flowerti.data.sources.files import FILES, root_of
from flowerti.data.sources.folder_layout import Layout, layout_of
from flowerti.data.sources.folder_tree import Folder, read_folder
from flowerti.data.sources.image_files import is_foreign
from flowerti.data.sources.implementation import Implementation


def _list_records(config: DataConfig, _seed: int) -> Dataset:
    root = root_of(config)
    if not root.is_dir():
        raise ValueError(f"data.root: {root} is missing, or no folder: name the folder of the images")
    tree = read_folder(root)
    if not tree.num_images:
        raise ValueError(_no_images(tree))
    layout = layout_of(tree)
    _check_foreign(layout)
    images = _images_of(layout, config)
    class_names = tuple(sorted({name for of_split in images.values() for name in of_split}))
    for name in class_names:
        if not name.isprintable():
            raise ValueError(f"data.root: class folder {name!r} in {root} has unprintable characters: rename it")
    records = tuple(
        Record(path.relative_to(root).as_posix(), class_id, split, str(path.resolve()))
        for split in SPLITS
        for class_id, class_name in enumerate(class_names)
        for path in images.get(split, {}).get(class_name, ())
    )
    notes = (*_layout_notes(layout, config, root), *_left_out(tree, layout, root))
    return Dataset(class_names, records, missing=layout.missing, notes=notes)


def _images_of(layout: Layout, config: DataConfig) -> dict[Split, dict[str, list[Path]]]:
    """Images by split and class, sorted."""
    found: dict[Split, dict[str, list[Path]]] = {}
    for split, folders in layout.classes.items():
        of_split: dict[str, list[Path]] = defaultdict(list)
        for class_name, folder in folders:
            if config.class_level == "outer":
                of_split[class_name] += folder.all_images
                continue
            for innermost in folder.walk():
                # folders of splits lie in those of classes where splits have none of their own
                name = class_name if innermost is folder else innermost.path.name
                of_split[name] += innermost.images
        found[split] = {name: sorted(paths) for name, paths in of_split.items() if paths}
    return found


def _layout_notes(layout: Layout, config: DataConfig, root: Path) -> list[str]:
    notes = []
    named = {split: _below(folder.path, root) for split, folder in layout.split_folders.items()}
    if any(split != name for split, name in named.items()):
        notes.append("splits by folder: " + ", ".join(f"{split} is {name}" for split, name in named.items()))
    elif not named and len(layout.missing) < len(SPLITS) - 1:
        notes.append("the folder of each class has folders of splits")
    parents = [folder for folder in layout.class_parents if folder not in layout.split_folders.values()]
    if any(folder.path != root for folder in parents):
        notes.append(f"classes are the folders in {', '.join(_below(folder.path, root) for folder in parents)}")
    nested = [
        path
        for folders in layout.classes.values()
        for _, folder in folders
        for path in folder.all_images
        if path.parent != folder.path
    ]
    if nested and config.class_level == "outer":
        notes.append(
            f"{counted(len(nested), 'image')} in folders within that of a class, counted as the class's: for "
            f"innermost folders as classes set data.class_level inner "
            f"({first_of([_below(path, root) for path in nested[:2]])})"
        )
    return notes


def _left_out(tree: Folder, layout: Layout, root: Path) -> list[str]:
    kinds: dict[str, list[str]] = defaultdict(list)
    for folder in tree.walk():
        for kind, path in folder.others:
            kinds[kind].append(_below(path, root))
        if not folder.num_images and not folder.folders:
            kinds["folder: without images"].append(_below(folder.path, root))
    for path in _loose_images(tree, layout):
        kinds["image: outside the folders of classes"].append(_below(path, root))
    for stray in layout.strays:
        kinds["image: in a folder beside the splits"] += [_below(path, root) for path in stray.all_images]
    return left_out(kinds)


def _loose_images(tree: Folder, layout: Layout) -> Iterable[Path]:
    within = [folder.path for folders in layout.classes.values() for _, folder in folders]
    listed = set(within) | {stray.path for stray in layout.strays}
    for folder in tree.walk():
        if folder.images and not listed.intersection((folder.path, *folder.path.parents)):
            yield from folder.images


def _check_foreign(layout: Layout) -> None:
    """Refuse a class of which nothing can be opened, which would otherwise be no class at all."""
    names = {name for folders in layout.classes.values() for name, _ in folders}
    for parent in layout.class_parents:
        for folder in parent.folders:
            foreign = [path for below in folder.walk() for _, path in below.others if is_foreign(path)]
            if foreign and not folder.num_images and folder.path.name not in names:
                raise ValueError(
                    f"data.root: {folder.path} holds {counted(len(foreign), 'file')} that cannot be opened "
                    f"({foreign[0].name}): convert to JPEG or PNG, or move the folder out of data.root"
                )


def _no_images(tree: Folder) -> str:
    kinds: dict[str, list[str]] = defaultdict(list)
    for folder in tree.walk():
        for kind, path in folder.others:
            kinds[kind].append(_below(path, tree.path))
    found = "; ".join(left_out(kinds)) or "it is empty"
    has_parquet = any(kind.startswith(".parquet") for kind in kinds)
    advice = "set data.kind to parquet" if has_parquet else "name the folder that holds folders of classes"
    return f"data.root: {tree.path} holds no images ({found}): {advice}"


def _below(path: Path, root: Path) -> str:
    return os.path.relpath(path, root).replace(os.sep, "/")


IMAGE_FOLDER = Implementation(list_records=_list_records, images=FILES)
