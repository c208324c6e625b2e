"""Stored features: what is written comes back in the order of the images, damage is named."""

import numpy as np
import pytest

from flowerti.artifacts.run_directory import RunDirectory
from flowerti.features.files import StoredFeatures, feature_file, write_features

KEY = "0123456789abcdef" * 4


@pytest.fixture
def run(tmp_path) -> RunDirectory:
    return RunDirectory(str(tmp_path))


def test_files_are_joined_in_the_order_given(run: RunDirectory):
    features = np.random.default_rng(0).standard_normal((7, 2, 5)).astype(np.float32)
    files = []
    for begin in (0, 3, 6):
        files.append(feature_file("features/net-64/set", KEY, begin))
        write_features(run, files[-1], features[begin : begin + 3])
    assert sorted(files) == files
    read = StoredFeatures(files=tuple(files)).read(run)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, features)


def test_some_rows_are_read_from_the_files_that_hold_them(run: RunDirectory):
    features = np.random.default_rng(0).standard_normal((7, 2, 5)).astype(np.float32)
    files = [feature_file("features/net-64/set", KEY, begin) for begin in (0, 3, 6)]
    for file, begin in zip(files, (0, 3, 6), strict=True):
        write_features(run, file, features[begin : begin + 3])
    stored = StoredFeatures(files=tuple(files))
    run.delete(files[1])
    some = stored.of_rows([0, 2, 6])
    assert some.files == (files[0], files[2])
    np.testing.assert_array_equal(some.read(run), features[[0, 2, 6]])
    write_features(run, "net/train.0", features)
    np.testing.assert_array_equal(StoredFeatures(files=("net/train.0",)).of_rows([3, 4]).read(run), features[3:5])
    with pytest.raises(ValueError, match="is missing or damaged"):
        stored.of_rows([3]).read(run)


def test_views_that_do_not_lie_in_order_in_memory_are_written_as_they_look(run: RunDirectory):
    features = np.arange(12, dtype=np.float32).reshape(2, 2, 3).transpose(1, 0, 2)
    write_features(run, "a.safetensors", features)
    np.testing.assert_array_equal(StoredFeatures(files=("a.safetensors",)).read(run), features)


def test_another_key_is_another_file():
    assert feature_file("f", KEY, 0) != feature_file("f", KEY[::-1], 0)


@pytest.mark.parametrize("content", [None, b"", b"no tensors"])
def test_a_file_that_is_missing_or_damaged_is_named(run: RunDirectory, content: bytes | None):
    if content is not None:
        run.write_bytes("features/a.safetensors", content)
    with pytest.raises(ValueError, match=r"features/a\.safetensors is missing or damaged"):
        StoredFeatures(files=("features/a.safetensors",)).read(run)
