"""The stage that uses a trained segmenter: label maps, overlays and class shares of a user's own photos."""

from __future__ import annotations

import csv
import io
from collections import Counter, deque
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np

from dataset_diffusion.config import PredictSettings
from dataset_diffusion.dataset.schema import decode_label, encode_image, encode_label
from dataset_diffusion.disk.atomic import (
    atomic_write,
    clear_leftovers,
    explained_write_errors,
    read_json,
    write_file,
    write_json,
)
from dataset_diffusion.disk.claims import differences, refuse_differences
from dataset_diffusion.disk.locks import folder_lock
from dataset_diffusion.disk.photos import list_photos
from dataset_diffusion.disk.pictures import Photo, read_photo
from dataset_diffusion.errors import DatasetError, Skipped, leave_out
from dataset_diffusion.machine.progress import progress
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.report.figures import overlay
from dataset_diffusion.run_folder import DESCRIPTION, WEIGHTS
from dataset_diffusion.segmentation.model_folder import ModelFolder, TrainedSegmenter
from dataset_diffusion.segmentation.predict import Views, predict as predict_images

LABELS, OVERLAYS, SHARES, CLAIM = "labels", "overlays", "shares.csv", "predict.json"


def predict(
    model: Path,
    photos: Path,
    settings: PredictSettings,
    out: Path,
    *,
    device: str | None = None,
    skip_bad: Skipped | None = None,
) -> list[str]:
    """Label photos, or the frames of a video. Call again to resume: a photo that has a label map is left as it is.

    Args:
        model: folder of the trained segmenter.
        photos: a folder, searched with the folders in it, or one photo.
        settings: how photos are shown to the segmenter.
        out: gets ``labels/NAME.png`` (palette PNGs of class ids), ``overlays/NAME.jpg`` and ``shares.csv``, the share
            of each class in a photo's pixels (0 to 1). NAME is the photo's without its suffix, or with it where two
            photos differ in that alone.
        device: ``cpu``, ``cuda``, …; None takes the best one there is.
        skip_bad: collects photos that cannot be read; None raises.

    Returns:
        The names of the labelled photos, in order.

    Raises:
        DatasetError: there are no photos, one cannot be read, or ``out`` holds the predictions of another segmenter.
        ModelError: the segmenter cannot be loaded.
    """
    folder = ModelFolder.open(model)
    files = _named(photos)
    with folder_lock(out):
        _claim(out, model, settings)
        missing = {name: path for name, path in files.items() if not (out / LABELS / f"{name}.png").exists()}
        if missing:
            _predict_missing(folder.load(device), missing, settings, out, skip_bad=skip_bad, total=len(files))
        done = [name for name in files if (out / LABELS / f"{name}.png").exists()]
        atomic_write(out / SHARES, _shares(out, done, folder.class_set).encode())
        for place in {out, *((out / kind / name).parent for kind in (LABELS, OVERLAYS) for name in done)}:
            clear_leftovers(place)
    return done


def _named(photos: Path) -> dict[str, Path]:
    """The photos by the names of what is written about them."""
    if photos.is_file():
        return {photos.stem: photos}
    files = list_photos(photos)
    names = Counter(file.relative_to(photos).with_suffix("").as_posix() for file in files)
    named = {}
    for file in files:
        name = file.relative_to(photos)
        alone = names[name.with_suffix("").as_posix()] == 1
        named[(name.with_suffix("") if alone else name).as_posix()] = file
    return named


def _claim(out: Path, model: Path, settings: PredictSettings) -> None:
    """Refuse a folder of another segmenter's predictions, or of other settings."""
    with explained_write_errors(model):
        digest = sha256((model / DESCRIPTION).read_bytes() + (model / WEIGHTS).read_bytes()).hexdigest()
    asked = {"model": digest[:16], "sliding_window": settings.sliding_window}
    path = out / CLAIM
    if not path.exists():
        write_json(path, asked)
        return
    there = read_json(path, fix=f"use another --out or delete {out}")
    refuse_differences(differences(there, asked), out, "other predictions", DatasetError)


def _predict_missing(
    segmenter: TrainedSegmenter,
    missing: dict[str, Path],
    settings: PredictSettings,
    out: Path,
    *,
    skip_bad: Skipped | None,
    total: int,
) -> None:
    waiting: deque[tuple[str, Photo]] = deque()

    def images() -> Iterator[Photo]:
        for name, path in missing.items():
            try:
                image = read_photo(path)
            except DatasetError as error:
                leave_out(str(path), error, skip_bad)
                continue
            waiting.append((name, image))
            yield image

    views = Views(window=settings.sliding_window)
    with progress("Label photos", total, "photos", done=total - len(missing)) as advance:
        for label in predict_images(segmenter.model, images(), views, settings.batch_size):
            name, image = waiting.popleft()
            # The label map last: a photo that has one is done.
            write_file(out / OVERLAYS / f"{name}.jpg", encode_image(overlay(image, label, segmenter.class_set), "jpeg"))
            write_file(out / LABELS / f"{name}.png", encode_label(label, segmenter.class_set))
            advance()


def _shares(out: Path, names: list[str], classes: ClassSet) -> str:
    """A table of each class's share in the pixels of every photo."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["name", *classes.label_names])
    for name in names:
        label = decode_label((out / LABELS / f"{name}.png").read_bytes())
        counts = np.bincount(label.ravel(), minlength=len(classes.label_ids))
        table.writerow([name, *(f"{count / label.size:.6f}" for count in counts[: len(classes.label_ids)])])
    return text.getvalue()
