"""Semantic segmentation scores: IoU per class, their mean, pixel accuracy, from one confusion matrix over a dataset."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64, UInt8
from numpy.typing import ArrayLike
from torch import Tensor

from dataset_diffusion.dataset.schema import LabelMap
from dataset_diffusion.disk.pictures import check_one_size
from dataset_diffusion.errors import ConfigError, DatasetError, whole_number
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.records import Record

_IDS = 256


@dataclass(frozen=True, eq=False, repr=False)
class SemanticScores(Record):
    """How well label maps agree with the truth, over a whole dataset. All scores are fractions in [0, 1].

    Attributes:
        miou: mean IoU over the classes that occur, background included.
        per_class_iou: IoU by class id, of the classes that occur.
        pixel_accuracy: share of the scored pixels that have the right class.
        num_images: how many label maps were scored.
        confusion_matrix: pixels by (true id, predicted id); pixels ignored in the truth, or predicted to be of no
            class at all, are not in it.
        absent_classes: ids that occur neither in the truth nor in a prediction; they are left out of ``miou``.
        extra: what else the benchmark measures, as in ``results.json``.
    """

    miou: float
    per_class_iou: dict[int, float]
    pixel_accuracy: float
    num_images: int
    confusion_matrix: Int64[np.ndarray, "classes classes"]
    absent_classes: tuple[int, ...]
    extra: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Scorer(Protocol):
    """What a benchmark measures: told one image at a time, it keeps counts, never images."""

    def add(self, prediction: LabelMap, truth: LabelMap, name: str) -> None:
        """Count one image; what an error message calls it is ``name``.

        Args:
            prediction: what the benchmark's reading of a segmenter gives, or what a saved prediction holds.
            truth: class ids, 255 not scored.

        Raises:
            DatasetError: sizes differ, or ids out of range; nothing is counted then.
        """

    def scores(self) -> SemanticScores:
        """The scores of all images so far; a DatasetError where there is no labelled pixel yet."""


class SemanticScorer:
    """Adds up one confusion matrix over a dataset.

    Args:
        num_classes: how many ids there are, background included.
        no_class: an id of predictions that stands for no class at all, for a benchmark where every pixel is of some
            class: a miss of the true class and nobody's false alarm.

    Attributes:
        ignore_index: pixels of this id in the truth are not scored; 255 unless `evaluate_labels` is told another, None
            scores all.
    """

    def __init__(self, num_classes: int, no_class: int | None = None) -> None:
        self.num_classes = num_classes
        self.ignore_index: int | None = ClassSet.ignore_index
        self.no_class = no_class
        self.num_images = 0
        self.confusion = np.zeros((num_classes, num_classes), dtype=np.int64)
        self._missed = np.zeros(num_classes, dtype=np.int64)

    def add(self, prediction: ArrayLike | Tensor, truth: ArrayLike | Tensor, name: str) -> None:
        """Count one image; see `Scorer`. The label maps are those of `evaluate_labels`."""
        counts = count_pairs(prediction, truth, name)
        missed = np.zeros(_IDS, dtype=np.int64)
        if self.no_class is not None:
            missed = counts[:, self.no_class].copy()
            counts[:, self.no_class] = 0
        _check_range(counts.sum(axis=0), self.num_classes, f"{name}: the prediction")
        also = ""
        if self.ignore_index is not None:
            counts[self.ignore_index] = missed[self.ignore_index] = 0
            also = f", or {self.ignore_index} to ignore"
        _check_range(counts.sum(axis=1) + missed, self.num_classes, f"{name}: the truth", also)
        self.confusion += counts[: self.num_classes, : self.num_classes]
        self._missed += missed[: self.num_classes]
        self.num_images += 1

    def scores(self) -> SemanticScores:
        """The scores so far; see `Scorer`."""
        correct = self.confusion.diagonal()
        union = self.confusion.sum(axis=0) + self.confusion.sum(axis=1) + self._missed - correct
        if not union.any():
            raise DatasetError(
                "nothing to score", got=f"{self.num_images} images", expected="at least one labelled pixel"
            )
        present = np.flatnonzero(union)
        iou = correct[present] / union[present]
        return SemanticScores(
            miou=float(iou.mean()),
            per_class_iou={int(class_id): float(value) for class_id, value in zip(present, iou, strict=True)},
            pixel_accuracy=float(correct.sum() / (self.confusion.sum() + self._missed.sum())),
            num_images=self.num_images,
            confusion_matrix=self.confusion.copy(),
            absent_classes=tuple(np.flatnonzero(union == 0).tolist()),
        )


def evaluate_labels(
    pairs: Iterable[tuple[ArrayLike | Tensor, ArrayLike | Tensor]],
    num_classes: int,
    ignore_index: int | None = 255,
) -> SemanticScores:
    """Score predicted label maps against true ones.

    One confusion matrix is summed over all images and the scores are taken from it, as PASCAL VOC does: a mean of
    per-image IoUs is another, higher figure.

    Args:
        pairs: (prediction, truth) label maps, NumPy arrays or torch tensors of any integer dtype, "h w", ids
            0..num_classes-1; truths may also hold ``ignore_index``.
        num_classes: how many ids there are, **background included**: K + 1 for K classes.
        ignore_index: pixels of this id in the truth are not scored; in [0, 255], or None to score them all.

    Raises:
        ConfigError: ``ignore_index`` or ``num_classes`` is something else.
        DatasetError: no pairs; sizes differ, ids out of range (``ignore_index`` in a prediction is),
            or nothing to score.
    """
    if ignore_index is not None and ignore_index not in range(_IDS):
        raise ConfigError(
            "ignore_index is no id of a label map", got=repr(ignore_index), expected=f"0..{_IDS - 1}, or None"
        )
    if not 1 <= whole_number(num_classes, "number of classes") <= _IDS:
        raise ConfigError("bad number of classes", got=num_classes, expected=f"1..{_IDS}, the background included")
    scorer = SemanticScorer(num_classes)
    scorer.ignore_index = ignore_index
    for number, pair in enumerate(pairs if isinstance(pairs, Iterable) else [pairs]):
        prediction, truth = _as_pair(pair, f"image {number}")
        scorer.add(prediction, truth, f"image {number}")
    return scorer.scores()


def _as_pair(pair: object, name: str) -> Sequence[Any]:
    if isinstance(pair, Sequence) and len(pair) == 2:
        return pair
    raise DatasetError(
        f"{name} is no pair of label maps",
        got=type(pair).__name__,
        expected="(prediction, truth)",
        fix="zip(predictions, truths)",
    )


def to_results(scores: SemanticScores, class_set: ClassSet, config: Mapping[str, Any]) -> dict[str, Any]:
    """The scores as the content of ``results.json``: plain JSON values, classes by name.

    The confusion matrix's rows are the truth and its columns the prediction, in the order of ``classes``; ``config`` is
    what was evaluated and how.
    """
    return {
        "miou": scores.miou,
        "per_class_iou": {class_set.name_of(class_id): iou for class_id, iou in scores.per_class_iou.items()},
        "pixel_accuracy": scores.pixel_accuracy,
        "num_images": scores.num_images,
        "absent_classes": [class_set.name_of(class_id) for class_id in scores.absent_classes],
        "classes": list(class_set.label_names),
        "confusion_matrix": scores.confusion_matrix.tolist(),
        **scores.extra,
        "config": dict(config),
    }


def count_pairs(prediction: ArrayLike | Tensor, truth: ArrayLike | Tensor, name: str) -> Int64[np.ndarray, "256 256"]:
    """Pixels by (true id, predicted id), of all 256 x 256 pairs; a DatasetError if not two label maps of one size."""
    predicted_ids = _as_ids(prediction, f"{name}: the prediction")
    true_ids = _as_ids(truth, f"{name}: the truth")
    check_one_size(f"{name}: prediction and truth", predicted_ids.shape, true_ids.shape)
    # Counted in one pass, with every check made on the counts: ten times the speed of masking ignored pixels first.
    pairs = true_ids.astype(np.uint16) * _IDS + predicted_ids
    return np.bincount(pairs.ravel(), minlength=_IDS * _IDS).reshape(_IDS, _IDS)


def _as_ids(label: ArrayLike | Tensor, what: str) -> UInt8[np.ndarray, "h w"]:
    ids = label.cpu().numpy() if isinstance(label, Tensor) else np.asarray(label)
    if ids.ndim != 2 or not np.issubdtype(ids.dtype, np.integer):
        raise DatasetError(
            f"{what} is not a label map", got=f"{ids.dtype} of shape {ids.shape}", expected='integers, "h w"'
        )
    if ids.dtype != np.uint8 and ids.size and not 0 <= ids.min() <= ids.max() < _IDS:
        raise DatasetError(f"{what} has ids out of range", got=f"{ids.min()}..{ids.max()}", expected="0..255")
    return ids.astype(np.uint8, copy=False)


def _check_range(pixels: Int64[np.ndarray, " ids"], num_classes: int, what: str, also: str = "") -> None:
    strange = np.flatnonzero(pixels[num_classes:]) + num_classes
    if strange.size:
        raise DatasetError(
            f"{what} has ids out of range",
            got=f"{strange[0]} in {pixels[strange[0]]} pixels",
            expected=f"0..{num_classes - 1}{also}",
        )
