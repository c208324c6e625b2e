"""Seeds, keys and file names: the three rules that make an artifact's identity."""

import dataclasses
import hashlib
import random
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

from flowerti.artifacts.identity import key_fields, key_of, label_of, of_learning, seed_for, slug
from flowerti.artifacts.records import ImageSet, Trial
from flowerti.config.experiment import TextualInversionConfig

NASTY = [
    "azalea",
    "Azalea",
    "AZALEA",
    "sword lily",
    "sword_lily",
    "sword-lily",
    "sword%20lily",
    "sword  lily",
    " sword lily",
    "sword lily ",
    ".",
    "..",
    "...",
    "../azalea",
    "../../etc/passwd",
    "/",
    "//",
    "/azalea",
    "a/b",
    "a\\b",
    "C:\\azalea",
    ".hidden",
    "a.b",
    "a.b.parquet",
    "a%2Eb",
    "%",
    "%2E",
    "%252E",
    "%%",
    "~",
    "~azalea",
    "a~0123456789abcdef",
    "-",
    "--help",
    "_",
    " ",
    "\t",
    "\n",
    "a\nb",
    "a\0b",
    "\x7f",
    "\x1b[31mred",
    "é",
    "e\u0301",
    "玫瑰",
    "🌹",
    "\u202eabc",
    "\u200b",
    "ﬁre lily",
    "İ",
    "con",
    "nul",
    "*",
    "?",
    "a*",
    "<azalea>",
    "$HOME",
    "`ls`",
    "a;b",
    "a#1",
    "pink-yellow dahlia?",
    "a" * 80,
    "a" * 81,
    "a" * 300,
    "a" * 299 + "b",
    "b" + "a" * 299,
    " " * 300,
    "." * 300,
    "é" * 300,
    "🌹" * 300,
    "/" * 27,
    "/" * 26 + "a",
    "a" * 63 + "~" + "0" * 16,
]


def random_names(count: int) -> list[str]:
    rng = random.Random(7)
    letters = "aA .._-~%/\\2E0\n\0é🌹"
    return ["".join(rng.choice(letters) for _ in range(rng.randint(1, 40))) for _ in range(count)]


def test_slugs_are_different_for_different_names():
    names = set(NASTY) | set(random_names(5000))
    assert len(names) > 4000
    assert len({slug(name) for name in names}) == len(names)


@pytest.mark.parametrize("name", NASTY)
def test_a_slug_is_one_plain_visible_file_name(name: str, tmp_path: Path):
    safe = slug(name)
    assert re.fullmatch(r"[A-Za-z0-9_%~-]{1,80}", safe)
    assert not safe.startswith("~")
    file = tmp_path / safe
    file.write_text("x")
    assert [p.name for p in tmp_path.iterdir()] == [safe]
    assert not safe.startswith(".")


@pytest.mark.parametrize("name", [n for n in NASTY + random_names(300) if len(slug(n)) <= 80 and "~" not in slug(n)])
def test_a_short_slug_can_be_read_back(name: str):
    assert unquote(slug(name).replace("_", " ")) == name


def test_plain_names_stay_readable():
    assert slug("sword lily") == "sword_lily"
    assert slug("desert-rose") == "desert-rose"


def test_a_class_without_a_name_is_refused():
    with pytest.raises(ValueError, match="class name is empty"):
        slug("")


def test_a_seed_is_the_hash_of_its_four_parts():
    digest = hashlib.sha256(b'[0, "azalea", "token", 3]').hexdigest()
    assert seed_for(0, "azalea", "token", 3) == int(digest[:16], 16) // 2


def test_seeds_fit_63_bits_and_are_spread_over_them():
    seeds = [seed_for(run, name, "raw", i) for run in range(5) for name in NASTY[:20] for i in range(100)]
    assert len(set(seeds)) == len(seeds)
    assert min(seeds) >= 0
    assert max(seeds) < 2**63
    for bit in range(63):
        share = sum(seed >> bit & 1 for seed in seeds) / len(seeds)
        assert abs(share - 0.5) < 0.03, f"bit {bit}"


