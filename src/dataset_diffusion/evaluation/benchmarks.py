"""Real images with true label maps, read where they are, and the two things to score on them: a segmenter or files."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import UInt8

from dataset_diffusion.dataset.schema import decode_image, decode_label
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.errors import DatasetError
from dataset_diffusion.evaluation.semantic import SemanticScores, evaluate_labels
from dataset_diffusion.prompts.class_sets import ClassSet, class_set
from dataset_diffusion.segmentation.model_folder import TrainedSegmenter
from dataset_diffusion.segmentation.predict import WHOLE_IMAGE, Views, predict

Decoded = TypeVar("Decoded")


@dataclass(frozen=True, eq=False)
class BenchmarkImage:
    """One image and its truth.

    Attributes:
        id: names the image; a saved prediction is ``<id>.png``.
        image: uint8 RGB in [0, 255].
        label: uint8 class ids, 0 background, 255 not scored.
    """

    id: str
    image: UInt8[np.ndarray, "h w 3"]
    label: UInt8[np.ndarray, "h w"]


@dataclass(frozen=True, eq=False)
class Benchmark:
    """Images with true label maps, read one at a time when asked for.

    Attributes:
        name: the benchmark's name.
        class_set: what the ids in the label maps mean.
        ids: one an image, in order.
        label_names: what an error message calls each label map: its file.
        read_image: image number -> uint8 RGB, "h w 3".
        read_label: image number -> uint8 class ids, "h w".
    """

    name: str
    class_set: ClassSet
    ids: tuple[str, ...]
    label_names: tuple[str, ...]
    read_image: Callable[[int], UInt8[np.ndarray, "_ _ 3"]]
    read_label: Callable[[int], UInt8[np.ndarray, "_ _"]]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, number: int) -> BenchmarkImage:
        """Read one image and its truth.

        Raises:
            IndexError: no such image.
            DatasetError: a file that cannot be used, by name.
        """
        image_id = self.ids[number]
        image, label = self.read_image(number), self.read_label(number)
        if image.shape[:2] != label.shape:
            raise DatasetError(
                f"{self.label_names[number]} has another size than its image",
                got=" x ".join(map(str, label.shape)),
                expected=" x ".join(map(str, image.shape[:2])),
            )
        return BenchmarkImage(image_id, image, label)

    def __iter__(self) -> Iterator[BenchmarkImage]:
        return (self[number] for number in range(len(self)))


OnImage = Callable[[BenchmarkImage, UInt8[np.ndarray, "_ _"]], None]
"""Called with every image and its predicted label map, in order."""


def open_benchmark(name: str, root: Path | None = None) -> Benchmark:
    """Open a benchmark.

    Args:
        name: a row of ``BENCHMARKS``, or the path of a dataset folder.
        root: the benchmark's folder; ``scenes`` ships with the package and needs none.

    Raises:
        DatasetError: no such benchmark, or a folder that does not hold it.
    """
    if name in BENCHMARKS:
        return BENCHMARKS[name](root)
    if Path(name).is_dir():
        return _read_dataset(Path(name), name)
    raise DatasetError(
        "no such benchmark", got=repr(name), expected=f"one of {', '.join(BENCHMARKS)}, or a dataset folder"
    )


def evaluate_segmenter(
    segmenter: TrainedSegmenter,
    benchmark: Benchmark,
    views: Views = WHOLE_IMAGE,
    *,
    batch_size: int = 16,
    on_image: OnImage | None = None,
) -> SemanticScores:
    """Score a trained segmenter on a benchmark.

    Args:
        segmenter: what ``load_segmenter`` read.
        benchmark: of the same classes.
        views: what each prediction is averaged over.
        batch_size: images at once.
        on_image: progress, or a place to keep the predictions.

    Raises:
        DatasetError: the benchmark has other classes, or a file of it cannot be used.
    """
    check_classes(segmenter.class_set, benchmark)
    waiting: deque[BenchmarkImage] = deque()

    def images() -> Iterator[UInt8[np.ndarray, "_ _ 3"]]:
        for image in benchmark:
            waiting.append(image)
            yield image.image

    def pairs() -> Iterator[tuple[UInt8[np.ndarray, "_ _"], UInt8[np.ndarray, "_ _"]]]:
        for prediction in predict(segmenter.model, images(), views, batch_size):
            image = waiting.popleft()
            if on_image is not None:
                on_image(image, prediction)
            yield prediction, image.label

    classes = benchmark.class_set
    return evaluate_labels(pairs(), classes.num_classes + 1, classes.ignore_index, names=benchmark.label_names)


def evaluate_predictions(folder: Path, benchmark: Benchmark) -> SemanticScores:
    """Score label maps saved as ``<image id>.png``, indexed by class id (palette or greyscale PNG).

    Raises:
        DatasetError: a label map is missing, is not indexed, has another size than the truth, or ids out of range.
    """
    paths = [Path(folder) / f"{image_id}.png" for image_id in benchmark.ids]
    _check_exist(paths)
    pairs = ((_read(path, decode_label), benchmark.read_label(number)) for number, path in enumerate(paths))
    classes = benchmark.class_set
    return evaluate_labels(pairs, classes.num_classes + 1, classes.ignore_index, names=map(str, paths))


def _voc2012(root: Path | None) -> Benchmark:
    """PASCAL VOC 2012: the validation split, or where the folder lists none, every photo that has a label map."""
    if root is None or not (root / "SegmentationClass").is_dir():
        raise DatasetError(
            "not a PASCAL VOC folder",
            got=str(root),
            expected="a folder with JPEGImages and SegmentationClass",
            fix="--root VOCdevkit/VOC2012",
        )
    split = root / "ImageSets" / "Segmentation" / "val.txt"
    if split.is_file():
        ids = tuple(_read(split, bytes.decode).split())
    else:
        labelled = sorted(path.stem for path in (root / "SegmentationClass").glob("*.png"))
        ids = tuple(image_id for image_id in labelled if (root / "JPEGImages" / f"{image_id}.jpg").exists())
    photos = [root / "JPEGImages" / f"{image_id}.jpg" for image_id in ids]
    labels = [root / "SegmentationClass" / f"{image_id}.png" for image_id in ids]
    _check_exist([*photos, *labels])
    classes = class_set("voc")
    return Benchmark(
        "voc2012",
        classes,
        ids,
        label_names=tuple(map(str, labels)),
        read_image=lambda number: _read(photos[number], decode_image),
        read_label=lambda number: _checked_label(_read(labels[number], decode_label), labels[number], classes),
    )


def _scenes(root: Path | None) -> Benchmark:
    """The held-out scenes that ship with the embedded model, or another dataset in their place."""
    return _read_dataset(root or Path(str(files("dataset_diffusion") / "assets" / "scenes")), "scenes")


def _read_dataset(root: Path, name: str) -> Benchmark:
    store = DatasetStore.open(root)
    return Benchmark(
        name,
        store.class_set,
        ids=tuple(f"{index:08d}" for index in range(len(store))),
        label_names=tuple(f"{root}: sample {index}" for index in range(len(store))),
        read_image=lambda number: store.image_and_label(number)[0],
        read_label=lambda number: store.image_and_label(number)[1],
    )


def _read(path: Path, decode: Callable[[bytes], Decoded]) -> Decoded:
    try:
        return decode(path.read_bytes())
    except OSError as error:
        raise DatasetError(f"cannot read {path}", got=error.strerror or str(error)) from error
    except (DatasetError, UnicodeDecodeError) as error:
        raise DatasetError(f"cannot use {path}", got=str(error)) from error


def _checked_label(label: UInt8[np.ndarray, "h w"], path: Path, classes: ClassSet) -> UInt8[np.ndarray, "h w"]:
    strange = label[(label > classes.num_classes) & (label != classes.ignore_index)]
    if strange.size:
        raise DatasetError(
            f"{path} has ids outside the class set",
            got=f"{strange[0]} in {strange.size} pixels",
            expected=f"0..{classes.num_classes}, or {classes.ignore_index} to ignore",
        )
    return label


def _check_exist(paths: Sequence[Path]) -> None:
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise DatasetError(
            "a file is missing",
            got=f"{missing[0]} ({len(missing)} of {len(paths)} missing)",
            fix="complete the folder, or name another one",
        )


def check_classes(trained: ClassSet, benchmark: Benchmark) -> None:
    if trained.names != benchmark.class_set.names:
        raise DatasetError(
            f"the segmenter and the benchmark {benchmark.name} have different classes",
            got=", ".join(trained.names),
            expected=", ".join(benchmark.class_set.names),
        )


BENCHMARKS: dict[str, Callable[[Path | None], Benchmark]] = {
    "scenes": _scenes,
    "voc2012": _voc2012,
}
"""Benchmark by name -> how to open it from its folder."""
