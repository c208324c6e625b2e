"""The rows of the page's tables about scores, from the lists of `summary.json`.

Numbers share a column only where metric, feature extractor and split of the real images are the same. This module
sorts and joins; it knows nothing about how the page looks, and computes no result.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from flowerti.report.names import VERDICT_NAMES, copies_file, matrix_file, source_order
from flowerti.scoring.metric_table import COMPARISON_METRIC, heading_of, metric_label, metrics_by_kind
from flowerti.tables.sources import SOURCES, judged_source

Row = Mapping[str, Any]
T = TypeVar("T")

MAX_DRAWN_SETS = 48
"""Sets in a figure of the matrix; the table and the summary hold all."""
_REFERENCES = ("test", "validation")


def held_out_split(summary: Row) -> str:
    """The split behind the records that name none: test once it was opened, validation before."""
    return "test" if any(row["reference"] == "test" for row in summary["distances"]) else "validation"


def name_tables(summary: Row) -> list[dict[str, Any]]:
    """Names beside the judged source, a table for each split: a class with its verdict and a row for each source."""
    extractor = _verdict_extractor(summary)
    tables = []
    for reference in _REFERENCES:
        verdicts = {row["class_name"]: row for row in summary["verdicts"] if row["reference"] == reference}
        distances = {
            (row["class_name"], row["source"]): row
            for row in summary["distances"]
            if (row["extractor"], row["metric"], row["reference"]) == (extractor, COMPARISON_METRIC, reference)
        }
        comparisons = {
            (row["class_name"], row["than"]): row for row in _of_judged(summary) if row["reference"] == reference
        }
        classes = [_name_rows(name, verdicts, distances, comparisons) for name in _classes(verdicts, distances)]
        if classes:
            label = metric_label(COMPARISON_METRIC)
            tables.append({"reference": reference, "extractor": extractor, "metric_label": label, "classes": classes})
    return tables


def comparison_tables(summary: Row) -> list[dict[str, Any]]:
    """Comparisons that do not stand in `name_tables`, a table for each extractor, metric and split."""
    shown = {
        (table["reference"], of_class["class_name"], row["source"])
        for table in name_tables(summary)
        for of_class in table["classes"]
        for row in of_class["rows"]
    }
    joined = [row for row in _of_judged(summary) if (row["reference"], row["class_name"], row["than"]) in shown]
    others = [row for row in summary["comparisons"] if row not in joined]
    kinds = dict.fromkeys((row["extractor"], row["metric"], row["reference"]) for row in others)
    return [
        dict(zip(("extractor", "metric", "reference"), kind, strict=True))
        | {"heading": heading_of(kind[1])}
        | {"rows": [row for row in others if (row["extractor"], row["metric"], row["reference"]) == kind]}
        for kind in sorted(kinds, key=lambda kind: _REFERENCES.index(kind[2]))
    ]


def _verdict_extractor(summary: Row) -> str:
    return summary["extractors"][0]["name"] if summary["extractors"] else ""


def _of_judged(summary: Row) -> list[Row]:
    """Comparisons of the judged source with names, of the extractor and metric that verdicts rest on."""
    wanted = (judged_source(), COMPARISON_METRIC, _verdict_extractor(summary))
    return [row for row in summary["comparisons"] if (row["closer"], row["metric"], row["extractor"]) == wanted]


def _classes(verdicts: Mapping[str, Row], distances: Mapping[tuple[str, str], Row]) -> list[str]:
    return list(dict.fromkeys([*verdicts, *(class_name for class_name, _ in distances)]))


def _name_rows(
    class_name: str,
    verdicts: Mapping[str, Row],
    distances: Mapping[tuple[str, str], Row],
    comparisons: Mapping[tuple[str, str], Row],
) -> dict[str, Any]:
    sources = source_order(source for name, source in distances if name == class_name)
    return {
        "class_name": class_name,
        "verdict": verdicts.get(class_name),
        "rows": [
            {
                "source": source,
                "distance": distances[class_name, source],
                "comparison": comparisons.get((class_name, source)),
            }
            for source in sources
        ],
    }


def verdict_counts(summary: Row) -> dict[str, int]:
    """How many classes got each verdict on the held-out split, by its plain name; no zeros."""
    given = [row["verdict"] for row in summary["verdicts"] if row["reference"] == held_out_split(summary)]
    return {name: given.count(verdict) for verdict, name in VERDICT_NAMES.items() if verdict in given}


def distance_tables(summary: Row) -> list[dict[str, Any]]:
    """Kinds of metrics in the order of the page, each with its heading and a table for every extractor and split."""
    distances = summary["distances"]
    found = []
    for kind, metrics in metrics_by_kind(list(dict.fromkeys(row["metric"] for row in distances))).items():
        of_kind = [row for row in distances if row["metric"] in metrics]
        extractors = dict.fromkeys(row["extractor"] for row in of_kind)
        tables = [
            _distance_table(extractor, reference, metrics, rows)
            for extractor in extractors
            for reference in _REFERENCES
            if (rows := [r for r in of_kind if (r["extractor"], r["reference"]) == (extractor, reference)])
        ]
        found.append({"kind": kind, "heading": heading_of(kind), "tables": tables})
    return found


def _distance_table(extractor: str, reference: str, metrics: Sequence[str], rows: Sequence[Row]) -> dict[str, Any]:
    by_set: dict[tuple[Any, ...], dict[str, Row]] = {}
    for row in rows:
        # sets of different sizes stand in rows of their own, so that an n holds for its whole row
        sizes = (row["num_real"], row["num_synthetic"], row["floor_num_pictures"])
        by_set.setdefault((row["class_name"], row["source"], *sizes), {})[row["metric"]] = row
    fields = ("class_name", "source", "num_real", "num_synthetic", "floor_num_pictures")
    return {
        "extractor": extractor,
        "reference": reference,
        "columns": [_column(metric, of) for metric in metrics if (of := [r for r in rows if r["metric"] == metric])],
        "rows": [dict(zip(fields, key, strict=True)) | {"cells": cells} for key, cells in by_set.items()],
    }


def _column(metric: str, rows: Sequence[Row]) -> dict[str, Any]:
    def is_there(field: str) -> bool:
        return any(row[field] is not None for row in rows)

    return {
        "metric": metric,
        "name": metric_label(metric),
        "has_interval": is_there("low") or is_there("high"),
        "has_floor": is_there("floor"),
        "has_p": is_there("p_value"),
        "values": [row[field] for row in rows for field in ("value", "floor", "low", "high")],
    }


def matrix_tables(summary: Row) -> list[dict[str, Any]]:
    """Sets among all classes, a table for each extractor and metric, with the name of its figure."""
    names = summary["class_names"]
    rows = [
        {**row, "own": _at(row["values"], names, row["class_name"]), "least": _at(row["values"], names, row["nearest"])}
        | {"num_own": _at(row["num_real"], names, row["class_name"])}
        for row in in_set_order(summary["matrix"], lambda row: (row["class_name"], row["source"]))
    ]
    kinds = dict.fromkeys((row["extractor"], row["metric"]) for row in rows)
    return [
        {
            "extractor": extractor,
            "metric": metric,
            "heading": heading_of(metric),
            "file": matrix_file(extractor, metric),
            "rows": [row for row in rows if (row["extractor"], row["metric"]) == (extractor, metric)],
        }
        for extractor, metric in kinds
    ]


def in_set_order(rows: Sequence[T], key: Callable[[T], tuple[str, str]]) -> list[T]:
    """Rows by class, in the order in which classes come first, and by source; `key` gives both."""
    classes, known = list(dict.fromkeys(key(row)[0] for row in rows)), ["real", *SOURCES.names]
    place = {source: i for i, source in enumerate(known)}
    return sorted(rows, key=lambda row: (classes.index(key(row)[0]), place.get(key(row)[1], len(known))))


def _at(values: Sequence[Any], names: Sequence[str], name: str) -> Any:
    return values[names.index(name)] if name in names else None


def copy_tables(summary: Row) -> list[dict[str, Any]]:
    """Checks for copies, a table for each extractor, those first that found most; with their figures and all pairs."""
    checks = [
        {
            **check,
            "pairs": pairs_in_order(check["copies"], check["closest"]),
            "highest": max((p["similarity"] for p in check["closest"] if p["similarity"] is not None), default=None),
            "file": copies_file(check["class_name"], check["source"], check["extractor"]),
        }
        for check in sorted(summary["copies"], key=lambda check: -len(check["copies"]))
    ]
    extractors = dict.fromkeys(check["extractor"] for check in checks)
    return [{"extractor": name, "checks": [c for c in checks if c["extractor"] == name]} for name in extractors]


def pairs_in_order(copies: Sequence[T], closest: Sequence[T]) -> list[T]:
    """Copies first, then the closest pairs that are none."""
    return [*copies, *(pair for pair in closest if pair not in copies)]


def num_p_values(summary: Row) -> int:
    """How many tests the page reports."""
    lists = ("distances", "comparisons", "copies")
    of_scores = sum(row["p_value"] is not None for name in lists for row in summary[name])
    return of_scores + sum(row["arm"] != "real" for row in summary["sweep"])
