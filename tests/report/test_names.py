"""Plain words for everything that the records can hold, and file names that cannot meet."""

from itertools import product
from typing import get_args

from finished_run import HOSTILE

from flowerti.config.experiment import FreeArm, Source
from flowerti.report.names import (
    ARM_NAMES,
    SOURCE_NAMES,
    VERDICT_NAMES,
    copies_file,
    matrix_file,
    strip_file,
)


def test_every_source_and_arm_of_the_settings_has_a_name():
    assert set(get_args(Source)) <= set(SOURCE_NAMES)
    assert {*get_args(FreeArm), *get_args(Source)} <= set(ARM_NAMES)


def test_every_verdict_has_a_name():
    assert set(VERDICT_NAMES) == {"token", "better_name_is_enough", "class_name_is_enough", "undecided"}


def test_no_two_figures_share_a_file_and_none_leaves_its_folder():
    words = (*HOSTILE, "a", "a_b", "a.b", "a b", "../up", "raw", "b.raw")
    files = [strip_file(word) for word in words]
    files += [matrix_file(*both) for both in product(words, repeat=2)]
    files += [copies_file(*three) for three in product(words, repeat=3)]
    assert len(set(files)) == len(files)
    assert not [file for file in files if "/" in file or file.startswith(".")]
