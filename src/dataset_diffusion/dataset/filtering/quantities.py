"""What rules can ask of a sample: one row of `QUANTITIES` each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from scipy import fft

from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.errors import DatasetError
from dataset_diffusion.records import Score

_HASH_SIDE = 8
_SEEN_SIDE = 32
"""An image is hashed as it looks at 32 x 32 pixels, by its 8 x 8 lowest frequencies."""

_TINY = 1e-12
"""In the place of a median of 0, which only maps that are constant give."""

Row = Mapping[str, Any]
"""Columns of a sample by name; ``quality`` is its stored scores by name."""

Values = Sequence[float] | UInt8[np.ndarray, " _"]
"""A rule holds for a sample where it holds for all of these."""


class Measure(ABC):
    """Computes a quantity of the samples of one dataset, one after the other in order of index."""

    @abstractmethod
    def values(self, row: Row) -> Values:
        """The quantity of the next sample: one value, one for each of its classes, or one for each image before it."""

    def keep(self) -> None:  # noqa: B027
        """Hear that the sample passed all rules. Called after its ``values``; only novelty needs to know."""


@dataclass(frozen=True)
class Quantity:
    """A row of the table.

    Attributes:
        description: what it is and its range or unit.
        measure: begins to compute it, given a finished dataset and the name of a CLIP model.
        of_each_class: whether each class that the prompt names has its own; a rule must hold for all of them.
        columns: the columns that it is computed from, besides the classes and the stored scores.
        needs_model: whether it asks the CLIP model.
    """

    description: str
    measure: Callable[[DatasetStore, str], Measure]
    of_each_class: bool = False
    columns: tuple[str, ...] = ()
    needs_model: bool = False


@dataclass(frozen=True)
class Stored(Measure):
    """A score as it is stored: the sample's own, or that of each class in the prompt's order."""

    score: Score
    of_each_class: bool = False

    def values(self, row: Row) -> list[float]:
        names = [self.score.of(class_id) for class_id in row["classes"]] if self.of_each_class else [self.score]
        if missing := [name for name in names if name not in row["quality"]]:
            raise DatasetError(
                "the dataset lacks a score that a rule asks for",
                got=f"no {missing[0]}",
                fix="relabel the dataset; one whose labels are not from attention has no presence",
            )
        return [row["quality"][name] for name in names]


class RelativePresence(Measure):
    """Presence as a multiple of the class's median, since words differ in how much attention they get."""

    def __init__(self, store: DatasetStore) -> None:
        self._stored = Stored(Score.PRESENCE, of_each_class=True)
        found = defaultdict(list)
        for row in read_rows(store):
            for class_id, value in zip(row["classes"], self._stored.values(row), strict=True):
                found[class_id].append(value)
        self._medians = {class_id: max(float(np.median(values)), _TINY) for class_id, values in found.items()}

    def values(self, row: Row) -> list[float]:
        pairs = zip(self._stored.values(row), row["classes"], strict=True)
        return [value / self._medians[class_id] for value, class_id in pairs]


class ImageText(Measure):
    """The similarity of image and caption, of which a model computes several at once."""

    def __init__(self, store: DatasetStore, model: str) -> None:
        # Here, since transformers takes a second to import and only this quantity needs it.
        from dataset_diffusion.dataset.filtering.image_text import load_image_text, score_dataset

        self._scores = score_dataset(store, load_image_text(model))

    def values(self, row: Row) -> list[float]:
        return [next(self._scores)]


class Novelty(Measure):
    """The distances of an image to every image kept before it, which it remembers by their hashes."""

    def __init__(self, store: DatasetStore) -> None:
        self._store = store
        self._hashes = np.zeros(len(store), np.uint64)
        self._num_kept = 0

    def values(self, row: Row) -> UInt8[np.ndarray, " _"]:
        """One distance for each image kept so far, in bits: none for the first image, which every rule lets pass."""
        own = perceptual_hash(self._store.decode_image(row["index"], row["image"]["bytes"]))
        self._hashes[self._num_kept] = own  # counts once it is kept
        distances: UInt8[np.ndarray, " _"] = np.bitwise_count(self._hashes[: self._num_kept] ^ own)
        return distances

    def keep(self) -> None:
        self._num_kept += 1


def perceptual_hash(image: UInt8[np.ndarray, "h w 3"]) -> np.uint64:
    """64 bits that stay the same when an image is scaled, compressed or a little brighter (the DCT hash "pHash").

    Bit by bit, whether one of the lowest frequencies of the grey image is above their median.
    """
    grey = np.asarray(Image.fromarray(image).convert("L").resize((_SEEN_SIDE, _SEEN_SIDE)), np.float32)
    lowest = fft.dctn(grey)[:_HASH_SIDE, :_HASH_SIDE]
    bits: np.uint64 = np.packbits(lowest > np.median(lowest)).view(np.uint64)[0]
    return bits


def read_rows(store: DatasetStore, more: Sequence[str] = ()) -> Iterator[Row]:
    """Classes and scores of every sample in order, and more columns as they are stored."""
    for shard in range(store.manifest.num_shards):
        for row in store.read_shard(shard, ("index", "classes", "quality", *more)):
            yield row | {"quality": {score["name"]: score["value"] for score in row["quality"]}}


def _stored(score: Score, description: str, of_each_class: bool = False) -> Quantity:
    return Quantity(description, lambda store, model: Stored(score, of_each_class), of_each_class)


QUANTITIES: dict[str, Quantity] = {
    Score.PRESENCE.value: Quantity(
        "its presence divided by the class's median presence in this dataset",
        lambda store, model: RelativePresence(store),
        of_each_class=True,
    ),
    Score.AREA.value: _stored(Score.AREA, "share of the pixels labelled with it, 0 to 1", of_each_class=True),
    Score.COMPONENTS.value: _stored(Score.COMPONENTS, "number of connected regions of it", of_each_class=True),
    Score.UNCERTAIN.value: _stored(Score.UNCERTAIN, "share of uncertain pixels, 0 to 1"),
    Score.FOREGROUND.value: _stored(Score.FOREGROUND, "share of pixels labelled with any class, 0 to 1"),
    "image_text": Quantity(
        "how well image and caption fit: the cosine similarity of their CLIP embeddings, -1 to 1",
        ImageText,
        needs_model=True,
    ),
    "novelty": Quantity(
        "bits of 64 in which the image's perceptual hash differs from that of every image kept before; 0 is a copy",
        lambda store, model: Novelty(store),
        columns=("image",),
    ),
}
"""Every quantity by its name in a rule. docs/filtering.md and `filter --help` name them too, which a test checks."""
