"""A new dataset of the samples worth keeping, with a bar."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from dataset_diffusion.config import FilterSettings
from dataset_diffusion.dataset.filtering.rules import Rule, parse_rule
from dataset_diffusion.dataset.filtering.select import Selection, select
from dataset_diffusion.dataset.provenance import FilterStep
from dataset_diffusion.dataset.schema import decode_image, sample_name, with_columns
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.dataset.verify import check_pictures
from dataset_diffusion.dataset.writer import DatasetWriter
from dataset_diffusion.disk.locks import folder_lock
from dataset_diffusion.disk.places import Location
from dataset_diffusion.errors import ConfigError, DatasetError
from dataset_diffusion.machine.progress import progress
from dataset_diffusion.prompts.captions import remove_class_prompt

_BATCH_SIZE = 16


def filter_dataset(dataset: str | Location, settings: FilterSettings, out: Path) -> tuple[DatasetStore, Selection]:
    """Write the samples that pass all rules as a new dataset, numbered anew. Call again to resume.

    Args:
        dataset: the dataset's folder.
        settings: what to keep.
        out: folder of the new dataset.

    Returns:
        The new dataset, and which samples it holds.

    Raises:
        ConfigError: there is no rule, or one that is none.
        DatasetError: the dataset is unfinished or damaged or lacks a score, no sample passes, or ``out`` holds
            another dataset.
        ModelError: a rule asks a model that cannot be loaded.
    """
    rules = [parse_rule(text) for text in settings.rules]
    if not rules:
        raise ConfigError("nothing to filter by", expected='at least one --rule, such as "presence >= 0.4"')
    source = DatasetStore.open(dataset)
    source.check_complete()
    needs_model = _needs_model(rules)
    scores = {"image_text": score_image_text(source, settings.image_text)} if needs_model else {}
    with progress("Judge", len(source), "images") as advance:
        selection = select(source, rules, on_sample=advance, scores=scores)
    if not selection.kept:
        raise DatasetError("no sample passes the rules", got=", ".join(map(str, rules)), fix="use looser rules")
    step = FilterStep(
        rules=tuple(map(str, rules)),
        num_samples=len(source),
        config_hash=source.manifest.config_hash,
        image_text=settings.image_text if needs_model else None,
        dropped=tuple(selection.dropped),
    )
    before = source.manifest.provenance
    provenance = before.model_copy(update={"filter": (*before.filter, step)})
    manifest = source.manifest.with_provenance(provenance, num_samples=len(selection.kept))
    with folder_lock(out):
        target = DatasetWriter.create(out, manifest)
        work = target.missing_shards()
        with progress("Write", len(target), "images", done=len(target) - target.count(work)) as advance:
            for shard in work:
                target.write_rows(shard, _gather(source, selection.kept, target.shard_range(shard)))
                advance(len(target.shard_range(shard)))
    return target, selection


def check_filter(settings: FilterSettings) -> None:
    """Refuse what cannot be filtered by, before there is a dataset.

    Raises:
        ConfigError: a rule that is none.
        ModelError: a rule asks a model that cannot be loaded.
    """
    if _needs_model([parse_rule(text) for text in settings.rules]):
        from dataset_diffusion.dataset.filtering.image_text import load_image_text

        load_image_text(settings.image_text)


def score_image_text(store: DatasetStore, model: str) -> list[float]:
    """How well each image of a finished dataset fits its caption, without the class words appended to it.

    Args:
        store: the dataset.
        model: a CLIP model, a hub id or a local folder.

    Returns:
        The cosine similarities, in [-1, 1], in order of index.

    Raises:
        ModelError: no such model.
        DatasetError: the dataset is damaged.
    """
    # Here, since transformers takes a second to import and only these rules need it.
    from dataset_diffusion.dataset.filtering.image_text import load_image_text

    scorer, scores = load_image_text(model), []
    shards = range(store.manifest.num_shards)
    rows = chain.from_iterable(store.read_shard(shard, ("image", "prompt", "class_prompt")) for shard in shards)
    with progress("Compare", len(store), "images") as advance:
        while batch := list(islice(rows, _BATCH_SIZE)):
            images = [decode_image(row["image"]["bytes"]) for row in batch]
            captions = [remove_class_prompt(row["prompt"], row["class_prompt"]) for row in batch]
            scores += scorer.score(images, captions).tolist()
            advance(len(batch))
    return scores


def _needs_model(rules: Sequence[Rule]) -> bool:
    return any(rule.quantity == "image_text" for rule in rules)


def _gather(source: DatasetStore, kept: Sequence[int], indices: range) -> pa.Table:
    """The rows of new indices. One shard of the source is in memory at a time."""
    shards, rows = np.divmod(np.array(kept)[indices.start : indices.stop], source.manifest.shard_size)
    parts = [source.read_table(shard).take(rows[shards == shard]) for shard in np.unique(shards).tolist()]
    table = pa.concat_tables(parts).combine_chunks()
    check_pictures(table, ("image", "label"), source.location)
    return _renumber(table, indices)


def _renumber(table: pa.Table, indices: range) -> pa.Table:
    columns: dict[str, list[object]] = {"index": list(indices)}
    for name in ("image", "label"):
        pictures = table[name].to_pylist()
        columns[name] = [
            {"bytes": picture["bytes"], "path": sample_name(index) + Path(picture["path"]).suffix}
            for index, picture in zip(indices, pictures, strict=True)
        ]
    return with_columns(table, columns)
