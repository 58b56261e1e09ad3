"""The stage that labels given photos from a model's attention: a dataset like any other, one sample a photo."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from dataset_diffusion.config import (
    AnnotateSettings,
    GenerateSettings,
    ImageSettings,
    LabelOptions,
    LabelSettings,
    WorkerSettings,
    config_hash,
)
from dataset_diffusion.dataset.manifest import FILE_NAME, DatasetManifest
from dataset_diffusion.dataset.provenance import Photos, Provenance, Used
from dataset_diffusion.dataset.schema import as_stored
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.dataset.writer import DatasetWriter
from dataset_diffusion.diffusion.load import load_from_settings
from dataset_diffusion.diffusion.model import DiffusionModel
from dataset_diffusion.diffusion.pictures import Picture, read_each
from dataset_diffusion.diffusion.specs import ModelSpec, model_fingerprint, model_spec
from dataset_diffusion.disk.atomic import atomic_write, clear_leftovers, remove_leftovers
from dataset_diffusion.disk.locks import folder_lock
from dataset_diffusion.disk.photos import list_photos, tell_left_out
from dataset_diffusion.disk.pictures import Photo, read_photo
from dataset_diffusion.errors import DatasetError, PromptError, Skipped, leave_out
from dataset_diffusion.labelling.heatmaps import class_heatmaps
from dataset_diffusion.labelling.quality import stand_out, strongest_attention
from dataset_diffusion.labelling.sample import label_heatmaps
from dataset_diffusion.labelling.tiles import NUM_TILES, is_large, merge_tiles, tiles_of
from dataset_diffusion.machine.devices import explained_memory_errors, usual_dtype
from dataset_diffusion.machine.progress import progress
from dataset_diffusion.prompts.captioner import caption_batches
from dataset_diffusion.prompts.class_sets import ClassSet, resolve_classes
from dataset_diffusion.prompts.compose import compose_prompt
from dataset_diffusion.prompts.mentions import find_classes
from dataset_diffusion.prompts.photo_classes import (
    match_photos,
    read_captioned_classes,
    read_class_table,
    scenes_of_folders,
    write_class_table,
)
from dataset_diffusion.prompts.photos import (
    Captions,
    Key,
    photo_key,
    read_photo_captions,
    uncaptioned_batches,
    write_captions,
)
from dataset_diffusion.prompts.tokens import word_groups
from dataset_diffusion.reading import Reading
from dataset_diffusion.records import AttentionMaps, Prompt, Sample, Scene
from dataset_diffusion.seeding import sample_seed

PHOTOS_AT_ONCE = 16

TABLE = "photos.csv"
"""In the dataset's folder: file name, classes and caption of the photo of each sample, in their order."""

CAPTIONS = "captions.jsonl"
"""Beside it: what a captioner said of each photo."""
PRESENCE = "presence.jsonl"
"""Beside it: how strongly each photo draws every class, in the order of their ids."""
NO_CAPTION = "a photo"
"""What the model is told of a photo of which nothing but its classes is known."""


@dataclass(frozen=True)
class Annotation:
    """Everything that the samples follow from.

    Attributes:
        folder: of the photos.
        photos: all that are listed in it, in the order of their names, and what tells each from others.
        settings: as asked for.
        classes: what is looked for.
        spec: of the model.
        reading: how its attention is read.
        seed: the run's.
        device: where the model computes; None takes the best one there is.
        batch_size: pictures read at once.
    """

    folder: Path
    photos: dict[Path, Key]
    settings: AnnotateSettings
    classes: ClassSet
    spec: ModelSpec
    reading: Reading
    seed: int
    device: str | None
    batch_size: int

    @cached_property
    def model(self) -> DiffusionModel:
        """Loaded when it is asked for, once."""
        settings = GenerateSettings(model=self.settings.model, dtype=self.settings.dtype, device=self.device)
        return load_from_settings(settings)

    @cached_property
    def source(self) -> str:
        """What says which classes a photo shows."""
        in_folders = all(scenes_of_folders(list(self.photos), self.classes))
        return self.settings.source or ("folders" if in_folders else "presence")

    def attend(self, pictures: Iterable[Picture], reading: Reading) -> Iterator[AttentionMaps]:
        """The attention of each picture, in order.

        Raises:
            ModelError: the memory is too small for the batch.
        """
        fix = "a smaller --batch-size, or --device cpu"
        with explained_memory_errors(f"for {self.batch_size} photos at once", fix):
            yield from read_each(pictures, partial(self.model.attend, capture=reading), self.batch_size)


