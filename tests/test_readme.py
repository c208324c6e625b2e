"""What README and docs show runs as it stands there; of commands that take long the options are parsed."""

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_folders import draw_classes

from flowerti.cli import main, parse_run

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FAST = ("status", "compare", "verify", "report", "presets", "plan", "init", "check", "open", "doctor")
"""Commands of flowerti that are run here."""
MADE_BY = {"make demo": "demo", "make test": "test"}
"""Targets of the Makefile: one is what CI runs, the other the preset whose reference run is kept."""


def commands(page: Path) -> list[str]:
    """The lines of the page's blocks without a language, continued ones joined and comments left out."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    lines = "".join(content for language, content in blocks if not language).replace("\\\n", " ").splitlines()
    return [" ".join(line.split("  #")[0].split()) for line in lines if line.strip()]


ALL = [(page.name, command) for page in PAGES for command in commands(page)]


def arguments_of(command: str) -> list[str]:
    words = shlex.split(command)
    assert words[0] in (".venv/bin/flowerti", "flowerti"), command
    return with_a_base(words[1:])


def with_a_base(words: list[str]) -> list[str]:
    """The words with a base that everybody has in place of the reader's own."""
    return ["demo" if word == "path/to/stable-diffusion-v1-5" else word for word in words]


def test_there_are_commands():
    assert len(ALL) > 12
    assert {"make demo", "make test"} <= {command for _, command in ALL}


@pytest.fixture
def finished_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a finished run in runs/demo, as the commands expect."""
    monkeypatch.syspath_prepend(str(ROOT / "tests/report"))
    from finished_run import FOURTEEN, census, classifier, run

    from flowerti.artifacts.manifest import write_manifest
    from flowerti.artifacts.run_directory import RunDirectory
    from flowerti.artifacts.saved_config import write_config
    from flowerti.config.presets import demo
    from flowerti.report import Findings, build_summary
    from flowerti.report.page_content import page_record

    started = RunDirectory(str(tmp_path / "runs/demo"))
    write_config(started, demo())
    started.save("data.json", census(FOURTEEN), "k")
    started.save("classifier/report.json", classifier(FOURTEEN), "k")
    found = Findings(**run())
    started.save("page.json", page_record(found), "k")
    published = {
        "summary.json": json.dumps(build_summary(found)).encode(),
        "report.html": b"<html></html>",
    }
    for name, content in published.items():
        started.write_bytes(name, content)
    write_manifest(started, published)
    shutil.copytree(tmp_path / "runs/demo", tmp_path / "runs/mine")
    started.write_json("result.json", {"state": "done", "stage": "report", "reason": ""})
    draw_classes(tmp_path / "images", {"rose": 14, "lily": 12})
    monkeypatch.setattr("webbrowser.open", lambda address: True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("page", "command"), [(p, c) for p, c in ALL if "flowerti " in c and c.split()[1] in FAST])
def test_fast_commands_run(page: str, command: str, finished_demo: Path, capsys: pytest.CaptureFixture[str]):
    assert main(arguments_of(command)) == 0, page
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize(("page", "command"), [(p, c) for p, c in ALL if re.search(r"flowerti run|pipeline\.py", c)])
def test_options_of_runs_are_known(page: str, command: str, finished_demo: Path):
    given = command.split("pipeline.py ")[1] if "pipeline.py" in command else command.split("flowerti run ")[1]
    # a bucket that nobody has here
    experiment, _ = parse_run(with_a_base(shlex.split(re.sub(r"s3://\S+", "elsewhere", given))))
    assert experiment.name in ("images", "demo", "flowers102", "flowers102_64", "flowers102_64_long_tail")


@pytest.mark.parametrize("command", [c for _, c in ALL if "flowerti export" in c])
def test_options_of_exports_are_known(command: str, monkeypatch: pytest.MonkeyPatch):
    asked = []
    monkeypatch.setattr(
        "flowerti.export.exporter.export_run", lambda run, out_dir, request: asked.append(request) or []
    )
    assert main(arguments_of(command)) == 0
    assert asked[0].what


RECOMPUTE = "-m flowerti.report.recompute "


@pytest.mark.parametrize("command", [c for _, c in ALL if RECOMPUTE in c])
def test_a_published_sweep_is_computed_again(command: str, monkeypatch: pytest.MonkeyPatch):
    from flowerti.report.recompute import main as recompute

    monkeypatch.chdir(ROOT)
    assert recompute(shlex.split(command.split(RECOMPUTE)[1])) == 0


def test_every_command_is_covered():
    """Run here, parsed here, a target of the Makefile, or named as one that needs a cloud or hours."""
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for page, command in ALL:
        words = command.split()
        covered = (
            (command in MADE_BY and MADE_BY[command] in targets)
            or ("flowerti" in words[0] and words[1] in (*FAST, "run", "export"))
            or "pipeline.py" in command
            or RECOMPUTE in command
        )
        assert covered, f"{page}: {command} is run by no test"


def test_tests_and_files_that_the_pages_name_exist():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        links = re.findall(r"\]\(([^)#:\s]+)\)", text)
        assert [link for link in links if not (page.parent / link.replace("%25", "%")).exists()] == [], page.name
        named = set(re.findall(r"`((?:tests|benchmarks|docs|flowerti)/[\w/]+\.py)`", text))
        assert [name for name in named if not (ROOT / name).exists()] == [], page.name


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 130
    assert len((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").splitlines()) < 150


def test_a_token_with_a_word_s_rows_draws_that_word_s_image(tmp_path, monkeypatch):
    """The run that the page's lines read is no part of a fresh check-out: its file is written here, with rows whose
    image is known, those of a word that the base has."""
    import torch

    page = (ROOT / "docs/tokens-elsewhere.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "flowerti").symlink_to(ROOT / "flowerti")
    _write_token(tmp_path / "runs/demo/concepts/velmora/learned_embeds.safetensors", "<velmora>", "sunflower")
    monkeypatch.chdir(tmp_path)
    shown: dict = {}
    with torch.random.fork_rng(devices=[]):
        exec(block, shown)  # our own text
        assert shown["image"].size == (64, 64)
        of_token = _draw(shown["pipeline"], "<velmora>")
        of_word = _draw(shown["pipeline"], "sunflower")
        of_another_word = _draw(shown["pipeline"], "lupin")
    np.testing.assert_array_equal(of_token, of_word)
    assert np.abs(of_token - of_another_word).mean() > 4


def _write_token(path: Path, token: str, word: str) -> None:
    from transformers import CLIPTextModel, CLIPTokenizer

    from flowerti.personalization.textual_inversion.embedding_files import diffusers_bytes

    base = ROOT / "flowerti/demo/base"
    (word_id,) = CLIPTokenizer.from_pretrained(base / "tokenizer").encode(word, add_special_tokens=False)
    encoder: Any = CLIPTextModel.from_pretrained(base / "text_encoder")
    table = encoder.get_input_embeddings().weight
    path.parent.mkdir(parents=True)
    path.write_bytes(diffusers_bytes(token, table[[word_id]], [table.shape[1]]))


def _draw(pipeline: Any, word: str) -> np.ndarray:
    """A prompt with this word from the same noise."""
    import torch

    noise = torch.Generator().manual_seed(0)
    prompt = f'Photo of a "{word}"'
    return np.asarray(
        pipeline(prompt, num_inference_steps=10, guidance_scale=1.5, generator=noise).images[0], dtype=float
    )
