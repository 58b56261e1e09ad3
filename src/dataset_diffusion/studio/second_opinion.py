"""What a trained segmenter says of the same pictures: where it disagrees is where to look first."""

from __future__ import annotations

from collections import OrderedDict
from threading import Event, Lock, Thread

import numpy as np
from jaxtyping import UInt8

from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.errors import ConfigError
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.segmentation.model_folder import TrainedSegmenter
from dataset_diffusion.segmentation.predict import predict

_PREDICTIONS_IN_MEMORY = 64


class SecondOpinion:
    """A segmenter's label maps of a dataset's pictures. As a context manager it compares them all in a thread.

    Args:
        store: the dataset.
        trained: the segmenter, of the same classes.

    Attributes:
        disagreement: of each sample compared so far, in order of index; see `disagreement`.

    Raises:
        ConfigError: the segmenter has other classes.
    """

    def __init__(self, store: DatasetStore, trained: TrainedSegmenter) -> None:
        if trained.class_set.names != store.class_set.names:
            raise ConfigError(
                "the segmenter has other classes than the dataset",
                got=", ".join(trained.class_set.names[:8]),
                expected=", ".join(store.class_set.names[:8]),
            )
        self._store, self._trained = store, trained
        self.disagreement: list[float] = []
        self._lock, self._stopped = Lock(), Event()
        self._predictions: OrderedDict[int, UInt8[np.ndarray, "_ _"]] = OrderedDict()
        self._thread = Thread(target=self._compare_all, daemon=True)

    def __enter__(self) -> SecondOpinion:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def label(self, index: int, image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w"]:
        """The segmenter's label map of a sample's picture."""
        with self._lock:
            if index not in self._predictions:
                self._predictions[index] = next(predict(self._trained.model, [image]))
            while len(self._predictions) > _PREDICTIONS_IN_MEMORY:
                self._predictions.popitem(last=False)
            return self._predictions[index]

    def _compare_all(self) -> None:
        store = DatasetStore.open(self._store.location)  # its own open files
        for index in range(len(store)):
            if self._stopped.is_set():
                return
            image, label = store.image_and_label(index)
            self.disagreement.append(disagreement(label, self.label(index, image)))


def disagreement(label: UInt8[np.ndarray, "h w"], prediction: UInt8[np.ndarray, "h w"]) -> float:
    """Share of the pixels with a label that a prediction gives another class, 0 to 1; 0 where no pixel has one.

    Example:
        >>> disagreement(np.array([[1, 1, 0, 255]], np.uint8), np.array([[1, 0, 0, 1]], np.uint8))
        0.3333
    """
    known = label != ClassSet.ignore_index
    return round(float((label != prediction)[known].mean()), 4) if known.any() else 0.0
