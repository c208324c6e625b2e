"""Rehearsal classes and their draws by hand."""

import numpy as np
import pytest

from flowerti.ceiling.rehearsal import choose_rehearsal, draw_rehearsal

TRAIN_IDS = np.repeat([0, 1, 2, 3, 4], [3, 12, 12, 5, 30])
F1 = {0: 0.1, 1: 0.7, 2: 0.9, 3: 0.95, 4: 0.5}


def test_classes_with_images_to_spare_are_cut_down_to_the_weak_ones_count():
    assert choose_rehearsal(TRAIN_IDS, F1, [0], 1) == ((4,), 3)
    assert choose_rehearsal(TRAIN_IDS, F1, [0], 2) == ((2, 4), 3), "of equals the one that is recognised better"
    assert choose_rehearsal(TRAIN_IDS, F1, [0], 4) == ((1, 2, 3, 4), 2), "half of class 3's five"
    assert choose_rehearsal(TRAIN_IDS, F1, [1, 2], 1) == ((4,), 12)


def test_too_few_classes_are_refused_in_one_line():
    with pytest.raises(
        ValueError, match=r"^ceiling\.num_classes: 4 classes that are not weak have 4 .* not 5: ask for"
    ):
        choose_rehearsal(TRAIN_IDS, F1, [0], 5)


def test_a_draw_keeps_some_images_and_calls_the_others_unseen():
    rehearsal = draw_rehearsal(TRAIN_IDS, ((2, 4), 3), (1, 2, 5, 9, 20), 3, run_seed=1)
    assert rehearsal.num_more == (1, 2, 5, 9), "class 2 has nine to spare"
    for draw in range(3):
        rows = rehearsal.rows(TRAIN_IDS, draw)
        assert np.bincount(TRAIN_IDS[rows]).tolist() == [3, 12, 3, 5, 3]
        before = set(rows.tolist())
        for num in rehearsal.num_more:
            more = rehearsal.rows(TRAIN_IDS, draw, num)
            assert np.bincount(TRAIN_IDS[more]).tolist() == [3, 12, 3 + num, 5, 3 + num]
            assert before < set(more.tolist()), "a larger number includes a smaller one's"
            before = set(more.tolist())
    assert len({tuple(rehearsal.rows(TRAIN_IDS, draw)) for draw in range(3)}) == 3
    again = draw_rehearsal(TRAIN_IDS, ((2, 4), 3), (1,), 3, run_seed=1)
    assert np.array_equal(again.rows(TRAIN_IDS, 2, 1), rehearsal.rows(TRAIN_IDS, 2, 1))


def test_where_no_number_fits_all_that_is_there_is_used():
    rehearsal = draw_rehearsal(TRAIN_IDS, ((3,), 2), (5, 10), 1, run_seed=0)
    assert rehearsal.num_more == (3,)
