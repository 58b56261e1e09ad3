"""The stage that trains: a segmenter on datasets, on real photos with true labels, or on both."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from dataset_diffusion.config import TrainSettings
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.disk.locks import folder_lock
from dataset_diffusion.disk.places import Location
from dataset_diffusion.errors import ConfigError, DatasetError
from dataset_diffusion.evaluation.benchmark import Benchmark
from dataset_diffusion.evaluation.table import open_benchmark, train_split
from dataset_diffusion.machine.progress import progress
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.run_folder import DESCRIPTION
from dataset_diffusion.segmentation.data import SegmentationData
from dataset_diffusion.segmentation.models import build_segmenter
from dataset_diffusion.segmentation.rounds import train_in_rounds
from dataset_diffusion.segmentation.train import process_and_count

OnBad = Callable[[str, DatasetError], None]
"""Called with the id of every image that cannot be used, and why; the image is left out."""


class RealData(Dataset[tuple[Tensor, Tensor]]):
    """The images of a benchmark as training pairs: uint8 RGB, "3 h w", and uint8 class ids, "h w".

    Args:
        benchmark: the benchmark.
        on_bad: called with each image that cannot be used, which is then left out; None raises when it is read.

    Raises:
        DatasetError: the labels of that split are not public, or no image can be used.
    """

    def __init__(self, benchmark: Benchmark, on_bad: OnBad | None = None) -> None:
        benchmark.check_truth()
        self._benchmark = benchmark
        self._numbers: Sequence[int] = range(len(benchmark))
        if on_bad is not None:
            self._numbers = list(_usable(benchmark, on_bad))
            if not self._numbers:
                raise DatasetError("no real image can be used", got=f"{len(benchmark)} that cannot")

    @property
    def class_set(self) -> ClassSet:
        """The classes that label ids stand for."""
        return self._benchmark.class_set

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        pair = self._benchmark[self._numbers[index]]
        return torch.from_numpy(pair.image).permute(2, 0, 1), torch.from_numpy(pair.label)


def make_segmenter(
    datasets: Sequence[str | Location],
    settings: TrainSettings,
    seed: int,
    out: Path,
    *,
    device: str | None = None,
    on_bad: OnBad | None = None,
) -> Path:
    """Train a segmenter on finished datasets, on the real images that the settings name, or on a mixture.

    Args:
        datasets: the datasets' folders.
        settings: how.
        seed: the run's seed.
        out: folder of the segmenter.
        device: ``cpu``, ``cuda``, …; None takes the best one there is.
        on_bad: called with the id and error of each real image that cannot be used, which is left out; None raises.

    Raises:
        ConfigError: there is nothing to train on, or no synthetic image to self-train on.
        DatasetError: a dataset is not finished, the real images have other classes, or another command is training
            in ``out``.
        ModelError: as `train_segmenter` does.
    """
    stores = [DatasetStore.open(dataset) for dataset in datasets]
    preload = False if (out / DESCRIPTION).exists() else None  # nothing is read for a model that is there
    synthetic = SegmentationData(stores, preload) if stores else None
    real = None if settings.real is None else _open_real(settings.real, settings, on_bad)
    data = synthetic or real
    if data is None:
        raise ConfigError("nothing to train on", expected="a dataset, or --real with a benchmark")
    if synthetic is None and settings.self_training:
        raise ConfigError("self-training labels synthetic images", got="no dataset", fix="leave out --self-training")
    if synthetic and real:
        _check_same_classes(synthetic.class_set, real.class_set)
    manifests = "".join(store.manifest.model_dump_json() for store in stores)
    steps = settings.iterations * (settings.self_training + 1)
    _, processes = process_and_count()
    with folder_lock(out, shared=processes > 1), progress("Train", steps, "steps") as advance:
        done = 0

        def on_step(step: int, total: int, loss: float) -> None:
            nonlocal done
            advance(step - done, note=f"loss {loss:.3f}")
            done = step

        return train_in_rounds(
            data,
            data.class_set,
            settings,
            out,
            seed,
            real=real if synthetic else None,
            data_id=hashlib.sha256(manifests.encode()).hexdigest()[:16],
            on_step=on_step,
            device=device,
            on_label=lambda images, total: advance(0, note=f"labelling {images}/{total}"),
        )


def check_training(settings: TrainSettings, classes: ClassSet) -> None:
    """Refuse what cannot be trained on a dataset of these classes, before there is one.

    Raises:
        DatasetDiffusionError: no such segmenter, or real images that are not there or have other classes.
    """
    with torch.device("meta"):
        build_segmenter(settings.segmenter, classes.num_classes + 1)
    if settings.real is not None:
        _check_same_classes(classes, _open_real(settings.real, settings).class_set)


def _open_real(name: str, settings: TrainSettings, on_bad: OnBad | None = None) -> RealData:
    # A benchmark's own default is what it is scored on; a dataset has no splits.
    split = settings.real_split or train_split(name)
    return RealData(open_benchmark(name, settings.real_root, split, check_files=on_bad is None), on_bad)


def _usable(benchmark: Benchmark, on_bad: OnBad) -> Iterator[int]:
    with progress("Check", len(benchmark), "photos") as advance:
        for number, image_id in enumerate(benchmark.ids):
            try:
                _ = benchmark[number]
            except DatasetError as error:
                on_bad(image_id, error)
            else:
                yield number
            advance()


def _check_same_classes(synthetic: ClassSet, real: ClassSet) -> None:
    if synthetic.names != real.names:
        raise DatasetError(
            "the real images have other classes than the dataset",
            got=", ".join(real.names),
            expected=", ".join(synthetic.names),
        )
