"""Which files are images: by suffix, by content where the suffix says nothing, and never by opening a pipe."""

import os
from pathlib import Path

import pytest
from noise_folder import save_noise
from PIL import Image

from flowerti.data.sources.folder_tree import read_folder
from flowerti.data.sources.image_files import is_foreign, is_hidden, is_image


@pytest.mark.parametrize("suffix", "jpg jpeg jpe jfif png apng bmp dib webp gif tif tiff avif ppm pgm jp2 tga".split())
def test_suffixes_of_images_are_known_in_any_case(tmp_path: Path, suffix: str):
    for name in (f"a.{suffix}", f"a.{suffix.upper()}"):
        (tmp_path / name).write_bytes(b"whatever it holds")
        assert is_image(tmp_path / name)


@pytest.mark.parametrize("name", ["photo", "photo.jpg_large", "photo.0", "photo.txt"])
def test_content_counts_where_the_suffix_is_no_images(tmp_path: Path, name: str):
    save_noise(tmp_path / "x.png", 1)
    (tmp_path / "x.png").rename(tmp_path / name)
    assert is_image(tmp_path / name)
    (tmp_path / name).write_text("text")
    assert not is_image(tmp_path / name)


@pytest.mark.parametrize("suffix", ["heic", "NEF", "dng", "svg", "mp4", "pdf", "eps"])
def test_formats_that_cannot_be_opened_are_no_images_whatever_they_hold(tmp_path: Path, suffix: str):
    file = tmp_path / f"a.{suffix}"
    Image.new("RGB", (8, 8)).save(file, "TIFF")  # as the preview in a raw photograph
    assert is_foreign(file)
    assert not is_image(file)


@pytest.mark.parametrize(
    "name", [".git", "._a.jpg", ".ipynb_checkpoints", "__MACOSX", "@eaDir", "Thumbs.db", "desktop.ini", "~$a.doc"]
)
def test_what_systems_leave_is_hidden(name: str):
    assert is_hidden(name)


@pytest.mark.parametrize("name", ["a.jpg", "_a", "@home", "rose", "db"])
def test_what_people_name_is_not(name: str):
    assert not is_hidden(name)


def test_a_pipe_is_told_and_not_opened(tmp_path: Path):
    os.mkfifo(tmp_path / "a.jpg")
    os.mkfifo(tmp_path / "b")
    found = read_folder(tmp_path)
    assert found.images == ()
    assert found.others == (("pipe or device", tmp_path / "a.jpg"), ("pipe or device", tmp_path / "b"))


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "rose").mkdir()
    real = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "rose":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ValueError, match=r"^data\.root: .*rose cannot be listed \(Permission denied\): permit it, or"):
        read_folder(tmp_path)
