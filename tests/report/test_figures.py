"""All figures together: the promised names, the same bytes every time, and nothing that may not be shown."""

import dataclasses

from finished_run import HOSTILE, classifier, concept, experiment, images_of_copies, run, shown_images
from finished_scores import EMPTY_SCORES, EXTRACTOR, SOURCES, class_names, scores
from finished_sweep import sweep, sweep_row
from page_reader import pixels

from flowerti.report.canvas import WIDTH_PX
from flowerti.report.figures import draw_figures
from flowerti.report.findings import Findings
from flowerti.report.image_strips import strip_width
from flowerti.report.names import copies_file, matrix_file, strip_file

ODD_NAMES = ("$\\frac{1}{0$", "_hidden", "菊花", "line\nbreak", "x" * 300)
CHARTS = {"curves.png", "confusion.png", "loss_curves.png", "sweep.png"}


def draw(names=None, images=None, **changed):
    parts = run(names or class_names(14), **changed)
    weak = [chosen.class_name for chosen in parts["selection"].selected]
    images = shown_images(weak) if images is None else images
    return draw_figures(Findings(**parts), images, images_of_copies(parts["scores"]))


def without_charts(images, scores=EMPTY_SCORES, **data):
    """The figures that show images, without the slower charts."""
    empty = {
        "classifier": dataclasses.replace(classifier(class_names(4)), curves=[], confusion=[]),
        "sweep": dataclasses.replace(sweep(), rows=[sweep_row("validation", "real", 0.0, 0.0)]),
        "learned": [concept("species 000", error="no")],
    }
    return draw(images=images, scores=scores, experiment=experiment(**data), **empty)


def test_all_figures_have_the_promised_names_and_widths_and_repeat_byte_for_byte():
    weak = class_names(1)
    given = {"num_weak": 1, "scores": scores(weak)}
    first = draw(**given)
    strips = {strip_file(name) for name in weak}
    strips |= {copies_file(name, source, EXTRACTOR) for name in weak for source in SOURCES}
    assert set(first) == CHARTS | strips | {matrix_file(EXTRACTOR, "kernel"), matrix_file(EXTRACTOR, "frechet")}
    for name, png in first.items():
        height, width, channels = pixels(png).shape
        assert width == (strip_width(8) if name in strips else WIDTH_PX), name
        assert (channels, height > 300) == (3, True), name
    assert draw(**given) == first


def test_real_images_need_leave():
    weak = ["species 000"]
    given = dataclasses.replace(scores(weak), matrix=[])
    shown = without_charts(shown_images(weak), given)
    hidden = without_charts(shown_images(weak), given, show_images=False)
    without_real = {"species 000": {s: p for s, p in shown_images(weak)["species 000"].items() if s != "real"}}
    assert hidden[strip_file("species 000")] == without_charts(without_real, given)[strip_file("species 000")]
    name = copies_file("species 000", "token", EXTRACTOR)
    assert len(pixels(hidden[name])) < len(pixels(shown[name]))


def test_figures_without_content_are_left_out():
    assert without_charts({}) == {}
    only_real = {"species 000": {"real": shown_images(["a"])["a"]["real"]}}
    assert without_charts(only_real, show_images=False) == {}


def test_odd_names_do_not_stop_a_figure():
    names = ODD_NAMES + HOSTILE
    given = dataclasses.replace(scores(names[:1], all_names=names), copies=[])
    assert len(draw(names, images={}, num_weak=len(names), scores=given)) == len(CHARTS) + 2
