"""Examples: the same wherever blocks are cut."""

import numpy as np
from tiny_base import CONFIG

from pretraining.examples import draw_examples


def test_examples_do_not_depend_on_blocks(examples):
    blocks = [draw_examples(CONFIG, 0, 5), draw_examples(CONFIG, 5, 12)]
    assert np.array_equal(np.concatenate([block.images for block in blocks]), examples.images[:12])
    captions = [group for block in blocks for group in block.captions]
    assert captions == examples.captions[:12]
    assert {len(group) for group in captions} == {CONFIG.captions_per_image}
