"""Rows and columns of the tables about scores: nothing is lost, nothing stands where it does not belong."""

import dataclasses

from finished_run import page, run
from finished_scores import (
    EXTRACTOR,
    FOURTEEN,
    SOURCES,
    comparison,
    copy_check,
    distance,
    matrix_row,
    pair,
    scores,
    verdict,
)
from finished_sweep import sweep

from flowerti.artifacts.scores import Extractor
from flowerti.report import Findings, build_summary
from flowerti.report import score_tables as tables
from flowerti.scoring.metric_table import METRICS, Metric

WEAK = FOURTEEN[:3]


def summary_of(given):
    return build_summary(Findings(**run(scores=given)))


def two_extractors_on_two_splits():
    one, test = scores(WEAK), scores(WEAK, reference="test")
    both = [*one.distances, *test.distances]
    compared = [*one.comparisons, *test.comparisons]
    return dataclasses.replace(
        one,
        extractors=[*one.extractors, Extractor(name="dinov2", weights_sha256="d" * 64, input_size_px=224)],
        distances=[*both, *(dataclasses.replace(row, extractor="dinov2", value=-row.value) for row in both)],
        comparisons=[*compared, *(dataclasses.replace(row, extractor="dinov2") for row in compared)],
        verdicts=[*one.verdicts, *(verdict(name, "token", "test") for name in WEAK)],
    )


def test_each_distance_stands_in_one_cell_of_its_own_extractor_split_and_metric():
    summary = summary_of(two_extractors_on_two_splits())
    seen = []
    for of_kind in tables.distance_tables(summary):
        for table in of_kind["tables"]:
            for row in table["rows"]:
                for metric, cell in row["cells"].items():
                    assert (cell["extractor"], cell["reference"]) == (table["extractor"], table["reference"])
                    assert (cell["metric"], cell["class_name"]) == (metric, row["class_name"])
                    assert metric in [column["metric"] for column in table["columns"]]
                    assert (cell["num_real"], cell["floor_num_pictures"]) == (row["num_real"], 20)
                    seen.append(cell)
    assert len(seen) == len(summary["distances"]) == 4 * 96
    assert all(row in seen for row in summary["distances"])


def test_kinds_stand_in_the_order_of_the_page_and_test_before_validation():
    found = tables.distance_tables(summary_of(two_extractors_on_two_splits()))
    assert [of_kind["kind"] for of_kind in found] == ["kernel", "frechet", "overlap", "diversity", "similarity"]
    places = [(table["extractor"], table["reference"]) for table in found[0]["tables"]]
    assert places == [(e, split) for e in (EXTRACTOR, "dinov2") for split in ("test", "validation")]


def test_a_metric_that_nobody_knows_gets_a_table_of_its_own():
    given = dataclasses.replace(scores(WEAK), distances=[distance(WEAK[0], "token", "sinkhorn", 3.0)])
    assert [of_kind["kind"] for of_kind in tables.distance_tables(summary_of(given))] == ["sinkhorn"]


def test_a_metric_from_outside_has_its_label_and_stands_with_its_kind_or_by_itself(monkeypatch):
    for row in (
        Metric(name="sinkhorn", label="Sinkhorn divergence", function=lambda x, y: 0.0),
        Metric(name="spread", label="mean spread", kind="diversity", function=lambda x, y: 0.0),
    ):
        monkeypatch.setitem(METRICS._rows, row.name, row)
    known = scores(WEAK)
    more = [distance(WEAK[0], "token", metric, 3.25) for metric in ("sinkhorn", "spread")]
    given = dataclasses.replace(known, distances=[*more, *known.distances])
    summary = summary_of(given)
    assert {row["metric"] for row in summary["distances"]} >= {"sinkhorn", "spread"}
    found = {of_kind["kind"]: of_kind for of_kind in tables.distance_tables(summary)}
    assert list(found)[-1] == "sinkhorn"
    assert found["sinkhorn"]["heading"] == "Sinkhorn divergence"
    assert [column["name"] for column in found["sinkhorn"]["tables"][0]["columns"]] == ["Sinkhorn divergence"]
    columns = found["diversity"]["tables"][0]["columns"]
    assert [column["name"] for column in columns] == ["Vendi ratio", "mean spread"]
    html = page(run(scores=given))
    assert "<h4>Sinkhorn divergence</h4>" in html
    assert "mean spread</th>" in html


def test_headings_are_in_plain_words():
    found = tables.distance_tables(summary_of(scores(WEAK)))
    assert [of_kind["heading"] for of_kind in found][:3] == [
        "Kernel distance",
        "Fréchet distance",
        "Overlap: precision, recall, density, coverage",
    ]
    assert [table["heading"] for table in tables.matrix_tables(summary_of(scores(WEAK)))] == [
        "Kernel distance",
        "Fréchet distance",
    ]


def test_sets_of_different_sizes_do_not_share_a_row():
    rows = [
        distance(WEAK[0], "token", "precision", 0.5),
        distance(WEAK[0], "token", "recall", 0.5, num_real=20, num_synthetic=20),
    ]
    (of_kind,) = tables.distance_tables(summary_of(dataclasses.replace(scores(WEAK), distances=rows)))
    assert [row["num_real"] for row in of_kind["tables"][0]["rows"]] == [40, 20]


