"""New labels from stored heatmaps: no model, many processes or a Ray cluster, the bytes that generating would give."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from dataset_diffusion.config import GenerateSettings, LabelOptions, LabelSettings, WorkerSettings
from dataset_diffusion.dataset.decisions import load_decisions
from dataset_diffusion.dataset.manifest import DatasetManifest
from dataset_diffusion.dataset.replacement import begin_replacement, finish_replacement, resume_replacement
from dataset_diffusion.dataset.schema import (
    HEATMAP_COLUMNS,
    decode_heatmaps,
    decode_row,
    encode_heatmaps,
    encode_label,
    encode_scores,
    picture_size,
    rows_of,
    sample_name,
    sha256,
    with_columns,
)
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.dataset.verify import heatmap_problems
from dataset_diffusion.dataset.writer import DatasetWriter
from dataset_diffusion.disk.atomic import clear_leftovers
from dataset_diffusion.disk.locks import folder_lock
from dataset_diffusion.errors import DatasetError
from dataset_diffusion.labelling.assign import check_exponent, label_map
from dataset_diffusion.labelling.heatmaps import class_heatmaps
from dataset_diffusion.labelling.quality import quality_scores
from dataset_diffusion.machine.process_pool import work_in_processes
from dataset_diffusion.machine.progress import progress


def relabel_dataset(
    source: Path,
    settings: LabelOptions | LabelSettings,
    out: Path | None = None,
    *,
    workers: WorkerSettings = WorkerSettings(),
    decisions: Path | None = None,
) -> DatasetStore:
    """Label a dataset anew from its stored heatmaps. Call again to resume; a finished one is left as it is.

    Args:
        source: a finished dataset that a model generated.
        settings: exponent, thresholds and refinement; what is left open is what fits the dataset's reading.
        out: the new dataset's folder; None puts the new labels in the place of the old ones, which stay whole until all
            the new ones are there.
        decisions: file of decisions, or its folder: how all samples and single ones are to be labelled. What is given
            in ``settings`` beats what it says of all.
        workers: processes with one thread each, of this machine or of a Ray cluster; None takes one per core.

    Returns:
        The relabelled dataset, the same as if it had been generated with these settings.

    Raises:
        DatasetError: the dataset is unfinished or damaged or has no heatmaps, ``out`` holds another one, or the
            decisions are about other pictures.
        ConfigError: no heatmaps are stored for the exponent, or Ray cannot be reached.
        ModelError: Ray's workers die again and again.
    """
    if out is not None and out.resolve() != source.resolve():
        old, manifest, label = _open(source, settings, decisions)
        with folder_lock(out):
            new = DatasetWriter.create(out, manifest)
            _write_missing(old, new, label, workers)
        return new
    if not source.is_dir():
        DatasetStore.open(source)  # refuses it; the lock would make the folder
    with folder_lock(source):
        resume_replacement(source)
        old, manifest, label = _open(source, settings, decisions)
        if old.manifest.provenance.corrections:
            raise DatasetError(
                "relabelling in place would undo what was corrected by hand", got=str(source), fix="choose an --out"
            )
        if old.manifest.differences(manifest):
            new = begin_replacement(old, manifest)
            _write_missing(old, new, label, workers)
            finish_replacement(new)
    return DatasetStore.open(source)


def read_again(
    source: Path,
    settings: LabelOptions | LabelSettings,
    out: Path,
    *,
    reading: str,
    device: str | None = None,
    batch_size: int = 16,
) -> DatasetStore:
    """Read the pictures of a dataset anew, by another reading of the model that made them, and label them.

    Args:
        source: a finished dataset whose model is at hand.
        settings: exponent, thresholds and refinement; what is left open is what fits the reading.
        out: the new dataset's folder. Called again, it resumes.
        reading: a name or file, as in `ModelSpec.resolve_reading`.
        device: ``cpu``, ``cuda``, …; None takes the best one there is.
        batch_size: pictures read at once.

    Raises:
        ConfigError: no such reading, or it is another model's.
        DatasetError: the dataset is unfinished, or no model read it, or ``out`` holds another one.
        ModelError: the model cannot be loaded, or is not the one that made the dataset.
    """
    from dataset_diffusion.diffusion.specs import unchanged_spec

    old = DatasetStore.open(source)
    old.check_complete()
    manifest, provenance = old.manifest, old.manifest.provenance
    if manifest.model is None or provenance.used is None:
        raise DatasetError("no model is known to have made the dataset", got=str(source))
    if provenance.photos is not None:
        raise DatasetError(
            "given photos are not read again from their dataset",
            got=str(source),
            fix="dataset-diffusion annotate with the other --reading and --out",
        )
    spec = unchanged_spec(manifest.model, provenance.lora, manifest.model_revision)
    chosen = spec.resolve_reading(reading).model_copy(update={"when": "drawn"})
    label = settings.resolve(chosen.label)
    used = provenance.used.model_copy(update={"reading": chosen})
    changes = {"label": label, "own_labels": {}, "used": used, "corrections": ()}
    changed = manifest.with_provenance(provenance.model_copy(update=changes))
    with folder_lock(out):
        new = DatasetWriter.create(out, changed)
        if missing := new.missing_shards():
            _read_shards(old, new, missing, device, batch_size)
    return new


def _read_shards(
    old: DatasetStore, new: DatasetWriter, missing: Sequence[int], device: str | None, batch_size: int
) -> None:
    from dataset_diffusion.diffusion.load import load_from_settings
    from dataset_diffusion.diffusion.pictures import Picture, read_each

    provenance = new.manifest.provenance
    assert provenance.used is not None
    assert provenance.label is not None
    settings = GenerateSettings(model=new.manifest.model or "", lora=provenance.lora, device=device)
    model = load_from_settings(settings)
    attend = partial(model.attend, capture=provenance.used.reading)
    with progress("Read again and label", len(new), "images", done=len(new) - new.count(missing)) as advance:
        for shard in missing:
            table = old.read_table(shard)
            samples = list(map(decode_row, rows_of(table)))
            pictures = (Picture(one.image, one.prompt, one.seed) for one in samples)
            heatmaps = []
            for maps in read_each(pictures, attend, batch_size):
                heatmaps.append(class_heatmaps(maps))
                advance()
            encoded = [encode_heatmaps(one) for one in heatmaps]
            columns = {name: [one[name] for one in encoded] for name in HEATMAP_COLUMNS}
            new.write_rows(shard, _relabelled(with_columns(table, columns), new, provenance.label))
    clear_leftovers(new.path / "shards")


def _open(
    dataset: Path, asked: LabelOptions | LabelSettings, decided: Path | None
) -> tuple[DatasetStore, DatasetManifest, LabelSettings]:
    """A dataset that can be labelled anew, the manifest that it then has, and how it is labelled."""
    store = DatasetStore.open(dataset)
    store.check_complete()
    exponents = next(store.read_shard(0, ("exponents",)))["exponents"]
    if exponents is None:
        raise DatasetError(
            "there are no heatmaps to label from", got=str(dataset), expected="a dataset that a model drew"
        )
    decisions = None if decided is None else load_decisions(decided, store.manifest)
    fitting = store.manifest.provenance.fitting if decisions is None or decisions.label is None else decisions.label
    settings = asked.resolve(fitting)
    own = {} if decisions is None else decisions.own_labels
    for one in (settings, *own.values()):
        check_exponent(one.exponent, exponents)
    changes = {"label": settings, "own_labels": own, "corrections": ()}
    provenance = store.manifest.provenance.model_copy(update=changes)
    return store, store.manifest.with_provenance(provenance), settings


def _write_missing(old: DatasetStore, new: DatasetWriter, settings: LabelSettings, workers: WorkerSettings) -> None:
    if not (missing := new.missing_shards()):
        return
    if workers.executor == "ray":
        from dataset_diffusion.machine.ray_pool import work_in_ray

        relabelled = work_in_ray(
            missing,
            partial(_prepare_ray_worker, old.path.resolve(), new.path.resolve(), settings),
            name=lambda shard: f"shard {shard}",
            num_workers=workers.num_workers,
            address=workers.address,
            device="cpu",
            threads=1,
        )
        written: Iterator[int] = (count for _, count in relabelled)
    else:
        written = work_in_processes(missing, partial(relabel_shard, old, new, settings), workers.num_workers)
    with progress("Relabel", len(new), "images", done=len(new) - new.count(missing)) as advance:
        for count in written:
            advance(count)
    clear_leftovers(new.path / "shards")


def _prepare_ray_worker(old: Path, new: Path, settings: LabelSettings, device: str) -> Callable[[int], int]:
    return partial(relabel_shard, DatasetStore.open(old), DatasetWriter.open(new), settings)


def relabel_shard(old: DatasetStore, new: DatasetWriter, settings: LabelSettings, shard: int) -> int:
    """Write a shard of ``new``: the one of ``old`` with other labels. Gives its number of samples."""
    table = old.read_table(shard)
    new.write_rows(shard, _relabelled(table, new, settings))
    return len(new.shard_range(shard))


def _relabelled(table: pa.Table, store: DatasetStore, settings: LabelSettings) -> pa.Table:
    """The rows with the labels and scores that their heatmaps give."""
    columns: dict[str, list[object]] = defaultdict(list)
    for row in rows_of(table):
        label, scores = _relabel(row, store, settings)
        columns["label"].append({"bytes": label, "path": row["label"]["path"].as_py()})
        for name, value in scores.items():
            columns[name].append(value)
        columns["label_sha256"].append(sha256(label))
    return with_columns(table, columns)


def _relabel(row: dict[str, pa.Scalar], store: DatasetStore, settings: LabelSettings) -> tuple[bytes, dict[str, Any]]:
    """The encoded label map and the columns of the scores of a row."""
    settings = store.manifest.provenance.own_labels.get(sample_name(row["index"].as_py()), settings)
    heatmaps = decode_heatmaps(row)
    if heatmaps is None:
        raise DatasetError(f"sample {row['index'].as_py()} of {store.location} has no heatmaps to label from")
    index, classes, data = row["index"].as_py(), row["classes"].as_py(), row["image"]["bytes"].as_py()
    if problem := next(heatmap_problems(heatmaps, len(classes)), None):
        raise DatasetError(f"sample {index} of {store.location} is damaged", got=problem)
    image = store.decode_image(index, data) if settings.refine != "none" else None
    label = label_map(heatmaps, classes, picture_size(data), settings, image=image)
    return encode_label(label, store.class_set), encode_scores(quality_scores(label, classes, heatmaps))
