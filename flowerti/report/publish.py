"""The end of a run: summary.json, report.html and figures, written from the artifacts.

Which images are shown is decided here; what the page looks like is `page`'s. A page can be written again from
`summary.json`, `page.json` and the figures, without any computing.
"""

import json
from typing import Any

import numpy as np

from flowerti.artifacts import layout
from flowerti.artifacts.identity import key_of
from flowerti.artifacts.manifest import read_manifest, renew_manifest, write_manifest
from flowerti.artifacts.page_record import PageRecord
from flowerti.artifacts.records import ImageSet, Selection
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.artifacts.saved_config import load_saved_plugins
from flowerti.artifacts.scores import Scores
from flowerti.data.access import read_image, read_images
from flowerti.data.shards import first_images, read_synthetic
from flowerti.report import Findings, build_summary, render_html, validate_summary
from flowerti.report.copies_figure import shown_pairs
from flowerti.report.figures import draw_figures
from flowerti.report.gallery import gallery_of
from flowerti.report.names import REAL, is_strip, shows_photographs
from flowerti.report.page_content import page_record, sweep_confusions
from flowerti.report.stored_summary import refuse_changed, refuse_unfinished, stored_summary
from flowerti.report.web_images import smallest_webp
from flowerti.study import Study

_NUM_SHOWN = 8


def publish(study: Study, found: Findings) -> dict[str, Any]:
    """Write summary, figures and report, and return the summary."""
    summary = build_summary(found)
    validate_summary(summary)
    images = shown_images(study, found.selection, found.sets)
    drawn = draw_figures(found, images, images_of_copies(study, found.scores))
    _write_figures(study.run, drawn)
    gallery = gallery_of(study, found.selection, found.sets)
    record = page_record(found, gallery, sweep_confusions(study.run, summary))
    study.run.save(layout.PAGE_RECORD, record, key_of(record))
    page = _write_page(study.run, summary, record, drawn)
    text = (json.dumps(summary, indent=1, allow_nan=False) + "\n").encode()
    study.run.write_bytes(layout.SUMMARY, text)
    figures = {layout.figure(name): content for name, content in drawn.items()}
    write_manifest(study.run, {layout.SUMMARY: text, layout.PAGE: page, **figures})
    return summary


def _write_figures(run: RunDirectory, drawn: dict[str, bytes]) -> None:
    for name, content in drawn.items():
        run.write_bytes(layout.figure(name), content)
    # an earlier report may have shown what is hidden now
    wanted = {layout.figure(name) for name in drawn}
    for file in run.names(layout.FIGURES):
        if file not in wanted:
            run.delete(file)


def shown_images(study: Study, selection: Selection, sets: list[ImageSet]) -> dict[str, dict[str, np.ndarray]]:
    """The first images of each selected class: real ones, then every synthetic set.

    Where real ones may not be shown, neither are those that are drawn from them.
    """
    size_px, show_real = study.experiment.data.image_size_px, study.experiment.data.show_images
    shown: dict[str, dict[str, np.ndarray]] = {}
    for selected in selection.selected:
        name = selected.class_name
        shown[name] = {}
        if show_real:
            records = study.records_of("validation", name)[:_NUM_SHOWN]
            shown[name][REAL] = read_images([record.address for record in records], size_px)
        for images in sets:
            if images.class_name == name and (show_real or not shows_photographs(images.source)):
                shown[name][images.source] = first_images(study.run, images.files, _NUM_SHOWN, size_px)
    return shown


def images_of_copies(study: Study, scores: Scores) -> dict[str, np.ndarray]:
    """The images of the pairs that figures of copies show: synthetic ones by address, and training ones by id.

    Training images, and images that are drawn from them, are read only where they may be shown.
    """
    size_px, show_real = study.experiment.data.image_size_px, study.experiment.data.show_images
    checks = [check for check in scores.copies if show_real or not shows_photographs(check.source)]
    pairs = [pair for check in checks for pair in shown_pairs(check)]
    found = {pair.image: read_synthetic(study.run, pair.image, size_px) for pair in pairs}
    if show_real:
        addresses = {record.id: record.address for record in study.records_of("train")}
        found |= {pair.train_id: read_image(addresses[pair.train_id], size_px) for pair in pairs}
    return found


def republish(run: RunDirectory) -> None:
    """Write report.html again from the stored summary, the page's record and the figures.

    Raises:
        ValueError: the run is not finished, or a file is not what it wrote; names the file.
    """
    refuse_unfinished(run, (layout.SUMMARY, layout.PAGE_RECORD))
    load_saved_plugins(run)  # they name the rows that the summary has
    summary, manifest = stored_summary(run), read_manifest(run)
    if manifest is not None:
        refuse_changed(run, manifest, run.names(layout.FIGURES))
    record = run.load(layout.PAGE_RECORD, PageRecord)
    if record is None:
        raise ValueError(
            f"{run.uri}/{layout.PAGE_RECORD} is damaged: start the run again with `flowerti run`, it makes it anew"
        )
    folder = f"{layout.FIGURES}/"
    drawn = {file.removeprefix(folder): run.read_bytes(file) for file in run.names(layout.FIGURES)}
    page = _write_page(run, summary, record, drawn)
    if manifest is not None:
        renew_manifest(run, manifest, {layout.PAGE: page})


def _write_page(run: RunDirectory, summary: dict[str, Any], record: PageRecord, drawn: dict[str, bytes]) -> bytes:
    # the gallery has the images of the strips
    figures = {name: smallest_webp(png) for name, png in drawn.items() if not is_strip(name)}
    page = render_html(summary, record, figures).encode()
    run.write_bytes(layout.PAGE, page)
    return page
