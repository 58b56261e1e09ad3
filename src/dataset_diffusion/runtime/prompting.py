"""The first stage of a run. By itself, so that making prompts loads no torch unless photos are to be captioned."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from dataset_diffusion.captioning import (
    caption_photos,
    list_photos,
    load_captioner,
    photo_key,
    read_photo_captions,
)
from dataset_diffusion.config import PromptSettings
from dataset_diffusion.dataset.files import atomic_write, explained_write_errors
from dataset_diffusion.errors import ConfigError, PromptError
from dataset_diffusion.prompts.captions import OnBad, read_captions, refuse
from dataset_diffusion.prompts.class_sets import ClassSet, resolve_classes
from dataset_diffusion.prompts.compose import FoundScenes, draw_prompts, find_scenes
from dataset_diffusion.prompts.prompt_files import read_prompts, write_prompts
from dataset_diffusion.prompts.statistics import describe_prompts, format_table
from dataset_diffusion.records import Prompt
from dataset_diffusion.runtime.progress import progress

MAX_SKIPPED_SHOWN = 20


class MadePrompts(NamedTuple):
    """Prompts, the classes they are about, and the captions they are made from (None: from templates)."""

    prompts: list[Prompt]
    classes: ClassSet
    found: FoundScenes | None


def make_prompts(settings: PromptSettings, seed: int, out: Path, on_bad: OnBad = refuse) -> MadePrompts:
    """Write the prompts, unless they are there already. Captions of photos are kept beside them.

    Args:
        settings: which prompts.
        seed: the run's seed.
        out: the prompts file.
        on_bad: what to do about captions and photos that cannot be used. Refused by default.

    Raises:
        ConfigError: the classes cannot be used, or ``out`` holds other prompts.
        PromptError: the captions cannot be used, or ``out`` cannot be read or written.
        ModelError: the captioner cannot be loaded.
    """
    made = compose_prompts(settings, seed, out.with_suffix(".captions.jsonl"), on_bad)
    if not out.exists():
        write_prompts(out, made.prompts, made.classes)
    elif read_prompts(out) != (made.prompts, made.classes):
        raise ConfigError(f"{out} holds other prompts", fix="use another --out, or delete the file")
    return made


def compose_prompts(
    settings: PromptSettings, seed: int, photo_captions: Path | None = None, on_bad: OnBad = refuse
) -> MadePrompts:
    """The prompts that settings ask for. Raises as `make_prompts`; writes no prompts.

    Args:
        settings: which prompts.
        seed: the run's seed.
        photo_captions: file that keeps the captions of photos. Without one photos are not captioned, and templates
            stand in for them: enough to check the other settings by.
        on_bad: as for `make_prompts`.
    """
    classes = resolve_classes(settings.classes)
    found = None
    if settings.captions is not None:
        captions = _read(settings.captions, settings.captioner, photo_captions, on_bad)
        found = None if captions is None else find_scenes(captions, classes)
    return MadePrompts(draw_prompts(found, classes, settings.num_images, seed), classes, found)


def _read(source: Path, captioner: str, photo_captions: Path | None, on_bad: OnBad) -> list[str] | None:
    if not source.is_dir():
        return read_captions(source, on_bad)
    photos = list_photos(source)
    return None if photo_captions is None else _caption(photos, source, captioner, photo_captions, on_bad)


def _caption(photos: list[Path], folder: Path, captioner: str, file: Path, on_bad: OnBad) -> list[str]:
    keys = {photo: photo_key(photo, folder) for photo in photos}
    known = read_photo_captions(file, captioner)
    missing = [photo for photo in photos if keys[photo] not in known]
    if missing:
        model = load_captioner(captioner)
        with progress("Caption photos", len(photos), "photos", done=len(photos) - len(missing)) as advance:
            for number in caption_photos(missing, folder, model, file, on_bad):
                advance(number)
        known = read_photo_captions(file, captioner)
    return [known[key] for key in keys.values() if key in known]


def report_prompts(
    settings: PromptSettings, seed: int, out: Path, report: Path | None = None, *, skip_bad: bool = False
) -> Iterator[str]:
    """Make prompts and say what was found, line by line. Raises as `make_prompts`.

    Args:
        settings: which prompts.
        seed: the run's seed.
        out: the prompts file.
        report: JSON file to write what was found to.
        skip_bad: leave out captions and photos that cannot be used, and list them.
    """
    skipped: list[PromptError] = []
    made = make_prompts(settings, seed, out, skipped.append if skip_bad else refuse)
    found = describe_prompts(made.prompts, made.found, made.classes) | {"skipped": list(map(str, skipped))}
    yield from (f"skipped: {error}" for error in skipped[:MAX_SKIPPED_SHOWN])
    if len(skipped) > MAX_SKIPPED_SHOWN:
        yield f"skipped: {len(skipped) - MAX_SKIPPED_SHOWN} more"
    yield from format_table(found)
    yield f"{len(made.prompts)} prompts in {out}"
    if report is not None:
        with explained_write_errors(report):
            report.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(report, (json.dumps(found, indent=2, ensure_ascii=False) + "\n").encode())
        yield f"wrote {report}"
