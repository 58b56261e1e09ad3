"""The first stage of a run: prompts, from captions, photos or templates. Imports torch only to caption photos."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from dataset_diffusion.config import PromptSettings, WorkerSettings
from dataset_diffusion.disk.atomic import write_json
from dataset_diffusion.disk.photos import list_photos
from dataset_diffusion.errors import ConfigError, Skipped
from dataset_diffusion.machine.progress import progress
from dataset_diffusion.prompts.captioner import caption_batches
from dataset_diffusion.prompts.captions import read_captions
from dataset_diffusion.prompts.class_sets import ClassSet, resolve_classes
from dataset_diffusion.prompts.compose import FoundScenes, draw_prompts, find_scenes
from dataset_diffusion.prompts.photos import (
    photo_key,
    read_photo_captions,
    uncaptioned_batches,
    write_captions,
)
from dataset_diffusion.prompts.prompt_files import read_prompts, write_prompts
from dataset_diffusion.prompts.statistics import describe_prompts, format_table
from dataset_diffusion.records import Prompt

MAX_SKIPPED_SHOWN = 20
PHOTOS_AT_ONCE = 16


class MadePrompts(NamedTuple):
    """Prompts and what they are made from.

    Attributes:
        prompts: one for each image.
        classes: the class set that they name classes of.
        found: the captions that they are made from; None where they are from templates.
        stand_in: whether captions from templates stand in for those of photos, which are not captioned yet.
    """

    prompts: list[Prompt]
    classes: ClassSet
    found: FoundScenes | None
    stand_in: bool = False


def make_prompts(
    settings: PromptSettings,
    out: Path,
    *,
    seed: int,
    workers: WorkerSettings = WorkerSettings(),
    skip_bad: Skipped | None = None,
    composed: MadePrompts | None = None,
    batch_size: int = PHOTOS_AT_ONCE,
) -> MadePrompts:
    """Write the prompts, unless they are there already. Captions of photos are kept beside them.

    Args:
        settings: which prompts.
        out: the prompts file.
        seed: the run's seed.
        workers: who captions photos; no caption follows from it.
        skip_bad: takes captions and photos that cannot be used; None refuses them.
        composed: what `compose_prompts` made of the same settings and seed, so that it is not done again.
        batch_size: photos captioned at once.

    Raises:
        ConfigError: the classes cannot be used, or ``out`` holds other prompts.
        PromptError: the captions cannot be used, or ``out`` cannot be read.
        DatasetError: ``out`` cannot be written.
        ModelError: the captioner cannot be loaded.
    """
    made = composed
    if made is None or made.stand_in:
        kept = out.with_suffix(".captions.jsonl")
        made = compose_prompts(settings, kept, seed=seed, workers=workers, skip_bad=skip_bad, batch_size=batch_size)
    if not out.exists():
        write_prompts(out, made.prompts, made.classes)
    elif read_prompts(out) != (made.prompts, made.classes):
        raise ConfigError(f"{out} holds other prompts", fix="use another --out, or delete the file")
    return made


def compose_prompts(
    settings: PromptSettings,
    photo_captions: Path | None = None,
    *,
    seed: int,
    workers: WorkerSettings = WorkerSettings(),
    skip_bad: Skipped | None = None,
    batch_size: int = PHOTOS_AT_ONCE,
) -> MadePrompts:
    """The prompts that settings ask for, not written. Raises as `make_prompts`, and takes its arguments but `out`.

    Photos are captioned only where there is a file, ``photo_captions``, to keep the captions in. Without one templates
    stand in for them, which is enough to check the other settings by.
    """
    classes, source = resolve_classes(settings.classes), settings.captions
    captions: list[str] | None = None
    if source is not None and not source.is_dir():
        captions = read_captions(source, skip_bad)
    elif source is not None:
        photos = list_photos(source)
        if photo_captions is not None:
            captions = _caption(
                photos,
                source,
                settings.captioner,
                photo_captions,
                workers=workers,
                skip_bad=skip_bad,
                batch_size=batch_size,
            )
    found = None if captions is None else find_scenes(captions, classes)
    prompts = draw_prompts(found, classes, settings.num_images, seed)
    return MadePrompts(prompts, classes, found, stand_in=found is None and source is not None)


def _caption(
    photos: list[Path],
    folder: Path,
    captioner: str,
    file: Path,
    *,
    workers: WorkerSettings,
    skip_bad: Skipped | None,
    batch_size: int,
) -> list[str]:
    """The captions of a folder's photos. Those that the file does not keep yet are made and added to it."""
    keys = {photo: photo_key(photo, folder) for photo in photos}
    known = read_photo_captions(file, captioner)
    if batches := uncaptioned_batches(keys, known, batch_size):
        captioned = zip(batches, caption_batches(batches, captioner, workers), strict=True)
        done = len(photos) - sum(map(len, batches))
        with progress("Caption photos", len(photos), "photos", done=done) as advance:
            for count in write_captions(captioned, folder, captioner, file, skip_bad):
                advance(count)
        known = read_photo_captions(file, captioner)
    return [known[key] for key in keys.values() if key in known]


def summarize(made: MadePrompts, skipped: Skipped | None = None, report: Path | None = None) -> Iterator[str]:
    """What was found and left out, line by line, and the same as JSON in the file ``report``."""
    reasons = [] if skipped is None else list(skipped.reasons.values())
    found = describe_prompts(made.prompts, made.found, made.classes) | {"skipped": reasons}
    yield from (f"skipped: {reason}" for reason in reasons[:MAX_SKIPPED_SHOWN])
    if len(reasons) > MAX_SKIPPED_SHOWN:
        yield f"skipped: {len(reasons) - MAX_SKIPPED_SHOWN} more"
    yield from format_table(found)
    if report is not None:
        write_json(report, found, ensure_ascii=False)
