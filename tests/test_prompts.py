"""Prompt templates."""

from string import Formatter

from flowerti.prompts import TEMPLATES


def test_each_template_has_one_place_for_a_name():
    assert len(set(TEMPLATES)) == len(TEMPLATES)
    for template in TEMPLATES:
        places = [field for _, field, _, _ in Formatter().parse(template) if field is not None]
        assert places == [""]
        assert "rose" in template.format("rose")
