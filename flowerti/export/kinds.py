"""The table of what can be exported, and where the code of each is.

This module imports none of their code, so that the command line can list them at once.
"""

from dataclasses import dataclass

from flowerti.tables import Table


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """One form in which something leaves a run."""

    name: str
    """Also the folder that it is written to."""
    label: str
    """In plain words, as --help has it."""
    implementation: str
    """Where its code is, as module:function; the function takes `contents.Contents` and a folder that exists."""


KINDS: Table[Kind] = Table(
    "kind of export",
    [
        Kind(
            name="imagefolder",
            label="training set as folders class/image",
            implementation="flowerti.export.image_folder:write_image_folder",
        ),
        Kind(
            name="parquet",
            label="training set as Parquet for Hugging Face datasets",
            implementation="flowerti.export.dataset_repository:write_dataset_repository",
        ),
        Kind(
            name="webdataset",
            label="training set as tar shards",
            implementation="flowerti.export.tar_shards:write_tar_shards",
        ),
        Kind(name="tokens", label="learnt tokens", implementation="flowerti.export.tokens:write_tokens"),
        Kind(
            name="adapters",
            label="LoRA adapters with their tokens",
            implementation="flowerti.export.adapters:write_adapters",
        ),
        Kind(
            name="images",
            label="drawn images alone",
            implementation="flowerti.export.marked_images:write_marked_images",
        ),
    ],
)
