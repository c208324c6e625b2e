"""The command line: what it answers, what it refuses, and that help needs no heavy package."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flowerti import cli
from flowerti.artifacts.run_directory import RunDirectory
from flowerti.commands.run_help import CHANGED_OFTEN
from flowerti.config.experiment import Experiment, to_json
from flowerti.config.presets import PRESETS, demo, flowers102
from flowerti.progress import Listener, Progress

HEAVY = ("torch", "torchvision", "diffusers", "ray", "transformers", "matplotlib", "pyarrow", "scipy", "numpy")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["run", "--help"],
        ["export", "--help"],
        ["presets"],
        ["--version"],
        ["run", "--nope"],
        ["run"],
        ["check", "--help"],
    ],
)
def test_answers_need_no_heavy_package(arguments: list[str]):
    code = (
        "import contextlib, io, sys\n"
        "from flowerti.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:\n"
        "    try:\n"
        f"        main({arguments!r})\n"
        "    except SystemExit:\n"
        "        pass\n"
        "assert out.getvalue() or err.getvalue()\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.stderr == ""
    assert found.stdout.strip() == "[]"


def test_presets_are_listed_with_a_description(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["presets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(PRESETS)
    assert all(len(line.split()) > 5 for line in lines)


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert all(command in out for command in ("run", "init", "check", "status", "report", "open", "doctor"))


def test_help_of_run_names_settings_and_presets(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as caught:
        cli.main(["run", "--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    for option in ("--textual-inversion.num-steps", "--preset", "--config", "--run-dir", "--base", *PRESETS):
        assert option in out
    assert len(out.splitlines()) <= 60


def test_the_long_help_has_every_setting(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as caught:
        cli.main(["run", "--help-all", "--preset", "flowers102"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    for option in ("--data.root", "--lora.rank", "--imbalance.min-held-out", "--data.left-out-classes"):
        assert option in out
    assert "stable-diffusion-v1-5" in out, "the values are the preset's"


def test_every_option_in_the_short_help_is_one(capsys: pytest.CaptureFixture[str]):
    assert len(CHANGED_OFTEN) == 10
    with pytest.raises(SystemExit):
        cli.main(["run", "--help-all"])
    out = capsys.readouterr().out
    assert [option for option in CHANGED_OFTEN if option not in out] == []


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["run", "--preset", "nope"], "'nope'"),
        (["run", "--config", "missing.json"], "missing.json"),
        (["report", "no-such-run"], "no-such-run/summary.json"),
        (["report", "nope://x"], "nope://x"),
        (["export", "no-such-run", "out", "--what", "tokens"], "no-such-run/config.json"),
        (["export", "no-such-run", "out", "--what", "zip"], "'zip'"),
    ],
)
def test_refused_input_is_one_line_and_code_2(
    arguments: list[str],
    named: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"flowerti: [^\n]+\n", err)
    assert named in err


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b'{"name": "x"}', b"[]"])
def test_a_bad_config_file_is_one_line_that_names_it(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / "my.json"
    file.write_bytes(content)
    assert cli.main(["run", "--config", str(file)]) == 2
    err = capsys.readouterr().err
    assert re.fullmatch(r"flowerti: [^\n]+\n", err)
    assert str(file) in err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["run", "--preset", "demo", "--textual-inversion.num-stepz", "5"], "--textual-inversion.num-stepz"),
        (["run", "--preset", "demo", "--textual-inversion.num-steps", "many"], "--textual-inversion.num-steps"),
        (
            ["run", "--preset", "demo", "--textual-inversion.num-steps", "0"],
            "textual_inversion.num_steps must be at least 1",
        ),
        (["run", "--preset", "demo", "--sweep.ratios", "1.0", "nan"], "sweep.ratios must be"),
        (["run", "--preset", "demo", "--data.kind", "zip"], "data.kind"),
        (["run", "--preset", "demo", "--config", "x.json"], "--config"),
        (["run", "stray"], "--base"),
        (["run", "stray", "--base", "demo"], "stray is missing"),
        (["run", "--base", "demo", "stray"], "stray is missing"),
        (["run", "stray", "--preset", "demo"], "--preset"),
        (["run"], "--preset demo"),
        (["run", "--seed", "7"], "--base PATH"),
        (["init", "stray"], "--base"),
        (["open", "no-such-run"], "no-such-run/report.html"),
        (["presets", "--colour"], "--colour"),
        (["report"], "run_dir"),
        (["fly"], "fly"),
        ([], "command"),
    ],
)
def test_a_wrong_option_is_named_with_code_2(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    for columns in ("20", "200"):
        monkeypatch.setenv("COLUMNS", columns)
        assert cli.main(arguments) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert re.fullmatch(r"flowerti: [^\n]{1,290}\n", err)
        assert named in err


def test_a_preset_runs_in_runs():
    assert cli.parse_run(["--preset", "demo"]) == (demo(), RunDirectory("runs/demo"))


def test_another_base_is_named_in_short():
    experiment, _ = cli.parse_run(["--preset", "demo", "--base", "elsewhere"])
    assert experiment == replace(demo(), base=replace(demo().base, path="elsewhere"))


def test_a_preset_and_a_run_directory_are_taken():
    experiment, run = cli.parse_run(["--preset", "flowers102", "--run-dir", "s3://bucket/run"])
    assert experiment == flowers102()
    assert run.uri == "s3://bucket/run"


def test_an_option_lands_in_the_experiment_and_nothing_else_moves():
    experiment, _ = cli.parse_run(["--preset", "demo", "--textual-inversion.num-steps", "500", "--seed", "7"])
    assert (experiment.techniques["textual_inversion"].num_steps, experiment.seed) == (500, 7)
    values, expected = json.loads(to_json(experiment)), json.loads(to_json(demo()))
    expected["techniques"]["textual_inversion"]["num_steps"], expected["seed"] = 500, 7
    assert values == expected


def test_lists_choices_and_switches_are_taken():
    arguments = ["--sweep.ratios", "1", "2.5", "--sampling.sources", "token", "raw", "--data.skip-unreadable"]
    arguments += ["--preset", "demo"]
    experiment, _ = cli.parse_run([*arguments, "--sampling.prompt", "a {} in bloom", "--selection.rule", "lowest_f1"])
    assert experiment.sweep.ratios == (1.0, 2.5)
    assert experiment.sampling.sources == ("token", "raw")
    assert experiment.data.skip_unreadable
    assert experiment.sampling.prompt == "a {} in bloom"
    assert experiment.selection.rule == "lowest_f1"


def test_a_run_starts_again_from_its_config_file(tmp_path: Path):
    first, _ = cli.parse_run(["--preset", "flowers102_64", "--textual-inversion.num-vectors", "3", "--name", "mine"])
    file = tmp_path / "config.json"
    file.write_text(to_json(first))
    again, run = cli.parse_run(["--config", str(file)])
    assert again == first
    assert run.uri == "runs/mine"
    changed, _ = cli.parse_run(["--config", str(file), "--textual-inversion.num-steps", "9"])
    learning: Any = changed.techniques["textual_inversion"]
    assert (learning.num_steps, learning.num_vectors) == (9, 3)


def test_a_jobs_address_gives_way_to_an_option():
    named = ["--preset", "demo"]
    assert cli.parse_run(named)[0].cluster.address == "local"
    assert cli.parse_run(named, address="auto")[0].cluster.address == "auto"
    asked, _ = cli.parse_run([*named, "--cluster.address", "local"], address="auto")
    assert asked.cluster.address == "local"


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Experiment, RunDirectory]]:
    """The pipeline without its stages: remembers what it was asked to do."""
    import flowerti.pipeline

    asked: list[tuple[Experiment, RunDirectory]] = []

    def run_experiment(
        experiment: Experiment, run: RunDirectory, listeners: list[Listener], until: str, *, take_over: bool
    ) -> str:
        asked.append((experiment, run))
        progress = Progress("classify", listeners)
        if experiment.seed == 13:
            raise ValueError("data.root: images is missing")
        progress.info("[bold]not markup[/bold]")
        progress.info(f"ends after {until}")
        if until == "report":
            run.write_bytes("summary.json", b'{"recommended_ratio": 0.5, "recommendation": "because it helps"}')
        return until

    monkeypatch.setattr(flowerti.pipeline, "run_experiment", run_experiment)
    return asked


def test_run_hands_the_experiment_to_the_pipeline_and_says_the_outcome(
    pipeline: list[tuple[Experiment, RunDirectory]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    folder = str(tmp_path / "run")
    assert cli.main(["run", "--preset", "demo", "--run-dir", folder, "--textual-inversion.num-steps", "500"]) == 0
    [(experiment, run)] = pipeline
    assert experiment.techniques["textual_inversion"].num_steps == 500
    assert run == RunDirectory(folder)
    out = capsys.readouterr().out
    assert "recommended ratio 0.5: because it helps" in out
    assert f"{folder}/report.html" in out
    assert f"next: flowerti open {folder}" in out
    assert "[classify] [bold]not markup[/bold]" in out


def test_run_ends_after_the_stage_that_it_is_told(
    pipeline: list[tuple[Experiment, RunDirectory]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert cli.main(["run", "--preset", "demo", "--run-dir", str(tmp_path / "run"), "--until", "select"]) == 0
    out = capsys.readouterr().out
    assert "ends after select" in out
    assert "recommended" not in out
    assert f"next: flowerti run --run-dir {tmp_path / 'run'} (goes on with ceiling)" in out
    assert cli.run(["--preset", "demo", "--run-dir", str(tmp_path / "run")], until="sample") == 0
    assert "ends after sample" in capsys.readouterr().out


def test_a_run_directory_brings_its_config_unless_another_is_named(tmp_path: Path):
    started = RunDirectory(str(tmp_path))
    started.write_bytes("config.json", to_json(flowers102()).encode())
    experiment, run = cli.parse_run(["--run-dir", str(tmp_path), "--seed", "4"])
    assert (experiment.name, experiment.seed, run) == ("flowers102", 4, started)
    assert cli.parse_run(["--run-dir", str(tmp_path), "--preset", "demo"])[0].name == "demo"


def test_status_prints_a_line_for_every_stage(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["status", str(tmp_path)]) == 2
    assert "config.json is missing" in capsys.readouterr().err
    (tmp_path / "config.json").write_text(to_json(demo()))
    assert cli.main(["status", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["waiting", stage]
        for stage in ("classify", "select", "ceiling", "sample", "score", "sweep", "confirm", "report")
    ]


def test_what_the_pipeline_refuses_is_one_line_and_code_2(
    pipeline: list[tuple[Experiment, RunDirectory]], capsys: pytest.CaptureFixture[str]
):
    assert cli.main(["run", "--preset", "demo", "--seed", "13"]) == 2
    assert len(pipeline) == 1
    assert capsys.readouterr().err == "flowerti: data.root: images is missing\n"


def test_the_installed_command_is_the_same():
    script = Path(sys.executable).with_name("flowerti")
    if not script.exists():
        pytest.skip("flowerti is not installed beside this Python")
    found = subprocess.run([str(script), "presets"], capture_output=True, text=True, check=True)
    assert [line.split()[0] for line in found.stdout.splitlines()] == list(PRESETS)


def test_the_plan_says_what_could_be_detected(capsys: pytest.CaptureFixture[str]):
    asked = "plan --preset demo --num-classes 3 --num-gpus 1 --seconds-per-textual-inversion-step 1".split()
    asked += "--seconds-per-drawn-image 1 --seconds-per-scored-image 1 --seconds-per-trial 1".split()
    assert cli.main(asked) == 0
    assert "give --num-images-per-class to learn what yours can show." in capsys.readouterr().out
    assert cli.main([*asked, "--num-images-per-class", "40"]) == 0
    assert "with 40 validation images of each weak class gains of 0.08 to 0.11 are found" in capsys.readouterr().out
    assert cli.main([*asked, "--num-images-per-class", "1"]) == 2
    assert "at least 1 weak class and 2 held-out images of each" in capsys.readouterr().err
