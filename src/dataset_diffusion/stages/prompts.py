"""The first stage of a run. By itself, so that making prompts loads no torch unless photos are to be captioned."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from dataset_diffusion.config import PromptSettings, WorkerSettings
from dataset_diffusion.disk.atomic import atomic_write, explained_write_errors
from dataset_diffusion.errors import ConfigError, PromptError
from dataset_diffusion.machine.progress import progress
from dataset_diffusion.prompts.captioner import (
    BATCH_SIZE,
    Captions,
    load_captioner,
    read_photo_captions,
    write_captions,
)
from dataset_diffusion.prompts.captions import OnBad, read_captions, refuse
from dataset_diffusion.prompts.class_sets import ClassSet, resolve_classes
from dataset_diffusion.prompts.compose import FoundScenes, draw_prompts, find_scenes
from dataset_diffusion.prompts.photos import list_photos, photo_key
from dataset_diffusion.prompts.prompt_files import read_prompts, write_prompts
from dataset_diffusion.prompts.statistics import describe_prompts, format_table
from dataset_diffusion.records import Prompt

MAX_SKIPPED_SHOWN = 20


class MadePrompts(NamedTuple):
    """Prompts, the classes they are about, and the captions they are made from (None: from templates)."""

    prompts: list[Prompt]
    classes: ClassSet
    found: FoundScenes | None


def make_prompts(
    settings: PromptSettings,
    seed: int,
    out: Path,
    on_bad: OnBad = refuse,
    executor: WorkerSettings = WorkerSettings(),
) -> MadePrompts:
    """Write the prompts, unless they are there already. Captions of photos are kept beside them.

    Args:
        settings: which prompts.
        seed: the run's seed.
        out: the prompts file.
        on_bad: what to do about captions and photos that cannot be used. Refused by default.
        executor: where photos are captioned; no caption follows from it.

    Raises:
        ConfigError: the classes cannot be used, or ``out`` holds other prompts.
        PromptError: the captions cannot be used, or ``out`` cannot be read.
        DatasetError: ``out`` cannot be written.
        ModelError: the captioner cannot be loaded.
    """
    made = compose_prompts(settings, seed, out.with_suffix(".captions.jsonl"), on_bad, executor)
    if not out.exists():
        write_prompts(out, made.prompts, made.classes)
    elif read_prompts(out) != (made.prompts, made.classes):
        raise ConfigError(f"{out} holds other prompts", fix="use another --out, or delete the file")
    return made


def compose_prompts(
    settings: PromptSettings,
    seed: int,
    photo_captions: Path | None = None,
    on_bad: OnBad = refuse,
    executor: WorkerSettings = WorkerSettings(),
) -> MadePrompts:
    """The prompts that settings ask for. Raises as `make_prompts`; writes no prompts.

    Args:
        settings: which prompts.
        seed: the run's seed.
        photo_captions: file that keeps the captions of photos. Without one photos are not captioned, and templates
            stand in for them: enough to check the other settings by.
        on_bad: as for `make_prompts`.
        executor: likewise.
    """
    classes = resolve_classes(settings.classes)
    found = None
    if settings.captions is not None:
        captions = _read(settings.captions, settings.captioner, photo_captions, on_bad, executor)
        found = None if captions is None else find_scenes(captions, classes)
    return MadePrompts(draw_prompts(found, classes, settings.num_images, seed), classes, found)


def _read(
    source: Path, captioner: str, photo_captions: Path | None, on_bad: OnBad, executor: WorkerSettings
) -> list[str] | None:
    if not source.is_dir():
        return read_captions(source, on_bad)
    photos = list_photos(source)
    if photo_captions is None:
        return None
    return _caption(photos, source, captioner, photo_captions, on_bad=on_bad, executor=executor)


def _caption(
    photos: list[Path], folder: Path, captioner: str, file: Path, *, on_bad: OnBad, executor: WorkerSettings
) -> list[str]:
    keys = {photo: photo_key(photo, folder) for photo in photos}
    known = read_photo_captions(file, captioner)
    # Photos keep their batch whatever is known of the others, as low-order bits may depend on it.
    batches = [
        [photo for photo in photos[start : start + BATCH_SIZE] if keys[photo] not in known]
        for start in range(0, len(photos), BATCH_SIZE)
    ]
    if missing := list(filter(None, batches)):
        done = len(photos) - sum(map(len, missing))
        captioned = _caption_with_ray if executor.executor == "ray" else _caption_here
        with progress("Caption photos", len(photos), "photos", done=done) as advance:
            made = zip(missing, captioned(missing, captioner, executor), strict=True)
            for number in write_captions(made, folder, captioner, file, on_bad):
                advance(number)
        known = read_photo_captions(file, captioner)
    return [known[key] for key in keys.values() if key in known]


def _caption_here(batches: list[list[Path]], captioner: str, executor: WorkerSettings) -> Iterator[Captions]:
    return map(load_captioner(captioner).caption_files, batches)


def _caption_with_ray(batches: list[list[Path]], captioner: str, executor: WorkerSettings) -> Iterator[Captions]:
    """Caption batches in the workers of a Ray cluster; yields the captions in the order of the batches."""
    from dataset_diffusion.machine.ray_pool import absolute, work_in_ray

    made = work_in_ray(
        [(number, [photo.absolute() for photo in batch]) for number, batch in enumerate(batches)],
        partial(_prepare_ray_worker, absolute(captioner)),
        name=lambda piece: f"photos {piece[1][0]} to {piece[1][-1]}",
        num_workers=executor.num_workers,
        address=executor.address,
    )
    early: dict[int, Captions] = {}
    expected = 0
    for (number, _), captions in made:
        early[number] = captions
        while expected in early:
            yield early.pop(expected)
            expected += 1


def _prepare_ray_worker(captioner: str, device: str) -> Callable[[tuple[int, Sequence[Path]]], Captions]:
    model = load_captioner(captioner, device)
    return lambda piece: model.caption_files(piece[1])


def report_prompts(
    settings: PromptSettings,
    seed: int,
    out: Path,
    report: Path | None = None,
    *,
    skip_bad: bool = False,
    executor: WorkerSettings = WorkerSettings(),
) -> Iterator[str]:
    """Make prompts and say what was found, line by line. Raises as `make_prompts`.

    Args:
        settings: which prompts.
        seed: the run's seed.
        out: the prompts file.
        report: JSON file to write what was found to.
        skip_bad: leave out captions and photos that cannot be used, and list them.
        executor: where photos are captioned.
    """
    skipped: list[PromptError] = []
    made = make_prompts(settings, seed, out, skipped.append if skip_bad else refuse, executor)
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
