"""Plain words for everything that the records can hold, and file names that cannot meet."""

from itertools import product

from finished_run import HOSTILE

from flowerti.report.names import VERDICT_NAMES, copies_file, matrix_file, source_label, source_order, strip_file
from flowerti.tables.sources import SOURCES


def test_every_source_has_a_label_and_others_stand_under_their_own_name():
    assert [source_label(source.name) for source in SOURCES] == [source.label for source in SOURCES]
    assert (source_label("real"), source_label("borrowed")) == ("real", "borrowed")


def test_real_images_come_first_and_unknown_sources_last():
    assert source_order(["borrowed", "token", "raw", "real", "token"]) == ["real", "raw", "token", "borrowed"]


def test_every_verdict_has_a_name():
    assert set(VERDICT_NAMES) == {"token", "better_name_is_enough", "class_name_is_enough", "undecided"}


def test_no_two_figures_share_a_file_and_none_leaves_its_folder():
    words = (*HOSTILE, "a", "a_b", "a.b", "a b", "../up", "raw", "b.raw")
    files = [strip_file(word) for word in words]
    files += [matrix_file(*both) for both in product(words, repeat=2)]
    files += [copies_file(*three) for three in product(words, repeat=3)]
    assert len(set(files)) == len(files)
    assert not [file for file in files if "/" in file or file.startswith(".")]
