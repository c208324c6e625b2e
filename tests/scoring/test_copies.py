"""Copies and near duplicates: planted ones of every kind are found, on drawn shapes and on real flowers."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from flowerti.config.presets import flowers102_64
from flowerti.data.access import list_records, read_images
from flowerti.data.aligned_thumbnails import aligned_thumbnails
from flowerti.data.dataset import Record
from flowerti.data.thumbnails import CORRELATION_LIMIT, thumbnails
from flowerti.scoring.alignment import COPY_LIMIT
from flowerti.scoring.copies import (
    SIMILARITY_QUANTILE,
    Images,
    SyntheticSet,
    check_copies,
    copied_from,
    held_out_similarities,
    near_duplicates,
)


def _resized(image: np.ndarray, size_px: int) -> np.ndarray:
    small = Image.fromarray(image).resize((size_px, size_px), Image.Resampling.BICUBIC)
    return np.asarray(small.resize(image.shape[1::-1], Image.Resampling.BICUBIC))


def _as_jpeg(image: np.ndarray, quality: int = 75) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


COPIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "plain": lambda p: p,
    "mirrored": lambda p: p[:, ::-1],
    "jpeg": _as_jpeg,
    "mirrored jpeg": lambda p: _as_jpeg(p[:, ::-1]),
    "resized": lambda p: _resized(p, 7 * len(p) // 8),
    "mirrored and resized": lambda p: _resized(np.ascontiguousarray(p[:, ::-1]), 7 * len(p) // 8),
}


def _shapes(num: int, seed: int, size_px: int = 48) -> np.ndarray:
    """Images of random bright discs on a dark ground."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size_px, :size_px] / size_px
    images = np.full((num, size_px, size_px, 3), 40.0)
    for image in images:
        for _ in range(12):
            (cx, cy), radius = rng.uniform(0, 1, 2), rng.uniform(0.05, 0.2)
            image[(x - cx) ** 2 + (y - cy) ** 2 < radius**2] = rng.uniform(0, 255, 3)
    return images.astype(np.uint8)


def _features(images: np.ndarray) -> np.ndarray:
    """Stand-in of a network: fixed random projections of pixels."""
    projection = np.random.default_rng(0).normal(size=(images[0].size, 24))
    return (images.reshape(len(images), -1) / 255 @ projection).astype(np.float32)


def _images(images: np.ndarray, name: str, mirrored: bool = False) -> Images:
    views = [_features(images)] + ([_features(images[:, :, ::-1])] if mirrored else [])
    ids = [f"{name}/{i}" for i in range(len(images))]
    return Images(ids=ids, features=np.stack(views, axis=1), thumbnails=aligned_thumbnails(images))


@pytest.fixture(scope="module")
def shapes():
    train, held_out = _shapes(10, 1), _shapes(30, 2)
    return train, _images(train, "train", mirrored=True), _images(held_out, "held out")


