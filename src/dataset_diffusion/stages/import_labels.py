"""The stage that takes corrected label maps back: a new dataset in which they replace the old ones."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from dataset_diffusion.dataset.corrections import read_corrections
from dataset_diffusion.dataset.provenance import Correction
from dataset_diffusion.dataset.schema import (
    LabelMap,
    decode_heatmaps,
    encode_label,
    encode_scores,
    rows_of,
    sha256 as hash_of,
    with_columns,
)
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.dataset.verify import label_problems
from dataset_diffusion.dataset.writer import DatasetWriter
from dataset_diffusion.disk.locks import folder_lock
from dataset_diffusion.disk.pictures import open_upright
from dataset_diffusion.errors import DatasetError
from dataset_diffusion.evaluation.label_maps import decode_ids
from dataset_diffusion.labelling.quality import quality_scores
from dataset_diffusion.machine.progress import progress
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.records import Score


def import_labels(source: Path, corrected: Path, out: Path) -> DatasetStore:
    """Write a dataset in which corrected label maps stand in the place of the old ones. Call again to resume.

    A label map that is the old one, pixel for pixel, is no correction.

    Args:
        source: a finished dataset.
        corrected: a folder of PNGs named as the samples, or a file of CVAT (XML) or Label Studio (JSON).
        out: folder of the new dataset.

    Returns:
        The new dataset; its provenance says which samples were corrected, and `corrected_samples` finds them.

    Raises:
        DatasetError: the dataset is unfinished or damaged, a label map does not fit its sample, nothing was corrected,
            or ``out`` holds another dataset.
    """
    old = DatasetStore.open(source)
    old.check_complete()
    labels = _corrections(old, corrected)
    provenance = old.manifest.provenance
    step = Correction(samples=tuple(sorted(labels)), sha256=_digest(labels), config_hash=old.manifest.config_hash)
    corrections = (*provenance.corrections, step)
    manifest = old.manifest.with_provenance(provenance.model_copy(update={"corrections": corrections}))
    with folder_lock(out):
        new = DatasetWriter.create(out, manifest)
        missing = new.missing_shards()
        with progress(
            "Replace labels by the corrected ones", len(new), "images", done=len(new) - new.count(missing)
        ) as advance:
            for shard in missing:
                _write_shard(old, new, shard, labels)
                advance(len(new.shard_range(shard)))
    return new


def _corrections(store: DatasetStore, corrected: Path) -> dict[int, LabelMap]:
    """The label maps that differ from those of the dataset, by sample."""
    labels: dict[int, LabelMap] = {}
    found = 0
    for index, label in read_corrections(corrected, store.class_set, _decode):
        found += 1
        if index >= len(store):
            raise DatasetError("a label map of no sample", got=index, expected=f"0 to {len(store) - 1}")
        present = store.label(index)
        if label.shape != present.shape:
            size, expected = (f"{one.shape[0]} x {one.shape[1]}" for one in (label, present))
            raise DatasetError(f"the label map of sample {index} has another size", got=size, expected=expected)
        if problem := next(label_problems(label, store.class_set), None):
            raise DatasetError(f"the label map of sample {index} cannot be used", got=problem)
        if not np.array_equal(label, present):
            labels[index] = label
    if not labels:
        raise DatasetError(
            "no label map was corrected",
            got=f"{found} label maps in {corrected}, all as they were" if found else f"none in {corrected}",
            expected="files named as the samples, such as 00000012.png",
        )
    return labels


def _decode(data: bytes, classes: ClassSet) -> LabelMap:
    """The class ids of a picture of ids, or of one in the class set's colours, as CVAT exports masks."""
    picture = open_upright(data)
    if picture.mode not in {"RGB", "RGBA"}:
        return decode_ids(data, classes)
    levels = np.asarray(picture.convert("RGB"))
    label, known = np.zeros(levels.shape[:2], np.uint8), np.zeros(levels.shape[:2], bool)
    for label_id in (*classes.label_ids, classes.ignore_index):
        there = (levels == classes.palette[label_id]).all(axis=-1)
        label[there], known = label_id, known | there
    if not known.all():
        strange = tuple(levels[~known][0].tolist())
        raise DatasetError("a colour of no class", got=strange, expected="the class set's colours, or class ids")
    return label


def _digest(labels: dict[int, LabelMap]) -> str:
    """A hash of what was corrected."""
    digest = sha256()
    for index in sorted(labels):
        digest.update(index.to_bytes(8, "big") + np.ascontiguousarray(labels[index]).tobytes())
    return digest.hexdigest()


def _write_shard(old: DatasetStore, new: DatasetWriter, shard: int, labels: dict[int, LabelMap]) -> None:
    table = old.read_table(shard)
    rows = [_with_label(row, new, labels.get(row["index"].as_py())) for row in rows_of(table)]
    new.write_rows(shard, with_columns(table, {name: [row[name] for row in rows] for name in rows[0]}))


def _with_label(row: dict[str, Any], store: DatasetStore, label: LabelMap | None) -> dict[str, Any]:
    """The columns of a row that a correction changes; as they are where there is none."""
    names = ("label", "label_sha256", *encode_scores({}))
    if label is None:
        return {name: row[name].as_py() for name in names}
    data = encode_label(label, store.class_set)
    scores = quality_scores(label, row["classes"].as_py(), decode_heatmaps(row)) | {Score.CORRECTED: 1.0}
    picture = {"bytes": data, "path": row["label"]["path"].as_py()}
    return {"label": picture, "label_sha256": hash_of(data), **encode_scores(scores)}