def test_columns_say_what_they_hold():
    kernel, frechet = tables.distance_tables(summary_of(scores(WEAK)))[:2]
    of_kernel, of_frechet = kernel["tables"][0]["columns"][0], frechet["tables"][0]["columns"][0]
    assert (of_kernel["has_interval"], of_kernel["has_floor"], of_kernel["has_p"]) == (True, True, True)
    assert (of_frechet["has_interval"], of_frechet["has_floor"], of_frechet["has_p"]) == (False, True, False)


def test_names_are_compared_on_the_extractor_of_the_verdicts_only():
    summary = summary_of(two_extractors_on_two_splits())
    found = tables.name_tables(summary)
    assert [(table["extractor"], table["reference"]) for table in found] == [
        (EXTRACTOR, "test"),
        (EXTRACTOR, "validation"),
    ]
    for table in found:
        assert [of_class["class_name"] for of_class in table["classes"]] == list(WEAK)
        for of_class in table["classes"]:
            assert of_class["verdict"]["reference"] == table["reference"]
            assert [row["source"] for row in of_class["rows"]] == list(SOURCES)
            for row in of_class["rows"]:
                assert row["distance"]["metric"] == "kernel"
                assert row["distance"]["extractor"] == EXTRACTOR
                assert row["distance"]["reference"] == table["reference"]
            raw, other, latin, token = (row["comparison"] for row in of_class["rows"])
            assert [raw["than"], other["than"], latin["than"], token] == ["raw", "alternative_name", "latin_name", None]
            assert raw["extractor"] == other["extractor"] == EXTRACTOR


def test_each_comparison_is_shown_once():
    summary = summary_of(two_extractors_on_two_splits())
    in_names = [
        row["comparison"]
        for table in tables.name_tables(summary)
        for of_class in table["classes"]
        for row in of_class["rows"]
        if row["comparison"]
    ]
    others = [row for table in tables.comparison_tables(summary) for row in table["rows"]]
    assert len(in_names) == 2 * 3 * 3
    assert len(in_names) + len(others) == len(summary["comparisons"])
    assert all((row in in_names) != (row in others) for row in summary["comparisons"])
    for table in tables.comparison_tables(summary):
        assert {(row["extractor"], row["reference"]) for row in table["rows"]} == {
            (table["extractor"], table["reference"])
        }


def test_a_comparison_whose_row_is_missing_is_not_lost():
    given = dataclasses.replace(scores(WEAK), distances=[], comparisons=[comparison(WEAK[0], "token", "raw", 1.0)])
    (table,) = tables.comparison_tables(summary_of(given))
    assert [row["than"] for row in table["rows"]] == ["raw"]


def test_verdicts_are_counted_on_the_held_out_split():
    summary = summary_of(two_extractors_on_two_splits())
    assert tables.held_out_split(summary) == "test"
    assert tables.verdict_counts(summary) == {"the token is needed": 3}
    before = summary_of(scores(WEAK))
    assert tables.held_out_split(before) == "validation"
    assert tables.verdict_counts(before) == {"a better name is enough": 3}


def test_matrix_rows_know_their_own_and_their_nearest_distance():
    (table, _) = tables.matrix_tables(summary_of(scores(WEAK)))
    assert [(row["class_name"], row["source"]) for row in table["rows"]] == [
        (name, source) for name in WEAK for source in ("real", *SOURCES)
    ]
    assert {(row["own"], row["least"], row["num_own"], row["rank"]) for row in table["rows"]} == {(0.5, 0.25, 40, 2)}


def test_matrices_of_different_extractors_stand_apart():
    rows = [
        matrix_row(WEAK[0], "token", FOURTEEN, metric, extractor)
        for extractor in ("a", "b")
        for metric in ("kernel", "frechet")
    ]
    found = tables.matrix_tables(summary_of(dataclasses.replace(scores(WEAK), matrix=rows)))
    assert [(table["extractor"], table["metric"], len(table["rows"])) for table in found] == [
        ("a", "kernel", 1), ("a", "frechet", 1), ("b", "kernel", 1), ("b", "frechet", 1)
    ]  # fmt: skip
    assert len({table["file"] for table in found}) == 4


def test_checks_that_found_copies_come_first_with_the_copies_before_other_pairs():
    far = pair(99, similarity=0.1, correlation=0.9)
    check = copy_check(WEAK[1], "token", num_copies=1)
    check.copies.insert(0, far)
    given = dataclasses.replace(scores(WEAK), copies=[copy_check(WEAK[0], "raw"), check])
    (table,) = tables.copy_tables(summary_of(given))
    first, second = table["checks"]
    assert (first["class_name"], second["class_name"]) == (WEAK[1], WEAK[0])
    assert [one["picture"] for one in first["pairs"][:3]] == [far.image, pair(0).image, pair(1).image]
    assert len(first["pairs"]) == 21
    assert first["highest"] == 0.9


def test_every_p_value_counts():
    summary = summary_of(scores(WEAK))
    kernel_rows, comparisons, checks, arms = 12, 15, 12, len([row for row in sweep().rows if row.arm != "real"])
    assert tables.num_p_values(summary) == kernel_rows + comparisons + checks + arms
