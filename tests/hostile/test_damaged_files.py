"""No stage uses a damaged file: each kind of file, damaged in each way, is made anew or refused, told, and found."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from small_run import WEAK, Kind, experiment, key_of_run, kinds, make_run

from flowerti.artifacts import layout
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.cli import main
from flowerti.personalization.store import load_learned
from flowerti.run_place import check_place
from flowerti.verification import verify

SEED, OTHER_SEED = 1, 2
KEY = key_of_run(SEED)


@dataclass(frozen=True, slots=True)
class Damaging:
    """A run to damage, and where content for it comes from."""

    run: RunDirectory
    other: RunDirectory
    """A run with another seed."""

    def rewrite(self, file: str, change: Callable[[bytes], bytes]) -> None:
        self.run.write_bytes(file, change(self.run.read_bytes(file)))


def one_bit(share: float) -> Callable[[Damaging, Kind], None]:
    def change(content: bytes) -> bytes:
        place = int(share * (len(content) - 1))
        return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]

    return lambda damaging, kind: damaging.rewrite(kind.file, change)


def from_another_run(damaging: Damaging, kind: Kind) -> None:
    # a file whose name holds a key or a hash is called otherwise there
    file = kind.file.replace(KEY[:24], key_of_run(OTHER_SEED)[:24])
    if not damaging.other.exists(file):
        (file,) = damaging.other.names(file.rpartition("/")[0])
    damaging.run.write_bytes(kind.file, damaging.other.read_bytes(file))


DELETED, FOREIGN = "deleted", "from another run"
DAMAGES: dict[str, Callable[[Damaging, Kind], None]] = {
    "cut in half": lambda damaging, kind: damaging.rewrite(kind.file, lambda content: content[: len(content) // 2]),
    "without its last byte": lambda damaging, kind: damaging.rewrite(kind.file, lambda content: content[:-1]),
    "emptied": lambda damaging, kind: damaging.rewrite(kind.file, lambda content: b""),
    "zeroed": lambda damaging, kind: damaging.rewrite(kind.file, lambda content: bytes(len(content))),
    **{f"one bit at {share:.0%}": one_bit(share) for share in (0.0, 0.2, 0.5, 0.8, 1.0)},
    "in its twin's place": lambda damaging, kind: damaging.run.write_bytes(
        kind.file, damaging.run.read_bytes(kind.twin)
    ),
    FOREIGN: from_another_run,
    DELETED: lambda damaging, kind: damaging.run.delete(kind.file),
}


HARMLESS = {("plan", "without its last byte"), ("opening", "without its last byte")}
"""A log's hashes are of what its entries say, and a line's end says nothing."""


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folders = tuple(tmp_path_factory.mktemp("runs") / str(seed) for seed in (SEED, OTHER_SEED))
    for folder, seed in zip(folders, (SEED, OTHER_SEED), strict=True):
        make_run(str(folder), seed)
    return folders[0], folders[1]


@pytest.fixture
def damaging(made: tuple[Path, Path], tmp_path: Path) -> Damaging:
    shutil.copytree(made[0], tmp_path / "run")
    return Damaging(RunDirectory(str(tmp_path / "run")), RunDirectory(str(made[1])))


NAMES = [
    "report",
    "splits",
    "selection",
    "trial",
    "timing",
    "shard and another class's",
    "shard and another source's",
    "features",
    "checkpoint",
    "record of a token",
    "token",
    "config",
    "predictions",
    "plan",
    "opening",
]


def test_every_kind_is_used_and_nothing_is_found_where_nothing_is_damaged(damaging: Damaging):
    found = kinds(damaging.run, KEY)
    assert list(found) == NAMES
    for name, kind in found.items():
        assert kind.used(damaging.run, kind.file, KEY), name
    verified = verify(damaging.run)
    assert (verified.findings, verified.has_manifest) == ([], True)


@pytest.mark.parametrize("how", list(DAMAGES))
@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_file_is_not_used_and_is_found(
    name: str, how: str, damaging: Damaging, caplog: pytest.LogCaptureFixture
):
    kind, run = kinds(damaging.run, KEY)[name], damaging.run
    DAMAGES[how](damaging, kind)
    caplog.clear()
    if kind.is_made_anew:
        assert not kind.used(run, kind.file, KEY)
        # a missing file, or one with another key, is no damage to whoever makes it
        if how not in (DELETED, FOREIGN):
            assert [line for line in caplog.messages if line.startswith(f"{kind.file} is damaged")]
        assert all("\n" not in line and len(line) <= 300 for line in caplog.messages)
    elif how not in (DELETED, FOREIGN) and (name, how) not in HARMLESS:
        with pytest.raises(ValueError, match=r".") as caught:
            kind.used(run, kind.file, KEY)
        assert kind.file.rpartition("/")[0] in str(caught.value)
    if (name, how) not in HARMLESS:
        assert kind.file in _found(run) or kind.file.rpartition("/")[0] in _found(run)


def _found(run: RunDirectory) -> list[str]:
    """Files with findings, and folders of logs."""
    return [file for finding in verify(run).findings for file in finding.file.split(", ")]


def test_the_settings_of_another_run_are_refused(damaging: Damaging):
    from_another_run(damaging, kinds(damaging.run, KEY)["config"])
    with pytest.raises(ValueError, match="belongs to a run with another seed"):
        check_place(experiment(SEED), damaging.run)


@pytest.mark.parametrize("how", ["cut in half", "emptied", "zeroed", "one bit at 50%", DELETED])
def test_a_file_for_other_programs_is_written_anew(how: str, damaging: Damaging):
    file, run = layout.learned_file("rose", "web/rose.safetensors"), damaging.run
    before = run.read_bytes(file)
    DAMAGES[how](damaging, Kind(file, file, lambda *_: None))
    assert _found(run) == [file]
    assert load_learned(run, "rose", "textual_inversion", KEY) is not None
    assert run.read_bytes(file) == before
    assert _found(run) == []


REPORT = [layout.SUMMARY, layout.PAGE, layout.figure(f"{WEAK[0]}.png"), layout.MANIFEST]


@pytest.mark.parametrize("how", ["cut in half", "emptied", "zeroed", "one bit at 50%", DELETED, FOREIGN])
@pytest.mark.parametrize("file", REPORT)
def test_a_report_that_is_not_what_was_written_is_found(file: str, how: str, damaging: Damaging):
    DAMAGES[how](damaging, Kind(file, file, lambda *_: None))
    assert file in _found(damaging.run)


def test_verify_tells_a_line_a_finding_and_ends_with_3(damaging: Damaging, capsys: pytest.CaptureFixture[str]):
    assert main(["verify", damaging.run.uri]) == 0
    assert capsys.readouterr().out.endswith("files are as they were written\n")
    shard, trial = layout.shard("rose", "token", 0), layout.trial("validation.real.0.0")
    damaging.rewrite(shard, lambda content: content[:-1])
    damaging.run.delete(trial)
    assert main(["verify", damaging.run.uri]) == 3
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert [line.split(": ")[0] for line in lines[:-1]] == [trial, shard]
    assert lines[-1].startswith("2 findings in ")
    assert captured.err == ""
    assert main(["verify", damaging.run.uri, "--json"]) == 3
    assert f'"file": "{shard}"' in capsys.readouterr().out


def test_verify_of_a_folder_without_a_run_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["verify", str(tmp_path)]) == 2
    assert "no run was started" in capsys.readouterr().err


def test_features_that_are_short_by_rows_are_not_used(damaging: Damaging):
    from safetensors.numpy import load, save

    kind = kinds(damaging.run, KEY)["features"]
    features = load(damaging.run.read_bytes(kind.file))["features"]
    damaging.run.write_bytes(kind.file, save({"features": features[:-1]}))
    assert not kind.used(damaging.run, kind.file, KEY)