@pytest.mark.parametrize(("height", "width"), [(64, 64), (50, 37), (16, 16), (200, 100)])
def test_thumbnails_are_means_over_cells(height, width):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    # every pixel cut into 16 x 16 equal parts: then each cell holds whole parts only
    fine = np.repeat(np.repeat(image / 255, 16, axis=0), 16, axis=1)
    expected = fine.reshape(16, height, 16, width, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(thumbnails(image[None]).reshape(16, 16, 3), expected, atol=1e-6)


def test_a_checkerboard_finer_than_the_cells_becomes_grey():
    board = np.indices((64, 64)).sum(axis=0) % 2 * 255
    image = np.repeat(board[..., None], 3, axis=2).astype(np.uint8)
    np.testing.assert_allclose(thumbnails(image[None]), 0.5, atol=1e-6)


def _set(images: Images) -> SyntheticSet:
    return SyntheticSet(class_name="ball moss", source="token", extractor="net", images=images)


def _check(shapes, synthetic: np.ndarray, **settings):
    _, train, held_out = shapes
    baseline = {"ball moss": held_out_similarities("ball moss", train, held_out)}
    return check_copies(_set(_images(synthetic, "new")), train, copied_from(train), baseline, **settings)


@pytest.mark.parametrize("kind", COPIES)
def test_every_kind_of_copy_is_found_and_named(shapes, kind):
    train, others = shapes[0], _shapes(6, 3)
    planted = np.stack([COPIES[kind](train[i]) for i in (7, 0, 4)])
    check = _check(shapes, np.concatenate([others, planted]))
    found = {pair.image: pair for pair in check.copies}
    assert {name: pair.train_id for name, pair in found.items()} == {
        "new/6": "train/7",
        "new/7": "train/0",
        "new/8": "train/4",
    }
    assert {pair.is_mirrored for pair in check.copies} == {"mirrored" in kind}
    assert min(pair.pixel_correlation for pair in check.copies) > check.correlation_limit == COPY_LIMIT
    assert (check.num_images, check.num_compared) == (9, 10)


def test_copies_of_another_class_are_found_and_the_nearest_are_of_the_own_class(shapes):
    _, train, held_out = shapes
    others = _shapes(5, 8)
    everything = Images(
        ids=train.ids + [f"rose/{i}" for i in range(5)],
        features=np.concatenate([train.features, _images(others, "rose", mirrored=True).features]),
        thumbnails=np.concatenate([train.thumbnails, aligned_thumbnails(others)]),
    )
    drawn = _images(np.concatenate([_shapes(4, 9), others[3:4, :, ::-1]]), "new")
    baseline = {"ball moss": held_out_similarities("ball moss", train, held_out)}
    check = check_copies(_set(drawn), train, copied_from(everything), baseline)
    (copy,) = check.copies
    assert (copy.image, copy.train_id, copy.is_mirrored) == ("new/4", "rose/3", True)
    assert copy.similarity == pytest.approx(1, abs=1e-5)
    assert all(pair.train_id in train.ids for pair in check.closest if pair != copy)
    assert check.num_compared == 15


def test_where_no_held_out_image_is_new_limit_and_p_value_are_not_known(shapes):
    _, train, _ = shapes
    baseline = {"ball moss": held_out_similarities("ball moss", train, train)}
    assert len(baseline["ball moss"]) == 0
    check = check_copies(_set(_images(_shapes(3, 9), "new")), train, copied_from(train), baseline)
    assert (check.similarity_limit, check.p_value, len(check.closest)) == (None, None, 3)


def test_held_out_images_are_no_copies(shapes):
    check = _check(shapes, _shapes(200, 4))
    assert check.copies == []
    assert check.p_value > 0.001


def test_closest_pairs_are_the_highest_cosines_over_both_views(shapes):
    synthetic = _shapes(9, 5)
    check = _check(shapes, synthetic, num_closest=4)
    expected = {}
    for i, features in enumerate(_features(synthetic).astype(float)):
        for j, views in enumerate(shapes[1].features.astype(float)):
            for is_mirrored, view in enumerate(views):
                cosine = features @ view / np.linalg.norm(features) / np.linalg.norm(view)
                expected[cosine] = (f"new/{i}", f"train/{j}", bool(is_mirrored))
    best_of: dict[str, tuple[float, tuple[str, str, bool]]] = {}
    for cosine, names in expected.items():
        if cosine > best_of.get(names[0], (-2.0, names))[0]:
            best_of[names[0]] = (cosine, names)
    ranking = sorted(best_of.values(), reverse=True)[:4]
    assert [(p.image, p.train_id, p.is_mirrored) for p in check.closest] == [names for _, names in ranking]
    np.testing.assert_allclose([p.similarity for p in check.closest], [cosine for cosine, _ in ranking])


def test_similarity_limit_pools_all_classes_and_the_p_value_takes_the_own_class(shapes):
    _, train, held_out = shapes
    own = held_out_similarities("ball moss", train, held_out)
    synthetic, originals = _set(_images(_shapes(9, 5), "new")), copied_from(train)
    far = np.full(1000, 0.999)
    check = check_copies(synthetic, train, originals, {"ball moss": own, "rose": far})
    alone = check_copies(synthetic, train, originals, {"ball moss": own})
    assert alone.similarity_limit == pytest.approx(np.quantile(own, SIMILARITY_QUANTILE))
    assert check.similarity_limit == pytest.approx(0.999)
    assert check.p_value == alone.p_value


def test_p_value_is_the_share_of_orderings_that_are_as_extreme(shapes):
    # saved as JPEG, so that no two cosines are equal
    check = _check(shapes, np.stack([_as_jpeg(image) for image in shapes[0][:3]]))
    # three copies above all thirty held-out images: one of 33 choose 3 orderings
    assert check.p_value == pytest.approx(6 / (33 * 32 * 31))


def test_near_duplicates_do_not_raise_the_held_out_similarities(shapes):
    train_images, train, held_out = shapes
    leaked = _images(np.concatenate([_shapes(30, 2), train_images[:2, :, ::-1]]), "held out")
    expected = held_out_similarities("ball moss", train, held_out)
    np.testing.assert_array_equal(held_out_similarities("ball moss", train, leaked), expected)


def _records(num: int, split_of: dict[int, str]) -> list[Record]:
    return [Record(f"p{i}", i % 2, split_of.get(i, "train"), f"p{i}.png") for i in range(num)]  # type: ignore[arg-type]


def test_near_duplicates_across_splits_only_and_each_once():
    images = _shapes(12, 6)
    images[5] = _as_jpeg(images[0])  # train, test
    images[7] = images[1][:, ::-1]  # train, validation
    images[9] = images[2]  # both train
    images[11] = images[4]  # train, test: byte for byte
    records = _records(12, {5: "test", 7: "validation", 11: "test"})
    found = near_duplicates(records, ["a", "b"], thumbnails(images), [["p4", "p11"]])
    assert [(d.first_id, d.second_id, d.is_identical, d.is_mirrored) for d in found] == [
        ("p4", "p11", True, False),
        ("p1", "p7", False, True),
        ("p0", "p5", False, False),
    ]
    last = found[-1]
    assert (last.first_split, last.first_class, last.second_split, last.second_class) == ("train", "a", "test", "b")
    assert all(CORRELATION_LIMIT < d.pixel_correlation <= 1 for d in found)


def test_byte_identical_images_of_one_colour_are_named_and_other_flat_ones_are_not():
    images = np.full((4, 20, 20, 3), 90, np.uint8)
    records = _records(4, {1: "test", 2: "validation", 3: "test"})
    found = near_duplicates(records, ["a", "b"], thumbnails(images), [["p1", "p2"]])
    assert [(d.first_id, d.second_id, d.is_identical) for d in found] == [("p2", "p1", True)]


def test_brightness_and_colour_cast_do_not_hide_a_copy_and_do_not_make_one():
    images = _shapes(8, 7)
    darker = (images[0] * [0.6, 0.7, 0.6]).astype(np.uint8)
    tinted = np.clip(images[1:] + np.array([70, 0, 0]), 0, 255).astype(np.uint8)
    records = _records(9, dict.fromkeys(range(8), "train") | {8: "test"})
    found = near_duplicates(records, ["a", "b"], thumbnails(np.concatenate([images[:1], tinted, darker[None]])))
    assert [(d.first_id, d.second_id) for d in found] == [("p0", "p8")]


def test_errors_name_class_and_source(shapes):
    train_images, train, _ = shapes
    good, baseline = _images(train_images, "new"), {"ball moss": np.array([0.5, 0.6])}

    def check(synthetic=good, held_out=baseline):
        return check_copies(_set(synthetic), train, copied_from(train), held_out)

    def changed(**fields):
        return Images(**{"ids": good.ids, "features": good.features, "thumbnails": good.thumbnails} | fields)

    where = "^class 'ball moss', source 'token': "
    with pytest.raises(ValueError, match=where + ".*width 5"):
        check(changed(features=good.features[:, :, :5]))
    with pytest.raises(ValueError, match=where + "features hold NaN"):
        check(changed(features=good.features * np.float32("nan")))
    with pytest.raises(ValueError, match=where + "thumbnails hold NaN"):
        check(changed(thumbnails=good.thumbnails * np.float32("nan")))
    with pytest.raises(ValueError, match=where + "10 feature rows for 2"):
        check(changed(ids=["a", "b"]))
    with pytest.raises(ValueError, match=where + "no held-out similarities"):
        check(held_out={"rose": np.array([0.5])})
    with pytest.raises(ValueError, match=r"^images that may be copied: thumbnails of shape \(10, 768\)"):
        copied_from(changed(thumbnails=thumbnails(train_images)))
    with pytest.raises(ValueError, match=r"^class 'rose', held-out images: features hold NaN"):
        held_out_similarities("rose", train, changed(features=good.features * np.float32("nan")))
    with pytest.raises(ValueError, match="'nobody'"):
        near_duplicates(_records(10, {0: "test"}), ["a", "b"], thumbnails(train_images), [["p0", "nobody"]])
    with pytest.raises(ValueError, match=r"thumbnails of shape \(10, 768\) for 3"):
        near_duplicates(_records(3, {}), ["a", "b"], thumbnails(train_images))


@pytest.fixture(scope="module")
def flowers(shared_root):
    root = shared_root / "data" / "flowers102-64"
    if not root.is_dir():
        pytest.skip(f"{root} is absent")
    config = flowers102_64().data
    dataset = list_records(type(config)(kind="flowers102", root=str(root), show_images=False), seed=0)
    images = np.concatenate(
        [read_images([r.address for r in dataset.records[i : i + 512]], 64) for i in range(0, 8189, 512)]
    )
    return dataset, images


def test_near_duplicates_of_oxford_102(flowers):
    dataset, images = flowers
    flat = np.concatenate([thumbnails(images[i : i + 512]) for i in range(0, len(images), 512)])
    straddling = [["image_07015.jpg", "image_07040.jpg"], ["image_07307.jpg", "image_07309.jpg"]]
    straddling.append(["image_08067.jpg", "image_08077.jpg"])
    found = near_duplicates(dataset.records, dataset.class_names, flat, straddling)
    identical = [{d.first_id, d.second_id} for d in found if d.is_identical]
    assert sorted(identical, key=min) == [set(pair) for pair in straddling]
    assert all(d.pixel_correlation > 0.9999 for d in found if d.is_identical)
    # looked at by eye: the same photograph, or the next one of a series; no class was told to the search
    assert {frozenset(int(name[6:11]) for name in (d.first_id, d.second_id)) for d in found if not d.is_identical} == {
        frozenset(pair) for pair in ((7029, 8080), (1929, 1959), (1835, 1858), (4076, 4021), (1234, 1191), (5958, 5998))
    }
    assert all(d.first_class == d.second_class for d in found)
