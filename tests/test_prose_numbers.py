"""Measured numbers of README, docs and the base's card come from files under results/, and are as these have them."""

import importlib
import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module", autouse=True)
def refresh():
    """`docs/refresh.py`, which imports the script beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "docs"))
        yield importlib.import_module("refresh")
    for name in ("refresh", "tables"):
        sys.modules.pop(name)


PAGES = ("README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))
CARD = "flowerti/demo/base/MODEL_CARD.md"
ALLOWED = {
    "versions and licences": ("Python 3.11", "Stable Diffusion 1.5", "Apache-2.0"),
    "levels and thresholds": ("95 % interval", "below 0.025"),
    "settings": (
        "factor 0.1",
        "5.3 M parameters",
        "betas 0.00085 to 0.012",
        "10 % of the captions",
        "0.85 of them and 0.15 of those",
    ),
    "told by the training of the base, of which no file is kept (LOG.md)": ("27.5 dB", "27.3 dB"),
    "sizes of files that are here": ("13.5 MB",),
}
"""Decimal numbers and percentages that need no file, by what they are."""


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def prose(page_text: str) -> str:
    """What is written by hand: neither code and link targets, nor tables, nor numbers that a file stands behind."""
    for left_out in (
        r"```.*?```",
        r"<!-- table: .*?<!-- /table -->",
        r"<!-- numbers\n.*?-->",
        r"[-+\w.,]+<!-- [^\n<>]+ -->",
        r"`[^`]+`",
        r"(?<=\])\([^)\s]+\)",
        *(re.escape(phrase).replace(r"\ ", r"\s+") for phrases in ALLOWED.values() for phrase in phrases),
    ):
        page_text = re.sub(left_out, " ", page_text, flags=re.DOTALL)
    return page_text


def unmarked(page_text: str) -> list[str]:
    return re.findall(r"\d+\.\d+|\d+\s?%", prose(page_text))


@pytest.mark.parametrize("page", [*PAGES, CARD])
def test_a_page_is_as_the_files_have_it(refresh, page: str):
    """Otherwise `python docs/refresh.py` is due."""
    assert refresh.refreshed(text_of(page)) == text_of(page)


@pytest.mark.parametrize("page", [*PAGES, CARD])
def test_no_measured_number_stands_without_a_file(page: str):
    assert unmarked(text_of(page)) == []


@pytest.mark.parametrize("page", [*PAGES, CARD])
def test_every_label_is_used_and_every_comment_is_understood(refresh, page: str):
    text = text_of(page)
    labels = [match["label"] for match in refresh.MARKED.finditer(text)]
    assert set(labels) == set(refresh.definitions(text))
    tables = [match["name"] for match in refresh.TABLE.finditer(text)]
    assert len(re.findall("<!--", text)) == len(labels) + 2 * len(tables) + ("<!-- numbers" in text)


def test_the_pages_are_those_that_are_refreshed(refresh):
    assert {path.relative_to(ROOT).as_posix() for path in refresh.PAGES} == {*PAGES, CARD}
    assert "<!-- numbers" in text_of("README.md")


@pytest.mark.parametrize("phrase", [phrase for phrases in ALLOWED.values() for phrase in phrases])
def test_what_is_allowed_is_still_said(phrase: str):
    everything = " ".join(" ".join(text_of(page) for page in (*PAGES, CARD)).split())
    assert phrase in everything


@pytest.mark.parametrize("said", ["F1 rises by 0.12", "in 37 % of them", "`0.5` is less than 0.6", "+0.3 at best"])
def test_a_number_by_hand_would_be_seen(said: str):
    assert len(unmarked(f"Of all {said}.")) == 1


MEASURED = {
    "share": 0.4567,
    "answer": "helps",
    "rows": [{"arm": "a", "split": "test", "gain": -0.004, "copies": [1, 2]}, {"arm": "b", "gain": 0.3, "copies": []}],
}


@pytest.fixture
def root(refresh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one file of results."""
    (tmp_path / "run.json").write_text(json.dumps(MEASURED))
    monkeypatch.setattr(refresh, "ROOT", tmp_path)
    refresh._document.cache_clear()
    return tmp_path


def page_with(text: str, expression: str) -> str:
    return f"It is {text}<!-- it --> there.\n\n<!-- numbers\nrun.json\n  it: {expression}\n-->\n"


@pytest.mark.parametrize(
    ("expression", "written"),
    [
        ("share .2f", "0.46"),
        ("share * 100 .0f", "46"),
        ("share / 0.5 .1f", "0.9"),
        ("answer s", "helps"),
        ("rows[arm=b]/gain +.1f", "+0.3"),
        ("rows[arm=a, split=test]/gain .2f", "-0.00"),
        ("rows[gain=0.3]/arm s", "b"),
        ("max(rows/gain) .1f", "0.3"),
        ("min(rows/gain) * 1000 .0f", "-4"),
        ("len(rows/copies) d", "2"),
        ("len(rows[arm=b]/copies) d", "0"),
    ],
)
@pytest.mark.parametrize("before", ["0.1", "-7", "harms", "1e-07"])
def test_a_number_is_written_as_its_file_has_it(refresh, root: Path, expression: str, written: str, before: str):
    assert refresh.refreshed(page_with(before, expression)) == page_with(written, expression)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("shares .2f", "run.json: shares: there is no shares"),
        ("rows[arm=c]/gain .2f", "stands for 0 values in place of one"),
        ("rows/gain .2f", "stands for 2 values in place of one"),
        ("rows[arm=a]/loss .2f", "there is no loss"),
        (".2f", "has no path and format"),
    ],
)
def test_a_place_that_is_not_there_is_named(refresh, root: Path, expression: str, message: str):
    with pytest.raises(ValueError, match=re.escape(message)):
        refresh.refreshed(page_with("0.1", expression))


def test_a_file_or_definition_that_is_missing_is_named(refresh, root: Path):
    with pytest.raises(ValueError, match=r"there is no other\.json"):
        refresh.refreshed(page_with("0.1", "share .2f").replace("run.json", "other.json"))
    with pytest.raises(ValueError, match="nothing says where this number comes from"):
        refresh.refreshed("0.1<!-- it -->")
    with pytest.raises(ValueError, match="defined twice"):
        refresh.definitions("<!-- numbers\nrun.json\n  it: a d\n  it: b d\n-->")


def test_a_table_is_written_whole(refresh):
    page = "<!-- table: results -->\nold\n<!-- /table -->"
    once = refresh.refreshed(page)
    assert "| [drawn herbarium, its own base](results/demo/summary.json) |" in once and "old" not in once
    assert refresh.refreshed(once) == once
