"""The rows of the page's tables: scores and counts by class, what made the run, its settings, and its recipe."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dataset_diffusion.dataset.counts import LabelCounts
from dataset_diffusion.disk.claims import flatten
from dataset_diffusion.prompts.class_sets import BACKGROUND, ClassSet
from dataset_diffusion.report.contents import Contents, Results


@dataclass(frozen=True)
class ClassScore:
    """How well one class is segmented, in fractions; NaN where there are no pixels to take one of."""

    name: str
    class_id: int | None
    iou: float
    precision: float
    recall: float


@dataclass(frozen=True)
class ClassCount:
    """How much of a dataset is one class: images that name it, images that show it, its share of the pixels."""

    name: str
    class_id: int
    prompted: int
    labelled: int
    share: float


@dataclass(frozen=True)
class SettingsGroup:
    """The settings of one stage as (name, value); "" stands for one that is not set."""

    name: str
    rows: tuple[tuple[str, str], ...]


def class_scores(results: Results, class_set: ClassSet | None) -> list[ClassScore]:
    """One row per class that occurs, best first. Without a confusion matrix precision and recall are NaN."""
    names = class_set.label_names if class_set else (BACKGROUND,)
    ids = {name: class_id for class_id, name in enumerate(names)}
    confusion = np.array(results.confusion_matrix or [[]], dtype=np.int64)
    right, true, predicted = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    with np.errstate(invalid="ignore"):
        precision = dict(zip(results.classes, (right / predicted).tolist(), strict=False))
        recall = dict(zip(results.classes, (right / true).tolist(), strict=False))
    rows = [
        ClassScore(name, ids.get(name), iou, precision.get(name, math.nan), recall.get(name, math.nan))
        for name, iou in results.per_class_iou.items()
    ]
    return sorted(rows, key=lambda row: -row.iou)


def class_counts(statistics: LabelCounts, class_set: ClassSet) -> list[ClassCount]:
    """One row per class, in order of id."""
    prompted, labelled = statistics.prompted.tolist(), statistics.labelled.tolist()
    return [
        ClassCount(name, class_id, prompted[class_id], labelled[class_id], statistics.share(class_id))
        for class_id, name in zip(class_set.ids, class_set.names, strict=True)
    ]


def provenance(contents: Contents) -> list[tuple[str, str]]:
    """What made the run, as (what, which); what is not known is left out."""
    rows: list[tuple[str, object]] = []
    if contents.store is not None:
        manifest = contents.store.manifest
        rows += [
            ("Diffusion model", manifest.model),
            ("Model revision", manifest.model_revision),
            ("Dataset seed", manifest.provenance.seed),
            ("Dataset settings", manifest.config_hash),
            ("Package version", manifest.package_version),
        ]
    if contents.model is not None:
        rows += [("Segmenter", contents.model.segmenter), ("Training seed", contents.model.seed)]
    if contents.results is not None:
        rows += [("Benchmark", contents.results.benchmark)]
    return [(what, str(which)) for what, which in rows if which not in (None, "")]


def settings_groups(config: Mapping[str, Any]) -> list[SettingsGroup]:
    """Settings by stage, those that belong to none first."""
    loose = {name: value for name, value in config.items() if not isinstance(value, Mapping)}
    groups = {"run": loose} | {name: value for name, value in config.items() if isinstance(value, Mapping)}
    return [
        SettingsGroup(group, tuple((name, _shown(value)) for name, value in flatten(values).items()))
        for group, values in groups.items()
        if values
    ]


def recipe(config: Mapping[str, Any], table: str = "") -> str:
    """Settings as TOML, in a table or, for "", at the top level. It has no null: what is not set is left out."""
    values = {name: value for name, value in config.items() if value is not None and not isinstance(value, Mapping)}
    # JSON's strings, numbers, booleans and lists are TOML as they are.
    lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in values.items()]
    if table and lines:
        lines.insert(0, f"[{table}]")
    nested = {name: value for name, value in config.items() if isinstance(value, Mapping)}
    tables = [recipe(value, f"{table}.{name}" if table else name) for name, value in nested.items()]
    return "\n\n".join(filter(None, ["\n".join(lines), *tables]))


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(_shown, value)) if isinstance(value, list) else str(value)
