"""A run that goes on in a damaged directory, on real Ray, ends with the numbers that it had, and leaves it whole."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from flowerti.artifacts.run_directory import RunDirectory
from flowerti.pipeline import run_experiment
from flowerti.progress import Event, Info
from flowerti.verification import verify

pytestmark = [pytest.mark.slow, pytest.mark.ray]


def edited(file: Path) -> None:
    """Other numbers in a JSON file that is still one, with its checksum as it was."""
    file.write_text(file.read_text().replace("0.", "0.9", 1).replace(" 1,", " 0,", 1))


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


def one_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))


def zeroed(file: Path) -> None:
    file.write_bytes(bytes(len(file.read_bytes())))


DAMAGES: list[tuple[str, int, Callable[[Path], None]]] = [
    ("data.json", 0, cut),
    ("image_hashes.json", 0, zeroed),
    ("selection.json", 0, Path.unlink),
    ("classifier/report.json", 0, edited),
    ("concepts/*/learned_embeds.safetensors", 0, one_bit),
    ("concepts/*/web/*.safetensors", 1, Path.unlink),
    ("concepts/*/lora.json", 2, cut),
    ("synthetic/*.raw.*.parquet", 2, one_bit),
    ("synthetic/*.token.*.parquet", 3, zeroed),
    ("features/*/real.train.*/*.safetensors", 0, one_bit),
    ("features/*/synthetic.*/*.safetensors", 0, Path.unlink),
    ("scores/validation.json", 0, edited),
    ("sweep/trials/validation.*.json", 0, edited),
    ("sweep/trials/validation.*.json", 3, Path.unlink),
    ("sweep/trials/test.*.json", 1, edited),
    ("sweep/predictions.parquet", 0, cut),
    ("sweep/table.json", 0, edited),
    ("sweep/costs.json", 0, Path.unlink),
    ("summary.json", 0, edited),
    ("report.html", 0, Path.unlink),
    ("figures/*.png", 0, Path.unlink),
    ("files.json", 0, one_bit),
]
"""Pattern of a file, which of those that match, and what is done to it."""
MADE_WITHOUT_A_WORD = ("summary.json", "report.html", "figures/", "sweep/predictions", "sweep/table", "files.json")
"""What every run writes again, whatever is there."""


def test_a_damaged_run_ends_with_the_same_summary(tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "cluster"))
    from tiny_run import tiny_experiment, without_times

    folder, experiment = tmp_path / "of its own" / "run", tiny_experiment(tiny_base)
    run = RunDirectory(str(folder))
    run_experiment(experiment, run)
    before, names = json.loads((folder / "summary.json").read_text()), run.names("")
    assert verify(run).findings == []

    damaged = {sorted(folder.glob(pattern))[place]: damage for pattern, place, damage in DAMAGES}
    for file, damage in damaged.items():
        damage(file)
    swapped = (
        sorted(folder.glob("synthetic/*.alternative_name.*.parquet"))[:2]
        or sorted(folder.glob("synthetic/*.lora.*.parquet"))[:2]
    )
    shutil.copy(swapped[0], swapped[1])
    found = {finding.file for finding in verify(run).findings}
    assert str(swapped[1].relative_to(folder)) in found

    heard: list[Event] = []
    run_experiment(experiment, run, [heard.append])
    told = [event.text for event in heard if isinstance(event, Info) and " is damaged " in event.text]
    for file, damage in damaged.items():
        name = str(file.relative_to(folder))
        if damage is not Path.unlink and not name.startswith(MADE_WITHOUT_A_WORD):
            assert [text for text in told if text.startswith(name)], name
    assert without_times(json.loads((folder / "summary.json").read_text())) == without_times(before)
    # trials on test that were lost are noted as resumed, and count no more than before
    openings = set(run.names("test_openings"))
    assert set(run.names("")) - openings == set(names) - openings
    assert verify(run).findings == []