def test_each_part_changes_the_seed():
    seed = seed_for(1, "rose", "raw", 2)
    others = [seed_for(2, "rose", "raw", 2), seed_for(1, "Rose", "raw", 2), seed_for(1, "rose", "token", 2)]
    others += [seed_for(1, "rose", "raw", 3), seed_for(1, "raw", "rose", 2), seed_for(1, 'rose", "raw', "", 2)]
    assert seed not in others
    assert len(set(others)) == len(others)


def test_seeds_keys_and_slugs_are_the_same_in_another_process():
    code = (
        "from flowerti.artifacts.identity import key_of, seed_for, slug;"
        "print(seed_for(3, 'é rose', 'raw', 1), key_of({'b': 1, 'a': [2.5, None]}, 'x'), slug('é' * 300))"
    )
    expected = f"{seed_for(3, 'é rose', 'raw', 1)} {key_of({'b': 1, 'a': [2.5, None]}, 'x')} {slug('é' * 300)}"
    for hash_seed in ("1", "2"):
        found = subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
            check=True,
        )
        assert found.stdout.strip() == expected


def test_a_key_does_not_depend_on_the_order_of_a_dictionary():
    rng = random.Random(0)
    items = [(f"name{i}", {"x": i, "y": [i, {"p": 1, "q": 2}]}) for i in range(20)]
    key = key_of(dict(items))
    for _ in range(20):
        rng.shuffle(items)
        assert key_of({name: dict(reversed(inner.items())) for name, inner in items}) == key


def test_each_part_of_a_key_matters():
    trial = Trial(arm="real", ratio=0.0, repetition=0, split="test", predictions=[1], num_steps=1, num_synthetic=0)
    parts = ["a", 1, 1.5, None, True, ["x", "y"], {"k": 1}, TextualInversionConfig(), trial]
    keys = [key_of(*parts)]
    changes = ["b", 2, 1.25, 0, False, ["y", "x"], {"k": 2}, TextualInversionConfig(num_steps=401)]
    changes.append(dataclasses.replace(trial, predictions=[2]))
    for i, other in enumerate(changes):
        keys.append(key_of(*parts[:i], other, *parts[i + 1 :]))
    keys += [key_of(*parts[1:]), key_of(*reversed(parts)), key_of("a", "b"), key_of("ab"), key_of(["a", "b"]), key_of()]
    assert len(set(keys)) == len(keys)
    assert all(re.fullmatch(r"[0-9a-f]{64}", key) for key in keys)


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(TextualInversionConfig)])
def test_each_setting_of_a_stage_changes_its_key(field: str):
    value = getattr(TextualInversionConfig(), field)
    other = {"start": "random", "keep_norm": True, "initializer_token": "rose"}.get(field)
    changed = dataclasses.replace(TextualInversionConfig(), **{field: value + 1 if other is None else other})
    assert key_of(changed) != key_of(TextualInversionConfig())


def test_what_cannot_be_written_exactly_has_no_key():
    with pytest.raises(ValueError, match="JSON compliant"):
        key_of(float("nan"))
    with pytest.raises(TypeError):
        key_of({1, 2})


def test_the_first_learning_keeps_its_names_and_the_others_add_theirs():
    assert of_learning("inversion", 0) == "inversion"
    assert of_learning("inversion", 1) == "inversion/learning-1"
    assert of_learning("rose.token", 12, separator=".") == "rose.token.learning-12"
    assert [label_of("rose", k) for k in (0, 1, 2)] == ["rose", "rose (learning 1)", "rose (learning 2)"]


def test_a_key_of_the_first_learning_is_that_of_fields_without_learnings():
    images = ImageSet(class_name="rose", source="token", prompt="a", num_images=1, files=["f"], key="k")
    fields = {"class_name": "rose", "source": "token", "prompt": "a", "num_images": 1, "files": ["f"], "key": "k"}
    assert key_fields(images) == fields
    assert key_fields(dataclasses.replace(images, learning=2)) == fields | {"learning": 2}
