"""Copies planted in images that nobody chose are found, and different images are not called copies."""

import numpy as np
import pytest
from PIL import Image, ImageChops, ImageOps

from flowerti.config.presets import demo, flowers102_64
from flowerti.data.access import list_records, read_images
from flowerti.metrics.wilson import wilson_interval
from flowerti.scoring.copy_sensitivity import CHANGES, copy_sensitivity, false_copies

LEAST_FOUND, MOST_FALSE = 0.95, 1e-5


@pytest.fixture(scope="module")
def herbarium():
    """Four drawn images of each species: none that the limits were chosen on."""
    records = list_records(demo().data, seed=11).records
    chosen = [r.address for r in records if r.split == "test" and r.id.rsplit("/", 1)[1] in ("0", "1", "2", "3")]
    return read_images(chosen, 64)


@pytest.fixture(scope="module")
def flowers(shared_root):
    root = shared_root / "data" / "flowers102-64"
    if not root.is_dir():
        pytest.skip(f"{root} is absent")
    config = flowers102_64().data
    records = list_records(type(config)(kind="flowers102", root=str(root), show_images=False), seed=0).records
    chosen = np.random.default_rng(5).choice(len(records), 600, replace=False)
    return read_images([records[i].address for i in chosen], 64), [records[i].id for i in chosen]


def test_changes_are_what_their_names_say():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    pillow = Image.fromarray(image)
    assert np.array_equal(CHANGES["mirror"](image), np.asarray(ImageOps.mirror(pillow)))
    moved = np.asarray(ImageChops.offset(pillow, -4, 4))
    assert np.array_equal(CHANGES["shift 4 px"](image)[4:, :-4], moved[4:, :-4])
    turned = CHANGES["rotation 10 degrees"](image)
    assert (turned[0, 0] == 0).all() and (turned[32, 32] > 0).any()
    grey = CHANGES["grey"](image)
    assert (grey[..., 0] == grey[..., 1]).all() and (grey[..., 0] == grey[..., 2]).all()
    # what lies 12 % of 64 px from each border fills the image: the middle stays, the rest moves out from it
    ramp = np.repeat(np.arange(64, dtype=np.uint8)[None, :, None] * 4, 64, axis=0).repeat(3, axis=2)
    wide = CHANGES["crop 12 %"](ramp).astype(float)
    inner = 0.12 * 64 + (np.arange(64) + 0.5) * 0.76 - 0.5
    np.testing.assert_allclose(wide[32, 4:-4, 0], 4 * inner[4:-4], atol=1.5)
    red = np.full((8, 8, 3), (200, 40, 40), np.uint8)
    np.testing.assert_allclose(CHANGES["hue +0.5"](red)[0, 0], (40, 200, 200), atol=4)


def test_found_copies_are_counted_with_their_interval(herbarium):
    nothing_left = {"all black": np.zeros_like, "none": lambda image: image}
    black, same = copy_sensitivity(herbarium[:5], nothing_left)
    assert (black.kind, black.num_found, black.share) == ("all black", 0, 0)
    assert (same.num_images, same.num_found, same.share) == (5, 5, 1)
    assert (same.low, same.high) == wilson_interval(5, 5)


def test_every_kind_is_found_in_drawn_images(herbarium):
    shares = {found.kind: found.share for found in copy_sensitivity(herbarium)}
    assert list(shares) == list(CHANGES)
    assert {kind: share for kind, share in shares.items() if share < LEAST_FOUND} == {}


def test_different_drawn_images_are_not_called_copies(herbarium):
    found = false_copies(herbarium)
    assert (found.pairs, found.num_pairs, found.num_known) == ([], 56 * 55 // 2, 0)


def test_planted_pairs_are_counted_and_known_ones_left_out(herbarium):
    shifted = np.stack([CHANGES["shift 4 px"](image) for image in herbarium[:2]])
    images = np.concatenate([herbarium[:10], shifted, herbarium[:1]])
    found = false_copies(images, known=[(11, 1)])
    # the last image is the first one to the byte, and its shifted copy is found from both
    assert [pair[:2] for pair in sorted(found.pairs)] == [(0, 10), (10, 12)]
    assert (found.num_pairs, found.num_known) == (13 * 12 // 2 - 2, 2)


def test_every_kind_is_found_in_photographs(flowers):
    shares = {found.kind: found.share for found in copy_sensitivity(flowers[0][:100])}
    assert {kind: share for kind, share in shares.items() if share < LEAST_FOUND} == {}


def test_different_photographs_are_not_called_copies(flowers):
    images, ids = flowers
    # looked at by eye: one photograph cropped twice, and two of one series
    same = [("image_06368.jpg", "image_06389.jpg"), ("image_02669.jpg", "image_02670.jpg")]
    found = false_copies(images, known=[(ids.index(first), ids.index(second)) for first, second in same])
    assert len(found.pairs) <= MOST_FALSE * found.num_pairs
    assert found.num_known >= len(same)
    assert {tuple(sorted((ids[i], ids[j]))) for i, j, _ in false_copies(images).pairs} == set(same)
