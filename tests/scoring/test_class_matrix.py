"""Distances to all classes: the same numbers as one call for each pair, ranks, sizes, errors by name, and its cost."""

import numpy as np
import pytest

from flowerti.artifacts.identity import seed_for
from flowerti.metrics.frechet import frechet_distance
from flowerti.metrics.kernel import kernel_distance
from flowerti.scoring.class_matrix import class_matrix

NAMES = ("rose", "lily", "iris", "poppy")


def _features(num, centre, seed, dim=12):
    return np.random.default_rng(seed).normal(centre, 1, (num, dim)).astype(np.float32)


def _real(sizes=(9, 7, 12, 8)):
    return {name: _features(num, 2 * i, i) for i, (name, num) in enumerate(zip(NAMES, sizes, strict=True))}


SETS = {
    ("lily", "token"): _features(11, 2.2, 20),
    ("lily", "real"): _features(10, 2, 21),
    ("poppy", "raw"): _features(15, 3.6, 22),
}


def _row(rows, class_name, source, metric):
    (found,) = [r for r in rows if (r.class_name, r.source, r.metric) == (class_name, source, metric)]
    return found


def test_kernel_values_are_those_of_single_calls_on_all_images():
    real = _real()
    rows, notes = class_matrix(SETS, real, NAMES, "net", seed=0)
    assert notes == []
    assert len(rows) == 6
    for (class_name, source), features in SETS.items():
        row = _row(rows, class_name, source, "kernel")
        expected = [kernel_distance(real[name], features) for name in NAMES]
        np.testing.assert_allclose(row.values, expected, rtol=1e-9, atol=1e-9)
        assert row.num_real == [9, 7, 12, 8]
        assert (row.num_synthetic, row.extractor) == (len(features), "net")


def test_frechet_values_are_those_of_single_calls_at_one_size():
    real = _real()

    def cut(features, class_name, source):
        rng = np.random.default_rng(seed_for(5, class_name, f"class_matrix/{source}", 0))
        return features[rng.permutation(len(features))[:7]]

    rows, _ = class_matrix(SETS, real, NAMES, "net", seed=5)
    for key, features in SETS.items():
        row = _row(rows, *key, "frechet")
        chosen = cut(features, *key)
        expected = [frechet_distance(cut(real[name], name, "held_out"), chosen) for name in NAMES]
        np.testing.assert_allclose(row.values, expected, rtol=1e-9, atol=1e-9)
        assert row.num_real == [7] * 4
        assert row.num_synthetic == 7


@pytest.mark.parametrize("metric", ["kernel", "frechet"])
def test_rank_and_nearest_class(metric):
    rows, _ = class_matrix(SETS, _real(), NAMES, "net", seed=0)
    token = _row(rows, "lily", "token", metric)
    assert (token.rank, token.nearest) == (1, "lily")
    raw = _row(rows, "poppy", "raw", metric)
    # centred at 3.6, next to the iris at 4 and far from the poppy at 6
    assert raw.nearest == "iris"
    assert raw.rank == 1 + sorted(raw.values).index(raw.values[3]) > 1


def test_a_class_with_too_few_images_has_no_value_and_takes_no_part():
    rows, notes = class_matrix(SETS, _real((9, 7, 3, 8)), NAMES, "net", seed=0)
    assert len(notes) == 1
    assert notes[0].startswith("iris: 3 held-out real image(s)")
    for metric in ("kernel", "frechet"):
        raw = _row(rows, "poppy", "raw", metric)
        assert raw.values[2] is None
        assert raw.num_real[2] == 0
        assert raw.nearest == "lily"
        assert raw.rank == 1 + sorted(v for v in raw.values if v is not None).index(raw.values[3])
    rows, notes = class_matrix(SETS, _real((9, 3, 8, 8)), NAMES, "net", seed=0)
    assert {row.class_name for row in rows} == {"poppy"}
    assert len(notes) == 1


def test_order_of_classes_and_sets_does_not_matter():
    real = _real()
    first, _ = class_matrix(SETS, real, NAMES, "net", seed=3)
    again, _ = class_matrix(dict(reversed(SETS.items())), real, NAMES[::-1], "net", seed=3)
    for key in SETS:
        for metric in ("kernel", "frechet"):
            one, two = _row(first, *key, metric), _row(again, *key, metric)
            np.testing.assert_allclose(one.values, two.values[::-1], rtol=1e-12)
            assert (one.rank, one.nearest) == (two.rank, two.nearest)
    assert class_matrix({}, real, NAMES, "net", seed=3) == ([], [])


@pytest.mark.parametrize(
    ("sets", "real", "message"),
    [
        ({("fern", "raw"): _features(5, 0, 1)}, {}, "class 'fern', source 'raw'.* not among"),
        ({("lily", "raw"): _features(1, 0, 1)}, {}, "class 'lily', source 'raw': 1 image"),
        ({("lily", "raw"): _features(5, 0, 1) * np.nan}, {}, "class 'lily', source 'raw'.* NaN"),
        ({("lily", "raw"): np.ones((5, 12), np.float32)}, {}, "class 'lily', source 'raw'.* equal"),
        ({}, {"iris": _features(5, 0, 1, dim=4)}, "class 'iris', held-out real images.* width 4"),
        ({}, {"iris": np.ones((5, 12), np.float32)}, "class 'iris', held-out real images.* equal"),
        ({}, {"iris": None}, "class 'iris': no held-out"),
    ],
)
def test_errors_name_class_and_source(sets, real, message):
    everything = {name: features for name, features in (_real() | real).items() if features is not None}
    with pytest.raises(ValueError, match=f"^{message}"):
        class_matrix(SETS | sets, everything, NAMES, "net", seed=0)
