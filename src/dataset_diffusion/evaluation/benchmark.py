"""A benchmark: images with their truth, and what is predicted, scored and saved for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from torch import Tensor

from dataset_diffusion.dataset.schema import Image, LabelMap, encode_label
from dataset_diffusion.errors import DatasetError
from dataset_diffusion.evaluation.label_maps import decode_ids
from dataset_diffusion.evaluation.scorers.semantic import Scorer
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.segmentation.predict import most_likely


@dataclass(frozen=True)
class Task:
    """What is predicted, how it is scored, and how predictions are saved.

    Attributes:
        scorer: a new scorer for a class set.
        read: class probabilities, "batch classes h w" -> what is scored and saved, uint8 "batch h w".
        to_ids: what is scored -> class ids, to be shown; by default it holds them already.
        encode: a prediction as the PNG that the benchmark's own tools take.
        decode: such a PNG as a prediction.
        class_agnostic: whether a segmenter of any classes will do.
    """

    scorer: Callable[[ClassSet], Scorer]
    read: Callable[[Tensor], Tensor] = most_likely
    to_ids: Callable[[LabelMap], LabelMap] = np.asarray
    encode: Callable[[LabelMap, ClassSet], bytes] = encode_label
    decode: Callable[[bytes, ClassSet], LabelMap] = decode_ids
    class_agnostic: bool = False


@dataclass(frozen=True, eq=False)
class Source:
    """Where one image of a benchmark is. Nothing is read before it is asked for.

    Attributes:
        id: names the image; a saved prediction is ``<id>.png``.
        read_image: reads it: uint8 RGB, "h w 3".
        read_label: reads its truth: uint8 class ids, "h w"; None where the truth is withheld (test splits).
        label_name: what an error message calls the label map: its file.
        files: what must be there.
    """

    id: str
    read_image: Callable[[], Image]
    read_label: Callable[[], LabelMap] | None = None
    label_name: str = ""
    files: tuple[Path, ...] = ()


@dataclass(frozen=True, eq=False)
class BenchmarkImage:
    """One image, uint8 RGB, and its truth: uint8 class ids, 255 not scored; None where the truth is withheld."""

    id: str
    image: Image
    label: LabelMap | None


@dataclass(frozen=True, eq=False)
class Benchmark:
    """Images in order, with label maps of a class set, and what is scored on them."""

    name: str
    class_set: ClassSet
    sources: Sequence[Source]
    task: Task

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """One an image, in order."""
        return tuple(source.id for source in self.sources)

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, number: int) -> BenchmarkImage:
        """Read one image and its truth. A file that cannot be used is a DatasetError that names it."""
        source = self.sources[number]
        image, label = source.read_image(), source.read_label() if source.read_label else None
        if label is not None and image.shape[:2] != label.shape:
            turned = image.shape[1::-1] == label.shape
            raise DatasetError(
                f"{source.label_name} has another size than its image",
                got=" x ".join(map(str, label.shape)),
                expected=" x ".join(map(str, image.shape[:2])),
                fix="photos are turned as their EXIF data says: turn the label map too" if turned else None,
            )
        return BenchmarkImage(source.id, image, label)

    def __iter__(self) -> Iterator[BenchmarkImage]:
        return (self[number] for number in range(len(self)))

    def read_label(self, number: int) -> LabelMap:
        """Read the truth of one image alone; a DatasetError where it cannot be used or is withheld."""
        read = self.sources[number].read_label
        if read is None:
            raise self._withheld()
        return read()

    @property
    def has_truth(self) -> bool:
        """Whether anything can be scored: the labels of test splits are withheld."""
        return all(source.read_label for source in self.sources)

    def check_truth(self) -> None:
        """Raise a DatasetError where nothing can be scored."""
        if not self.has_truth:
            raise self._withheld()

    def _withheld(self) -> DatasetError:
        return DatasetError(
            f"the labels of this split of {self.name} are not public",
            expected="a split with labels",
            fix="evaluate MODEL --save-predictions DIR, and send them to the benchmark's test server",
        )
