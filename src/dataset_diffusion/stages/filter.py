"""A new dataset of the samples worth keeping, with a bar."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dataset_diffusion.config import FilterSettings
from dataset_diffusion.dataset.filtering.quantities import QUANTITIES
from dataset_diffusion.dataset.filtering.rules import Rule, parse_rule
from dataset_diffusion.dataset.filtering.select import Selection, judge
from dataset_diffusion.dataset.filtering.subset import write_subset
from dataset_diffusion.dataset.manifest import FILE_NAME, DatasetManifest
from dataset_diffusion.dataset.provenance import FilterStep
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.dataset.writer import DatasetWriter
from dataset_diffusion.disk.locks import folder_lock
from dataset_diffusion.disk.places import Location
from dataset_diffusion.errors import ConfigError, DatasetError
from dataset_diffusion.machine.progress import progress


def filter_samples(source: str | Location, settings: FilterSettings, out: Path) -> DatasetStore:
    """Write the samples that pass all rules as a new dataset, numbered anew. Call again to resume.

    A finished dataset of the same source and rules is returned as it is, without judging any sample again.

    Args:
        source: the dataset's folder.
        settings: what to keep.
        out: folder of the new dataset.

    Returns:
        The new dataset; `last_filter` of its manifest says what was dropped.

    Raises:
        ConfigError: there is no rule, or one that is none.
        DatasetError: the dataset is unfinished or damaged or lacks a score, no sample passes, or ``out`` holds
            another dataset.
        ModelError: a rule asks a model that cannot be loaded.
    """
    rules = [parse_rule(text) for text in settings.rules]
    if not rules:
        raise ConfigError("nothing to filter by", expected='at least one --rule, such as "presence >= 0.4"')
    store = DatasetStore.open(source)
    store.check_complete()
    begun = DatasetManifest.load(out) if (out / FILE_NAME).exists() else None
    if begun is not None:
        # Another dataset is refused before anything is judged.
        manifest = _manifest(store.manifest, rules, settings.image_text, None, begun.num_samples)
        with folder_lock(out):
            target = DatasetWriter.create(out, manifest)
        if target.is_complete:
            return target
    selection = _select(store, rules, settings.image_text)
    # Datasets that version 0.1.0 began do not say how many were dropped.
    dropped = selection.dropped if begun is None else last_filter(begun).dropped
    manifest = _manifest(store.manifest, rules, settings.image_text, dropped, len(selection.kept))
    with folder_lock(out):
        target = DatasetWriter.create(out, manifest)
        done = len(target) - target.count(target.missing_shards())
        with progress("Write what is kept", len(target), "images", done=done) as advance:
            for count in write_subset(store, selection.kept, target):
                advance(count)
    return target


def check_filter(settings: FilterSettings) -> None:
    """Refuse rules that are none, and a model that cannot be loaded, before there is a dataset."""
    if _needs_model([parse_rule(text) for text in settings.rules]):
        from dataset_diffusion.dataset.filtering.image_text import load_image_text

        load_image_text(settings.image_text)


def last_filter(manifest: DatasetManifest) -> FilterStep:
    """The last filtering that a filtered dataset records."""
    return manifest.provenance.filter[-1]


def _manifest(
    source: DatasetManifest, rules: Sequence[Rule], image_text: str, dropped: tuple[int, ...] | None, num_samples: int
) -> DatasetManifest:
    step = FilterStep(
        rules=tuple(map(str, rules)),
        num_samples=source.num_samples,
        config_hash=source.config_hash,
        image_text=image_text if _needs_model(rules) else None,
        dropped=dropped,
    )
    steps = (*source.provenance.filter, step)
    return source.with_provenance(source.provenance.model_copy(update={"filter": steps}), num_samples=num_samples)


def _select(store: DatasetStore, rules: Sequence[Rule], image_text: str) -> Selection:
    broken = []
    with progress("Apply the rules", len(store), "images") as advance:
        for rule in judge(store, rules, image_text):
            broken.append(rule)
            advance()
    selection = Selection.of(broken, len(rules))
    if not selection.kept:
        raise DatasetError("no sample passes the rules", got=", ".join(map(str, rules)), fix="use looser rules")
    return selection


def _needs_model(rules: Sequence[Rule]) -> bool:
    return any(QUANTITIES[rule.quantity].needs_model for rule in rules)