def annotate(
    photos: Path,
    settings: AnnotateSettings,
    out: Path,
    *,
    label: LabelOptions,
    seed: int,
    device: str | None = None,
    skip_bad: Skipped | None = None,
    batch_size: int = PHOTOS_AT_ONCE,
) -> DatasetStore:
    """Label a folder of photos from the attention that a model pays them. The same call again resumes.

    Photos that show none of the classes, or that a file says nothing of, are told and left out: a sample needs a class.

    Args:
        photos: the folder; those in folders of it count too.
        settings: the model, how it is read, and what says which classes a photo shows.
        out: the dataset's folder. Label maps have the size of their photo.
        label: thresholds and refinement; what is left open is what fits the reading.
        seed: of the noise that photos are read with.
        device: ``cpu``, ``cuda``, …; None takes the best one there is.
        skip_bad: takes photos that cannot be used, and entries of captions and names; None refuses them.
        batch_size: pictures read at once; only rounding depends on it.

    Raises:
        ConfigError: the classes, the reading or the device cannot be used.
        DatasetError: a photo cannot be read, there are none, or ``out`` holds a dataset of others or other settings.
        ModelError: the model or the captioner cannot be loaded.
        PromptError: the captions or names cannot be used, or no photo shows a class.
    """
    listed = {photo: photo_key(photo, photos) for photo in list_photos(photos)}
    spec = model_spec(settings.model)
    begun = DatasetManifest.load(out) if (out / FILE_NAME).exists() else None
    before = Provenance() if begun is None else begun.provenance
    reading = spec.resolve_reading(settings.reading)
    if before.used is not None and settings.reading is None:
        reading = before.used.reading
    drawn, classes = reading.model_copy(update={"when": "drawn"}), resolve_classes(settings.classes)
    job = Annotation(photos, listed, settings, classes, spec, drawn, seed, device, batch_size)
    labelled = label.resolve(reading.label)
    with folder_lock(out):
        if begun is not None:  # so that other settings are refused before the model looks for classes
            DatasetWriter.create(out, _manifest(job, labelled, begun.num_samples, before.prompts_sha256))
        work = _plan(job, out, before.photos, skip_bad)
        prompts = hashlib.sha256(repr(work.prompts).encode()).hexdigest()[:16]
        store = DatasetWriter.create(out, _manifest(job, labelled, len(work.photos), prompts, work.left_out))
        if missing := store.missing_shards():
            _write_table(job, work, out / TABLE)
            _label_shards(store, job, work, missing)
            clear_leftovers(out / "shards")
    return store


@dataclass(frozen=True)
class _Work:
    """The photos that become samples, what each shows, and the names of those that cannot be used."""

    photos: list[Path]
    prompts: list[Prompt]
    left_out: tuple[str, ...]


def _plan(job: Annotation, out: Path, recorded: Photos | None, skip_bad: Skipped | None) -> _Work:
    """Which photo becomes which sample. What a dataset that was begun left out is not looked at again."""
    left_out = _unreadable(job, skip_bad) if recorded is None else set(recorded.left_out)
    usable = [photo for photo, (name, _) in job.photos.items() if name not in left_out]
    scenes = _find_scenes(job, usable, out, skip_bad)
    shown = [(photo, scene) for photo, scene in zip(usable, scenes, strict=True) if scene and scene.classes]
    tell_left_out("that show none of the classes", sorted(set(usable) - {photo for photo, _ in shown}))
    if recorded is None:
        shown, refused = _without_refused(job, shown, skip_bad)
        left_out |= refused
    if not shown:
        raise PromptError(
            "no photo shows a class",
            got=f"{len(job.photos)} photos in {job.folder}, classes from {job.source}",
            expected=f"classes such as {', '.join(job.classes.names[:5])}",
        )
    prompts = [_prompt(index, scene, job.classes) for index, (_, scene) in enumerate(shown)]
    return _Work([photo for photo, _ in shown], prompts, tuple(sorted(left_out)))


