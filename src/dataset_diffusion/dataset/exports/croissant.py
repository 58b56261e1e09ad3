"""Croissant: what the Parquet files of a dataset hold, for the tools of mlcommons.org/croissant (specification 1.0)."""

from __future__ import annotations

from typing import Any

from dataset_diffusion.dataset.exports.job import SPLITS, Job, Split

FILE_NAME = "croissant.json"

_TERMS = """
citeAs column equivalentProperty extract field fileProperty fileObject fileSet format includes isLiveDataset jsonPath
key md5 parentField path recordSet references regex repeated replace samplingRate separator source subField transform
"""
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    **{term: f"cr:{term}" for term in _TERMS.split()},
}

_COLUMNS = {
    "index": "sc:Integer",
    "prompt": "sc:Text",
    "class_prompt": "sc:Text",
    "image": "sc:ImageObject",
    "label": "sc:ImageObject",
}


def metadata(job: Job) -> dict[str, Any]:
    """The metadata of a folder with ``data/SPLIT-*.parquet``: a record set a split, and one of the label ids' names."""
    splits = [split for split in SPLITS if any(job.names(split))]
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": f"{job.class_set.name}-segmentation",
        "description": f"Images and label maps of {job.class_set.num_classes} classes for semantic segmentation.",
        "license": job.settings.licence or "not stated",
        "url": "https://huggingface.co/datasets",
        "version": "1.0.0",
        "distribution": [
            {
                "@type": "cr:FileSet",
                "@id": f"{split}-files",
                "name": f"{split}-files",
                "encodingFormat": "application/x-parquet",
                "includes": f"data/{split}-*.parquet",
            }
            for split in splits
        ],
        "recordSet": [_label_ids(job), *map(_records, splits)],
    }


def _records(split: Split) -> dict[str, Any]:
    fields = []
    for column, data_type in _COLUMNS.items():
        source: dict[str, Any] = {"fileSet": {"@id": f"{split}-files"}, "extract": {"column": column}}
        if data_type == "sc:ImageObject":
            source["transform"] = {"jsonPath": "bytes"}
        fields.append(_field(split, column, data_type, source=source))
    return {"@type": "cr:RecordSet", "@id": split, "name": split, "field": fields}


def _label_ids(job: Job) -> dict[str, Any]:
    names = {**dict(enumerate(job.class_set.label_names)), job.class_set.ignore_index: "uncertain"}
    return {
        "@type": "cr:RecordSet",
        "@id": "label_ids",
        "name": "label_ids",
        "field": [_field("label_ids", "id", "sc:Integer"), _field("label_ids", "name", "sc:Text")],
        "data": [{"label_ids/id": label_id, "label_ids/name": name} for label_id, name in names.items()],
    }


def _field(record_set: str, name: str, data_type: str, **more: object) -> dict[str, Any]:
    named = f"{record_set}/{name}"
    return {"@type": "cr:Field", "@id": named, "name": named, "dataType": data_type, **more}
