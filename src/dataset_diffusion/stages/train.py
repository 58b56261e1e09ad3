"""The stage that trains: a segmenter on datasets, on real photos with true labels, or on both."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import torch

from dataset_diffusion.config import TrainSettings
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.disk.locks import folder_lock
from dataset_diffusion.disk.places import Location
from dataset_diffusion.errors import ConfigError, DatasetError, Skipped, leave_out
from dataset_diffusion.evaluation.benchmark import Benchmark
from dataset_diffusion.evaluation.table import open_benchmark, train_split
from dataset_diffusion.evaluation.training_pairs import RealData, find_bad_images
from dataset_diffusion.machine.progress import Advance, progress
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.run_folder import DESCRIPTION
from dataset_diffusion.segmentation.data import PRELOAD_BYTES, SegmentationData
from dataset_diffusion.segmentation.model_folder import ModelFolder, read_description
from dataset_diffusion.segmentation.models import build_segmenter
from dataset_diffusion.segmentation.processes import process_and_count
from dataset_diffusion.segmentation.rounds import train_in_rounds
from dataset_diffusion.segmentation.task import TrainingListener, TrainingTask
from dataset_diffusion.segmentation.train import check_segmenter


def train(
    datasets: Sequence[str | Location],
    settings: TrainSettings,
    out: Path,
    *,
    seed: int,
    device: str | None = None,
    skip_bad: Skipped | None = None,
    start: Path | None = None,
    corrected_weight: int = 1,
) -> ModelFolder:
    """Train a segmenter on finished datasets, on the real images that the settings name, or on a mixture.

    Args:
        datasets: the datasets' folders.
        settings: how.
        out: folder of the segmenter.
        seed: the run's seed.
        device: ``cpu``, ``cuda``, …; None takes the best one there is.
        skip_bad: collects the real images that cannot be used, which are left out; None raises.
        start: folder of a segmenter to go on from, of the same kind and classes; None begins anew.
        corrected_weight: how often an image whose label map was corrected by hand counts, >= 1.

    Returns:
        The segmenter, whose weights are not read yet.

    Raises:
        ConfigError: there is nothing to train on, or no synthetic image to self-train on.
        DatasetError: a dataset is not finished, the real images have other classes or none of them can be used, or
            another command is training in ``out``.
        ModelError: as `train_segmenter` does.
    """
    if corrected_weight < 1:
        raise ConfigError("bad value of --corrected-weight", got=corrected_weight, expected="1 or more")
    stores = [DatasetStore.open(dataset) for dataset in datasets]
    # Nothing is read for a model that is there.
    preload_bytes = 0 if (out / DESCRIPTION).exists() else PRELOAD_BYTES
    synthetic = SegmentationData(stores, preload_bytes, corrected_weight) if stores else None
    real = _open_real(settings, skip_bad)
    data = synthetic or real
    if data is None:
        raise ConfigError("nothing to train on", expected="a dataset, or --real with a benchmark")
    if synthetic is None and settings.self_training:
        raise ConfigError("self-training labels synthetic images", got="no dataset", fix="leave out --self-training")
    if synthetic and real:
        _check_same_classes(synthetic.class_set, real.class_set)
    trained_on = [store.manifest.identity for store in stores]
    if start is not None:
        trained_on.append(read_description(start)["data_id"])
    if corrected_weight > 1:
        trained_on.append(f"corrected {corrected_weight}")
    data_id = sha256("".join(trained_on).encode()).hexdigest()[:16]
    mixed_in = real if synthetic else None
    task = TrainingTask(
        data, data.class_set, settings, seed, real=mixed_in, data_id=data_id, start=start, device=device
    )
    _, processes = process_and_count()
    with folder_lock(out, shared=processes > 1), progress("Train the segmenter", task.total_steps, "steps") as advance:
        return ModelFolder.open(train_in_rounds(task, out, _Bar(advance)))


def check_training(settings: TrainSettings, classes: ClassSet) -> None:
    """Refuse what cannot be trained on a dataset of these classes, before there is one."""
    with torch.device("meta"):
        check_segmenter(build_segmenter(settings.segmenter, len(classes.label_ids)), settings)
    if (real := _open_real(settings)) is not None:
        _check_same_classes(classes, real.class_set)


class _Bar(TrainingListener):
    """Shows a training on a progress bar."""

    def __init__(self, advance: Advance) -> None:
        self._advance = advance
        self._done = 0

    def on_step(self, step: int, total: int, loss: float) -> None:
        # A resumed training begins with a later step than the first.
        self._advance(step - self._done, note=f"loss {loss:.3f}")
        self._done = step

    def on_label(self, images: int, total: int) -> None:
        self._advance(0, note=f"labelling {images}/{total}")


def _open_real(settings: TrainSettings, skip_bad: Skipped | None = None) -> RealData | None:
    if settings.real is None:
        return None
    # A benchmark's own default is what it is scored on; a dataset has no splits.
    split = settings.real_split or train_split(settings.real)
    benchmark = open_benchmark(settings.real, settings.real_root, split, check_files=skip_bad is None)
    if skip_bad is None:
        return RealData(benchmark)
    benchmark.check_truth()
    return RealData(benchmark, _usable_images(benchmark, skip_bad))


def _usable_images(benchmark: Benchmark, skip_bad: Skipped) -> list[int]:
    usable = []
    with progress("Check that photos can be read", len(benchmark), "photos") as advance:
        for number, error in enumerate(find_bad_images(benchmark)):
            if error is None:
                usable.append(number)
            else:
                leave_out(benchmark.ids[number], error, skip_bad)
            advance()
    if not usable:
        raise DatasetError("no real image can be used", got=f"{len(benchmark)} that cannot")
    return usable


def _check_same_classes(synthetic: ClassSet, real: ClassSet) -> None:
    if synthetic.names != real.names:
        raise DatasetError(
            "the real images have other classes than the dataset",
            got=", ".join(real.names),
            expected=", ".join(synthetic.names),
        )
