"""The schema's file is the one that the records give, and holds what the contract promises."""

import dataclasses
import json

import jsonschema
import pytest

from flowerti.report.schema_from_records import SCHEMA_FILE, schema_text, summary_schema
from flowerti.report.summary_record import PUBLISHED_NAMES, Summary

FIRST_KEYS = (
    "format preset seed versions data_fingerprint num_pictures unreadable duplicates settings models classifier "
    "recommended_ratio recommendation primary_contrast selected by_evidence concepts neighbours concept_neighbours "
    "adapters sets extractors class_names distances comparisons verdicts matrix recognition trained_on_source copies "
    "near_duplicates scoring_notes sweep best_control sweep_warnings class_ratios contrasts sweep_classes sweep_groups "
    "arm_costs failures left_out timings"
).split()
"""Keys that programs have relied on since format 2."""


def test_the_file_is_not_stale():
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema_text(), (
        "write it again: python -m flowerti.report.schema_from_records"
    )


def test_it_is_a_schema_and_keeps_every_earlier_key():
    schema = summary_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert set(FIRST_KEYS) <= set(schema["properties"])
    assert schema["required"] == list(schema["properties"])
    names = [PUBLISHED_NAMES.get(field.name, field.name) for field in dataclasses.fields(Summary)]
    assert list(schema["properties"]) == names


@pytest.mark.parametrize(
    ("key", "field", "expected"),
    [
        ("distances", "value", {"type": ["number", "null"]}),
        ("distances", "floor_num_pictures", {"type": "integer", "minimum": 0}),
        ("distances", "p_value", {"type": ["number", "null"], "minimum": 0, "maximum": 1}),
        ("verdicts", "verdict", {"enum": ["token", "better_name_is_enough", "class_name_is_enough", "undecided"]}),
        ("arms", "level", {"enum": ["none", "ratio", "probability", "share"]}),
        ("contrasts", "primary", {"type": "boolean"}),
        ("matrix", "values", {"type": "array", "items": {"type": ["number", "null"]}}),
        ("sets", "files", {"type": "array", "items": {"type": "string"}}),
    ],
)
def test_types_ranges_and_choices_of_fields(key: str, field: str, expected: dict):
    found = summary_schema()["properties"][key]["items"]["properties"][field]
    assert {name: value for name, value in found.items() if name != "description"} == expected


def test_descriptions_are_the_records_own_words():
    schema = summary_schema()
    assert schema["properties"]["failures"]["description"] == "What was tried and failed."
    assert json.dumps(schema).count("description") > 40
