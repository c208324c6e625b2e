"""Rehearsal classes and their draws by hand."""

import numpy as np
import pytest

from flowerti.ceiling.rehearsal import choose_rehearsal, draw_rehearsal
from flowerti.config.experiment import CeilingConfig

TRAIN_IDS = np.repeat([0, 1, 2, 3, 4, 5], [3, 12, 12, 5, 30, 60])
F1 = {0: 0.1, 1: 0.7, 2: 0.9, 3: 0.95, 4: 0.5, 5: 0.4}


def chosen(weak_ids: list[int], num_classes: int, *names: str) -> tuple[tuple[int, ...], int] | None:
    return choose_rehearsal(
        TRAIN_IDS, F1, weak_ids, CeilingConfig(num_classes=num_classes, class_names=names), "abcdef"
    )


def test_classes_with_images_to_spare_are_cut_down_to_the_weak_ones_count():
    assert chosen([0], 1) == ((5,), 3), "both have enough to spare; class 5 is harder"
    assert chosen([0], 3) == ((1, 4, 5), 3), "of equals the one that is recognised worse"
    assert chosen([0], 5) == ((1, 2, 3, 4, 5), 2), "half of class 3's five"
    assert chosen([1, 2], 1) == ((5,), 12), "class 4 has eighteen to spare, which is not enough"


def test_where_fewer_have_images_to_spare_there_are_fewer():
    assert chosen([0], 9) == chosen([0], 5)
    assert choose_rehearsal(np.repeat([0, 1], [2, 3]), {0: 0.1, 1: 0.9}, [0], CeilingConfig(), "ab") is None


def test_classes_that_are_named_are_taken_or_refused_in_one_line():
    assert chosen([0], 1, "d", "b") == ((1, 3), 2)
    with pytest.raises(ValueError, match=r"^ceiling\.class_names: 'a' is weak itself: name another class, or none$"):
        chosen([0], 1, "b", "a")
    with pytest.raises(ValueError, match=r"^ceiling\.class_names: 'a' has fewer than 4 training images: name"):
        chosen([1], 1, "a")


def test_a_draw_keeps_some_images_and_calls_the_others_unseen():
    rehearsal = draw_rehearsal(TRAIN_IDS, ((2, 4), 3), (1, 2, 5, 9, 20), 3, run_seed=1)
    assert rehearsal.num_more == (1, 2, 5, 9), "class 2 has nine to spare"
    for draw in range(3):
        rows = rehearsal.rows(TRAIN_IDS, draw)
        assert np.bincount(TRAIN_IDS[rows]).tolist() == [3, 12, 3, 5, 3, 60]
        before = set(rows.tolist())
        for num in rehearsal.num_more:
            more = rehearsal.rows(TRAIN_IDS, draw, num)
            assert np.bincount(TRAIN_IDS[more]).tolist() == [3, 12, 3 + num, 5, 3 + num, 60]
            assert before < set(more.tolist()), "a larger number includes a smaller one's"
            before = set(more.tolist())
    assert len({tuple(rehearsal.rows(TRAIN_IDS, draw)) for draw in range(3)}) == 3
    again = draw_rehearsal(TRAIN_IDS, ((2, 4), 3), (1,), 3, run_seed=1)
    assert np.array_equal(again.rows(TRAIN_IDS, 2, 1), rehearsal.rows(TRAIN_IDS, 2, 1))


def test_where_no_number_fits_all_that_is_there_is_used():
    rehearsal = draw_rehearsal(TRAIN_IDS, ((3,), 2), (5, 10), 1, run_seed=0)
    assert rehearsal.num_more == (3,)
