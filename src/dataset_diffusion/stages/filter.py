"""A new dataset of the samples worth keeping, with a bar."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from dataset_diffusion.config import FilterSettings, config_hash
from dataset_diffusion.dataset.decisions import load_decisions
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


def filter_samples(
    source: str | Location, settings: FilterSettings, out: Path, *, decisions: Path | None = None
) -> DatasetStore:
    """Write the samples that pass all rules and were not dropped by hand as a new dataset. Call again to resume.

    They are numbered anew. A finished dataset of the same source and rules is returned as it is, without judging any
    sample again.

    Args:
        source: the dataset's folder.
        settings: what to keep.
        out: folder of the new dataset.
        decisions: file of decisions about the source, or its folder, that say which samples were dropped by hand.

    Returns:
        The new dataset; `last_filter` of its manifest says what was dropped.

    Raises:
        ConfigError: there is no rule and no file of decisions, or a rule that is none.
        DatasetError: the dataset is unfinished or damaged or lacks a score, no sample passes, ``out`` holds
            another dataset, or the decisions are about other pictures.
        ModelError: a rule asks a model that cannot be loaded.
    """
    rules = [parse_rule(text) for text in settings.rules]
    if not rules and decisions is None:
        raise ConfigError("nothing to filter by", expected='--decisions or a --rule such as "presence >= 0.4"')
    store = DatasetStore.open(source)
    store.check_complete()
    names = None if decisions is None else load_decisions(decisions, store.manifest).dropped
    begun = DatasetManifest.load(out) if (out / FILE_NAME).exists() else None
    if begun is not None:
        # Another dataset is refused before anything is judged.
        manifest = _manifest(
            store.manifest, rules, settings.image_text, names=names, dropped=None, num_samples=begun.num_samples
        )
        with folder_lock(out):
            target = DatasetWriter.create(out, manifest)
        if target.is_complete:
            return target
    selection = _select(store, rules, settings.image_text, names)
    # Datasets that version 0.1.0 began do not say how many were dropped.
    dropped = selection.dropped if begun is None else last_filter(begun).dropped
    manifest = _manifest(
        store.manifest, rules, settings.image_text, names=names, dropped=dropped, num_samples=len(selection.kept)
    )
    with folder_lock(out):
        target = DatasetWriter.create(out, manifest)
        done = len(target) - target.count(target.missing_shards())
        with progress("Copy the images that pass", len(target), "images", done=done) as advance:
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
    source: DatasetManifest,
    rules: Sequence[Rule],
    image_text: str,
    *,
    names: Sequence[str] | None,
    dropped: tuple[int, ...] | None,
    num_samples: int,
) -> DatasetManifest:
    by_hand = () if names is None else (f"not dropped by hand ({config_hash({'dropped': list(names)})})",)
    step = FilterStep(
        rules=(*map(str, rules), *by_hand),
        num_samples=source.num_samples,
        config_hash=source.config_hash,
        image_text=image_text if _needs_model(rules) else None,
        dropped=dropped,
    )
    steps = (*source.provenance.filter, step)
    return source.with_provenance(source.provenance.model_copy(update={"filter": steps}), num_samples=num_samples)


def _select(store: DatasetStore, rules: Sequence[Rule], image_text: str, names: Collection[str] | None) -> Selection:
    broken, dropped = [], {int(name) for name in names or ()}
    with progress("Check images against the rules", len(store), "images") as advance:
        for rule in judge(store, rules, image_text, dropped):
            broken.append(rule)
            advance()
    selection = Selection.of(broken, len(rules) + (names is not None))
    if not selection.kept:
        asked = ", ".join(map(str, rules)) or "all were dropped by hand"
        raise DatasetError("no sample passes the rules", got=asked, fix="use looser rules")
    return selection


def _needs_model(rules: Sequence[Rule]) -> bool:
    return any(QUANTITIES[rule.quantity].needs_model for rule in rules)
