"""The synthetic images of a run: a row for each, the image itself, and which of them make a training set.

This module does not know how an image was drawn or what training is.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from flowerti.artifacts import layout
from flowerti.artifacts.image_scores import scores_by_image
from flowerti.artifacts.records import Census, Selection
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.data.shards import COLUMNS
from flowerti.export.contents import Contents, read_contents
from flowerti.export.request import ExportRequest
from flowerti.export.synthetic import drawn_images, images_of
from flowerti.export.training_set import check_draw, dataset_of
from flowerti.reading.stage_results import advice, result_of
from flowerti.report.names import REAL

_SCHEMA = pa.schema(
    [
        ("address", pa.string()),
        ("class_id", pa.int64()),
        *((name, kind) for name, kind, _ in COLUMNS),
        ("probability", pa.float64()),
        ("similarity", pa.float64()),
        ("train_id", pa.string()),
    ]
)
_NOT_SCORED = (None, None, None)


def contents_of(
    run: RunDirectory, sources: Sequence[str] = (), ratio: float | None = None, learning: int = 0
) -> Contents:
    """What a run holds, as an export reads it.

    Raises:
        ValueError: the run has no such source or learning, or the stage select is not done.
    """
    result_of("select", run, layout.SELECTION, Selection)
    with _parameters_named():
        # nothing leaves this machine, so that images which show photographs are read as well
        request = ExportRequest(
            what=("images",), sources=tuple(sources), ratio=ratio, learning=learning, with_real_images=True
        )
        return read_contents(run, request)


@contextmanager
def _parameters_named() -> Iterator[None]:
    """Let an error of an export name a parameter in the place of the option of the same name."""
    try:
        yield
    except ValueError as error:
        if not str(error).startswith("--"):
            raise
        raise ValueError(str(error).removeprefix("--")) from error


def images_table(run: RunDirectory) -> pa.Table:
    """All synthetic images of a run, class by class, then by source, learning and index.

    Raises:
        ValueError: no image was drawn yet, or a shard is damaged.
    """
    contents, scores = contents_of(run), scores_by_image(run)
    rows: list[dict[str, Any]] = []
    for class_name, source, learning in _sets(contents):
        for image in images_of(contents, class_name, source, learning):
            score = scores.get(image.address)
            told = (score.probability, score.similarity, score.train_id) if score else _NOT_SCORED
            rows.append(
                {
                    **image.fields,
                    "address": image.address,
                    "class_id": contents.class_names.index(class_name),
                    **dict(zip(("probability", "similarity", "train_id"), told, strict=True)),
                }
            )
    if not rows:
        raise ValueError(f"{run.uri}: no image was drawn yet: {advice(run, 'sample')}")
    return pa.Table.from_pylist(rows, schema=_SCHEMA)


def _sets(contents: Contents) -> list[tuple[str, str, int]]:
    """Class, source and learning of every set that the settings ask for."""
    experiment = contents.experiment
    return [
        (class_name, source, learning)
        for class_name in contents.weak
        for source in experiment.sampling.sources
        for learning in experiment.learnings_of(source)
    ]


def training_addresses(
    run: RunDirectory, sources: Sequence[str], ratio: float | None, learning: int
) -> list[tuple[str, int]]:
    """Address and class id of the images of a training set, as an export has it: what filters refuse is left out.

    Args:
        run: the run directory.
        sources: whose images, at least one; "real" for the images of the training split.
        ratio: drawn images of a class as a multiple of its training images; None for all.
        learning: which of a class's learnings.

    Raises:
        ValueError: the run has no such images, or the data set is not what the run had.
    """
    drawn = [source for source in sources if source != REAL]
    contents = contents_of(run, drawn, ratio, learning)
    found: list[tuple[str, int]] = []
    with _parameters_named():
        if REAL in sources:
            check_draw(contents)
            found += [(record.address, record.class_id) for record in dataset_of(contents).of("train")]
        return found + (_drawn_addresses(contents, drawn) if drawn else [])


def _drawn_addresses(contents: Contents, sources: Sequence[str]) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    for class_id, count in enumerate(result_of("classify", contents.run, layout.CENSUS, Census).counts):
        if count.class_name in contents.weak:
            images = drawn_images(contents, count.class_name, sources, count.num_train)
            found += [(image.address, class_id) for image in images]
    if not found:
        asked = ", ".join(sources)
        raise ValueError(f"{contents.run.uri}: no image of {asked} was drawn yet: {advice(contents.run, 'sample')}")
    return found