def _prompt(index: int, scene: Scene, classes: ClassSet) -> Prompt:
    return compose_prompt(index, scene.caption or NO_CAPTION, scene.classes, classes)


def _unreadable(job: Annotation, skip_bad: Skipped | None) -> set[str]:
    """Names of the photos that cannot be read, where those are to be skipped."""
    bad: set[str] = set()
    pool = ThreadPoolExecutor()  # decoding leaves Python's lock to others
    try:
        with progress("Check that photos can be read", len(job.photos), "photos") as advance:
            for (name, _), error in zip(job.photos.values(), pool.map(_problem, job.photos), strict=True):
                if error is not None:
                    leave_out(name, error, skip_bad)
                    bad.add(name)
                advance()
    finally:
        pool.shutdown(cancel_futures=True)
    return bad


def _problem(photo: Path) -> DatasetError | None:
    try:
        read_photo(photo)
    except DatasetError as error:
        return error
    return None


def _without_refused(
    job: Annotation, shown: list[tuple[Path, Scene]], skip_bad: Skipped | None
) -> tuple[list[tuple[Path, Scene]], set[str]]:
    """The photos whose prompts the model can read, and the names of the others."""
    kept: list[tuple[Path, Scene]] = []
    refused: set[str] = set()
    plan = replace(job.spec.resolve(ImageSettings()), reading=job.reading)
    for photo, scene in shown:
        try:
            job.model.check([_prompt(0, scene, job.classes)], plan)
        except PromptError as error:
            name, _ = job.photos[photo]
            leave_out(name, PromptError(f"the photo {name}: {error}"), skip_bad)
            refused.add(name)
        else:
            kept.append((photo, scene))
    return kept, refused


def _find_scenes(job: Annotation, photos: list[Path], out: Path, skip_bad: Skipped | None) -> list[Scene | None]:
    """What each photo shows, as the source of the classes says; None where it says nothing."""
    file = job.settings.captions or job.settings.names
    if file is not None:
        read = read_captioned_classes if job.source == "captions" else read_class_table
        return match_photos([job.photos[photo][0] for photo in photos], read(file, job.classes, skip_bad), file)
    if job.source == "folders":
        return scenes_of_folders(photos, job.classes)
    if job.source == "captioner":
        answer = partial(caption_batches, captioner=job.settings.captioner, workers=WorkerSettings())
        captions = _ask(job, photos, job.settings.captioner, answer, out / CAPTIONS)
        return [Scene(caption, find_classes(caption, job.classes)) for caption in captions]
    return _present(job, photos, out / PRESENCE)


def _present(job: Annotation, photos: list[Path], file: Path) -> list[Scene | None]:
    """The classes that draw more attention in a photo than they do in the others, by the plain reading."""
    reading = job.spec.resolve_reading("plain")
    follows_from = {
        "model": model_fingerprint(job.spec),
        "reading": reading.model_dump(mode="json"),
        "classes": job.classes.words,
        "seed": job.seed,
    }
    said = _ask(job, photos, f"presence {config_hash(follows_from)}", partial(_score_classes, job, reading), file)
    scores = np.array([list(map(float, one.split())) for one in said])
    present = stand_out(scores) >= job.settings.presence_threshold
    return [Scene("", tuple((np.flatnonzero(row) + 1).tolist())) for row in present]


def _score_classes(job: Annotation, reading: Reading, batches: list[list[Path]]) -> Iterator[Captions]:
    """For each batch of photos, how strongly each photo draws every class, as numbers with a space between them."""
    order = {photo: number for number, photo in enumerate(job.photos)}
    model, words = job.model, job.classes.words
    parts = word_groups(model.tokenizer, words, model.class_limit)
    groups = [(tuple(job.classes.ids[part]), words[part]) for part in parts]
    prompts = [Prompt(0, NO_CAPTION, " ".join(some), ids, some) for ids, some in groups]
    for batch in batches:
        images = [job.model.fit_picture(read_photo(photo)) for photo in batch]
        seeds = [sample_seed(job.seed, order[photo]) for photo in batch]
        scores = []
        for prompt in prompts:
            pictures = (Picture(image, prompt, seed) for image, seed in zip(images, seeds, strict=True))
            scores.append([strongest_attention(maps) for maps in job.attend(pictures, reading)])
        yield [" ".join(f"{score:.5g}" for score in np.concatenate(one)) for one in zip(*scores, strict=True)]


