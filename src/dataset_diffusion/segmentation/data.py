"""What a segmenter trains on: (image, label) tensors of one or several datasets."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float32, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from dataset_diffusion.dataset.corrections import corrected_samples
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.errors import DatasetError
from dataset_diffusion.labelling.probabilities import label_probabilities
from dataset_diffusion.prompts.class_sets import ClassSet

PRELOAD_BYTES = 2 * 2**30
"""What a training keeps in memory rather than reads again: 2,000 images of 512x512 pixels and their label maps."""


class SegmentationData(Dataset[tuple[Tensor, Tensor]]):
    """Images and label maps of complete datasets of the same classes, one after the other.

    Yields (image, label): uint8 RGB in [0, 255], "3 h w", and int64 class ids, "h w" (0 background, 255 ignored).
    Where all of it, decoded, takes at most ``preload_bytes``, it is read into memory once. Datasets that are
    incomplete, damaged or of different classes are refused. Images whose label maps were corrected by hand are there
    ``corrected_weight`` times.
    """

    def __init__(
        self, stores: DatasetStore | Sequence[DatasetStore], preload_bytes: int = 0, corrected_weight: int = 1
    ) -> None:
        self.stores = (stores,) if isinstance(stores, DatasetStore) else tuple(stores)
        _check(self.stores)
        self._places = [(store, index) for store in self.stores for index in range(len(store))]
        if corrected_weight > 1:
            corrected = {(store, index) for store in self.stores for index in corrected_samples(store)}
            self._places += [place for place in self._places if place in corrected] * (corrected_weight - 1)
        fits = preload_bytes > 0 and sum(map(_decoded_bytes, self.stores)) <= preload_bytes
        self._memory = [self._read(index) for index in range(len(self))] if fits else None

    @property
    def class_set(self) -> ClassSet:
        """The classes that label ids stand for."""
        return self.stores[0].class_set

    def __len__(self) -> int:
        return len(self._places)

    def classes_of(self, index: int) -> tuple[int, ...]:
        """Ids of the classes that an image's prompt names."""
        store, place = self._places[index]
        return store[place].prompt.classes

    def attention(self, index: int) -> Float32[Tensor, "labels h w"]:
        """Class probabilities by the attention that labelled an image.

        Raises:
            DatasetError: its labels are not from attention.
        """
        store, place = self._places[index]
        sample, label = store[place], store.manifest.provenance.label
        if sample.heatmaps is None or label is None:
            raise DatasetError(
                "labels that are not from attention cannot be weighed or averaged with it",
                got=f"sample {place} of {store.location} without heatmaps",
                fix="leave out --weigh-pixels and --self-training-attention",
            )
        ids = sample.prompt.classes
        return label_probabilities(sample.heatmaps, ids, len(self.class_set.label_ids), label, sample.image)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, label = self._memory[index] if self._memory is not None else self._read(index)
        # Preloaded label maps stay uint8, an eighth of the memory; the loss wants int64.
        return image, label.long()

    def _read(self, index: int) -> tuple[UInt8[Tensor, "3 h w"], UInt8[Tensor, "h w"]]:
        store, place = self._places[index]
        image, label = store.image_and_label(place)
        return torch.from_numpy(image).permute(2, 0, 1).contiguous(), torch.from_numpy(label)


def _decoded_bytes(store: DatasetStore) -> int:
    """Memory that a dataset takes; all its images have one size."""
    if not len(store):
        return 0
    image, label = store.image_and_label(0)
    return len(store) * (image.nbytes + label.nbytes)


def _check(stores: Sequence[DatasetStore]) -> None:
    if not stores:
        raise DatasetError("nothing to train on", got="no dataset", expected="at least one")
    for store in stores:
        store.check_complete()
        if store.class_set.names != stores[0].class_set.names:
            raise DatasetError(
                "datasets of different classes cannot be trained on together",
                got=f"{store.location} ({store.class_set.name}) with {stores[0].location} ({stores[0].class_set.name})",
            )
