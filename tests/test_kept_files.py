"""What no file under version control may hold: paths of one machine, package indexes, open tasks."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT_SUFFIXES = {".py", ".md", ".toml", ".txt", ".yaml", ".yml", ".json", ".j2", ".cfg", ".ini", ".sh", ".html", ""}


def kept_text_files() -> list[Path]:
    """Files that are, or would be, under version control, as far as they are text."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs git and a check-out")
    paths = [ROOT / name for name in listed.split("\0") if name]
    return [p for p in paths if p.suffix in TEXT_SUFFIXES and p.is_file() and p.stat().st_size < 5_000_000]


# Spelt in pieces, because this file is looked at as well. The home of Ray's own images is no one's machine.
HOMES = [rf"/{'home'}/(?!ray\b)\w", rf"/{'Users'}/\w", rf"/{'root'}/\w", rf"/{'work'}/\w"]
INDEXES = ["index" + "-url", "index" + "_url", "find" + "-links", r"https?://[^\s/]+/(?:[^\s/]+/)*" + "simple" + r"\b"]


def found_in_kept_files(patterns: list[str], *, leave_out: str = "") -> list[str]:
    pattern = re.compile("|".join(patterns))
    found = []
    for path in kept_text_files():
        if leave_out and path.is_relative_to(ROOT / leave_out):
            continue
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        found += [f"{path.relative_to(ROOT)}:{i}" for i, line in enumerate(lines, start=1) if pattern.search(line)]
    return found


def test_the_kept_files_are_found():
    names = {p.relative_to(ROOT).as_posix() for p in kept_text_files()}
    assert {"pyproject.toml", "flowerti/config/experiment.py", "tests/test_architecture.py"} <= names


def test_no_kept_file_names_a_folder_of_this_machine():
    assert found_in_kept_files([*HOMES, re.escape(str(ROOT)) + r"\b"]) == []


def test_no_kept_file_names_a_package_index():
    configured = [os.environ.get(name, "") for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "UV_INDEX_URL")]
    hosts = [re.escape(url.split("/")[2].rpartition("@")[2]) for url in configured if url.count("/") > 2]
    assert found_in_kept_files([*INDEXES, *hosts]) == []


def test_nothing_is_left_to_do():
    words = [r"\b" + "TO" + r"DO\b", r"\b" + "FIX" + r"ME\b", r"\b" + "X" + r"XX\b"]
    # a report holds its images as letters, in which any word may stand
    assert found_in_kept_files(words, leave_out="results") == []
