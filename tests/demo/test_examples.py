"""Examples: the same wherever blocks are cut."""

import numpy as np
from tiny_base import CONFIG

from flowerti.demo.examples import draw_examples, join_examples


def test_examples_do_not_depend_on_blocks(examples):
    blocks = [draw_examples(CONFIG, 0, 5), draw_examples(CONFIG, 5, 12)]
    joined = join_examples(blocks)
    assert np.array_equal(joined.pictures, examples.pictures[:12])
    assert joined.captions == examples.captions[:12]
    assert {len(group) for group in joined.captions} == {CONFIG.captions_per_picture}
