"""A training set as WebDataset's tar files: for each image its bytes, its class as a number, and what is known of it.

Images are in a seeded random order, so that a reader who goes from shard to shard meets all classes. Files have no
time and no owner: the same images give the same bytes. This module does not know where images come from.
"""

import io
import json
import tarfile
from pathlib import Path

import numpy as np

from flowerti.artifacts.identity import seed_for
from flowerti.export.columns import columns_of
from flowerti.export.contents import Contents
from flowerti.export.dataset_card import dataset_card
from flowerti.export.training_set import ExportImage, training_set

_IMAGES_PER_SHARD = 1000
_LOADING = """```python
import webdataset

training = webdataset.WebDataset("{files}", shardshuffle=False).decode("pil").to_tuple("png;jpg", "cls", "json")
```

`classes.json` lists the classes in the order of their numbers."""


def write_tar_shards(contents: Contents, folder: Path) -> None:
    """Write train-000000.tar and so on, classes.json and README.md into a folder.

    Raises:
        ValueError: as `training_set`.
    """
    images = training_set(contents)
    order = np.random.default_rng(seed_for(contents.experiment.seed, "", "export/shards", 0)).permutation(len(images))
    num_shards = -(-len(images) // _IMAGES_PER_SHARD)
    for shard in range(num_shards):
        places = range(shard * _IMAGES_PER_SHARD, min((shard + 1) * _IMAGES_PER_SHARD, len(images)))
        with tarfile.open(folder / f"train-{shard:06d}.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
            for place in places:
                _add_sample(archive, f"{place:08d}", images[order[place]])
    (folder / "classes.json").write_text(json.dumps(contents.class_names, ensure_ascii=False), encoding="utf-8")
    files = f"train-{{000000..{num_shards - 1:06d}}}.tar" if num_shards > 1 else "train-000000.tar"
    card = dataset_card(contents, images, _LOADING.replace("{files}", files))
    (folder / "README.md").write_text(card, encoding="utf-8")


def _add_sample(archive: tarfile.TarFile, key: str, image: ExportImage) -> None:
    known = {"file": image.file, "class_name": image.class_name, **columns_of(image)}
    _add(archive, f"{key}{Path(image.file).suffix}", image.read())
    _add(archive, f"{key}.cls", str(image.class_id).encode())
    _add(archive, f"{key}.json", json.dumps(known, ensure_ascii=False).encode())


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))
