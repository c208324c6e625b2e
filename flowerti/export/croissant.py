"""Describes an exported training set in Croissant (version 1.0, https://docs.mlcommons.org/croissant/docs/).

This module builds JSON-LD from names and hashes; it opens no file.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from flowerti.export.columns import COLUMNS

_TYPES = {"bool": "sc:Boolean", "string": "sc:Text", "float64": "sc:Float", "int64": "sc:Integer"}
_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""As the specification's appendix lists it."""


def croissant(name: str, class_names: Sequence[str], files: Mapping[str, str]) -> dict[str, Any]:
    """The JSON-LD of a training set.

    Args:
        name: of the data set.
        class_names: in the order of their ids.
        files: SHA-256 of each Parquet file by its path beside the description.
    """
    distribution: list[dict[str, Any]] = [
        {
            "@type": "cr:FileObject",
            "@id": path,
            "name": path,
            "contentUrl": path,
            "encodingFormat": "application/x-parquet",
            "sha256": sha256,
        }
        for path, sha256 in files.items()
    ]
    distribution.append(
        {
            "@type": "cr:FileSet",
            "@id": "parquet-files",
            "name": "parquet-files",
            "encodingFormat": "application/x-parquet",
            "includes": "data/train-*.parquet",
        }
    )
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": name,
        "description": "Real training images of a data set, and images that a text-to-image model drew beside them.",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "distribution": distribution,
        "recordSet": [_classes(class_names), _images()],
    }


def _classes(class_names: Sequence[str]) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": "classes",
        "name": "classes",
        "dataType": "sc:Enumeration",
        "key": {"@id": "classes/id"},
        "field": [
            {"@type": "cr:Field", "@id": "classes/id", "name": "id", "dataType": "sc:Integer"},
            {"@type": "cr:Field", "@id": "classes/name", "name": "name", "dataType": "sc:Text"},
        ],
        "data": [{"classes/id": i, "classes/name": name} for i, name in enumerate(class_names)],
    }


def _images() -> dict[str, Any]:
    fields = [
        _field("image", "sc:ImageObject", "bytes"),
        _field("label", "sc:Integer") | {"description": "The id of its class in the record set classes."},
    ]
    fields += [_field(column, _TYPES[kind]) for column, kind in COLUMNS.items()]
    return {"@type": "cr:RecordSet", "@id": "images", "name": "images", "field": fields}


def _field(column: str, data_type: str, part: str = "") -> dict[str, Any]:
    source: dict[str, Any] = {"fileSet": {"@id": "parquet-files"}, "extract": {"column": column}}
    if part:
        source["transform"] = {"jsonPath": part}
    return {
        "@type": "cr:Field",
        "@id": f"images/{column}",
        "name": column,
        "dataType": data_type,
        "source": source,
    }
