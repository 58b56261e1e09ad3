"""A benchmark: images with their truth, and what is predicted, scored and saved for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from dataset_diffusion.dataset.schema import decode_label, encode_label
from dataset_diffusion.errors import DatasetError
from dataset_diffusion.evaluation.listing import LabelMap, Listing
from dataset_diffusion.evaluation.scorers.semantic import Scorer
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.segmentation.predict import most_likely


@dataclass(frozen=True)
class Task:
    """What is predicted, how it is scored, and how predictions are saved.

    Attributes:
        scorer: a new scorer for a class set.
        read: class probabilities, "batch classes h w" -> what is scored and saved, uint8 "batch h w".
        encode: a prediction as the PNG that the benchmark's own tools take.
        decode: such a PNG as a prediction.
        class_agnostic: whether a segmenter of any classes will do.
    """

    scorer: Callable[[ClassSet], Scorer]
    read: Callable[[Tensor], Tensor] = most_likely
    encode: Callable[[LabelMap, ClassSet], bytes] = encode_label
    decode: Callable[[bytes], LabelMap] = decode_label
    class_agnostic: bool = False


@dataclass(frozen=True, eq=False)
class BenchmarkImage:
    """One image and its truth.

    Attributes:
        id: names the image; a saved prediction is ``<id>.png``.
        image: uint8 RGB in [0, 255].
        label: uint8 class ids, 0 background, 255 not scored; None where the truth is withheld.
    """

    id: str
    image: UInt8[np.ndarray, "h w 3"]
    label: UInt8[np.ndarray, "h w"] | None


@dataclass(frozen=True, eq=False)
class Benchmark:
    """Images with true label maps, and what is scored on them.

    Attributes:
        name: the benchmark's name.
        class_set: what the ids in the label maps mean.
        listing: where the images are.
        task: what is scored.
    """

    name: str
    class_set: ClassSet
    listing: Listing
    task: Task

    @property
    def ids(self) -> tuple[str, ...]:
        """One an image, in order."""
        return self.listing.ids

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, number: int) -> BenchmarkImage:
        """Read one image and its truth.

        Raises:
            IndexError: no such image.
            DatasetError: a file that cannot be used, by name.
        """
        image_id, image = self.ids[number], self.listing.read_image(number)
        label = self.read_label(number) if self.has_truth else None
        if label is not None and image.shape[:2] != label.shape:
            raise DatasetError(
                f"{self.listing.label_names[number]} has another size than its image",
                got=" x ".join(map(str, label.shape)),
                expected=" x ".join(map(str, image.shape[:2])),
            )
        return BenchmarkImage(image_id, image, label)

    def __iter__(self) -> Iterator[BenchmarkImage]:
        return (self[number] for number in range(len(self)))

    def read_label(self, number: int) -> LabelMap:
        """Read the truth of one image alone.

        Raises:
            DatasetError: its file cannot be used, by name, or the truth is withheld.
        """
        if self.listing.read_label is None:
            raise DatasetError(
                f"the labels of this split of {self.name} are not public",
                expected="a split with labels",
                fix="evaluate MODEL --save-predictions DIR, and send them to the benchmark's test server",
            )
        return self.listing.read_label(number)

    @property
    def has_truth(self) -> bool:
        """Whether anything can be scored: the labels of test splits are withheld."""
        return self.listing.read_label is not None

    def check_truth(self) -> None:
        """Raise a DatasetError where nothing can be scored."""
        if not self.has_truth:
            self.read_label(0)
