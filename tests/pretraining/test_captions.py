"""Captions of labelled images: prompts of the project around a name of the class, never that of a held-out class."""

import re
from collections import Counter

import numpy as np
import pytest

from flowerti.data.sources.flowers102_names import NAMES
from flowerti.prompts import TEMPLATES
from pretraining.captions import class_caption, in_template, names_of_classes

FORMS = [*TEMPLATES, 'Photo of a "{}"']


def test_a_caption_is_a_prompt_around_a_name():
    rng = np.random.default_rng(0)
    captions = Counter(class_caption(["rose", "queen of flowers"], rng) for _ in range(4000))
    assert set(captions) == {form.format(name) for form in FORMS for name in ("rose", "queen of flowers")}
    other = sum(number for caption, number in captions.items() if "queen" in caption)
    assert other / 4000 == pytest.approx(0.3, abs=0.03)
    assert sum(captions[FORMS[-1].format(n)] for n in ("rose", "queen of flowers")) / 4000 == pytest.approx(
        0.06, abs=0.015
    )


def test_a_class_without_other_names_is_called_by_its_own():
    rng = np.random.default_rng(0)
    assert all("rose" in class_caption(["rose"], rng) for _ in range(50))
    assert re.fullmatch("(.*) two words|Photo.*", in_template("two words", rng))


def test_the_names_are_those_that_the_project_knows():
    known = next(name for name, (common, latin) in NAMES.items() if common and latin)
    names = names_of_classes("flowers102", (known, "no flower at all"), [])
    assert names == [(known, *NAMES[known]), ("no flower at all",)]


def test_no_other_name_says_a_class_that_is_held_out():
    known = next(name for name, (common, latin) in NAMES.items() if common and latin)
    common, latin = NAMES[known]
    assert names_of_classes("flowers102", (known, common), [common])[0] == (known, latin)
    assert names_of_classes("flowers102", (known, "x"), [known])[0] == (known,)