def _ask(
    job: Annotation,
    photos: list[Path],
    who: str,
    answers: Callable[[list[list[Path]]], Iterator[Captions]],
    file: Path,
) -> list[str]:
    """What a model says of each photo. What the file does not keep yet is asked and added to it."""
    keys = {photo: job.photos[photo] for photo in photos}
    known = read_photo_captions(file, who)
    if batches := uncaptioned_batches(keys, known, PHOTOS_AT_ONCE):
        answered = zip(batches, answers(batches), strict=True)
        with progress(
            "Find which classes each photo shows", len(photos), "photos", done=len(photos) - sum(map(len, batches))
        ) as advance:
            for count in write_captions(answered, job.folder, who, file):
                advance(count)
        known = read_photo_captions(file, who)
    return [known[key] for key in keys.values()]


def _manifest(
    job: Annotation,
    label: LabelSettings,
    num_samples: int,
    prompts_sha256: str | None,
    left_out: tuple[str, ...] = (),
) -> DatasetManifest:
    settings, spec = job.settings, job.spec
    listing = hashlib.sha256(repr(list(job.photos.values())).encode(errors="surrogateescape")).hexdigest()[:16]
    return DatasetManifest.made_from(
        Provenance(
            seed=job.seed,
            prompts_sha256=prompts_sha256,
            photos=Photos(sha256=listing, classes_from=job.source, dtype=settings.dtype, left_out=left_out),
            label=label,
            used=Used(
                height=spec.height,
                width=spec.width,
                dtype=settings.dtype or usual_dtype(job.device, spec.dtype),
                reading=job.reading,
            ),
        ),
        num_samples=num_samples,
        shard_size=settings.shard_size,
        image_format=settings.image_format,
        model=settings.model,
        model_revision=model_fingerprint(spec),
        class_set=job.classes,
    )


def _write_table(job: Annotation, work: _Work, file: Path) -> None:
    names = (job.photos[photo][0] for photo in work.photos)
    atomic_write(file, write_class_table(zip(names, work.prompts, strict=True), job.classes))
    remove_leftovers(file)


def _label_shards(store: DatasetWriter, job: Annotation, work: _Work, missing: list[int]) -> None:
    with progress(
        "Label photos from the attention", len(store), "photos", done=len(store) - store.count(missing)
    ) as advance:
        for shard in missing:
            rows: list[dict[str, Any]] = []
            for sample in _samples(job, work, store.shard_range(shard), store.manifest):
                rows += store.encode([sample])
                advance()
            store.write_rows(shard, rows)


def _samples(job: Annotation, work: _Work, indices: range, manifest: DatasetManifest) -> Iterator[Sample]:
    """The labelled photos of a shard, each read from its file when it is its turn."""
    label = manifest.provenance.label
    assert label is not None
    waiting: deque[Photo] = deque()
    maps = job.attend(_pictures(job, work, indices, waiting), job.reading)
    for index in indices:
        whole, prompt, seed = next(maps), work.prompts[index], sample_seed(job.seed, index)
        image = waiting.popleft()
        tiles = list(islice(maps, NUM_TILES)) if _is_large(job, image) else []
        heatmaps = merge_tiles(whole, tiles) if tiles else class_heatmaps(whole)
        stored = None if label.refine == "none" else as_stored(image, manifest.image_format)
        yield label_heatmaps(prompt, seed, image, heatmaps, label, stored=stored)


def _pictures(job: Annotation, work: _Work, indices: range, waiting: deque[Photo]) -> Iterator[Picture]:
    """What the model looks at of each photo: it whole, and its tiles where it is large. Photos go to ``waiting``."""
    for index in indices:
        image, prompt, seed = read_photo(work.photos[index]), work.prompts[index], sample_seed(job.seed, index)
        waiting.append(image)
        parts = tiles_of(image) if _is_large(job, image) else ()
        yield from (Picture(job.model.fit_picture(part), prompt, seed) for part in (image, *parts))


def _is_large(job: Annotation, image: Photo) -> bool:
    return is_large(image.shape[:2], (job.spec.height, job.spec.width))
