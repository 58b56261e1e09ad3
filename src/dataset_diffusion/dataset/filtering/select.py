"""Which samples of a dataset pass a list of rules, read from their stored scores."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from scipy import fft

from dataset_diffusion.dataset.filtering.rules import OF_EACH_CLASS, Rule
from dataset_diffusion.dataset.schema import decode_image
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.errors import DatasetError

_HASH_SIDE = 8
_SEEN_SIDE = 32
"""An image is hashed as it looks at 32 x 32 pixels, by its 8 x 8 lowest frequencies."""

_TINY = 1e-12
"""In the place of a median of 0, which only maps that are constant give."""


@dataclass(frozen=True)
class Selection:
    """The samples that pass all rules.

    Attributes:
        kept: their indices, ascending.
        dropped: for each rule, how many of the samples that passed the rules before it did not pass it.
    """

    kept: tuple[int, ...]
    dropped: tuple[int, ...]


def select(
    store: DatasetStore,
    rules: Sequence[Rule],
    on_sample: Callable[[], None] = lambda: None,
    scores: Mapping[str, Sequence[float]] | None = None,
) -> Selection:
    """Apply rules to a dataset, one after the other to the samples that the rules before have left.

    Args:
        store: a finished dataset.
        rules: the rules.
        on_sample: called as often as there are samples.
        scores: quantities that are not stored with the samples: of each, one value per sample.

    Raises:
        DatasetError: the dataset lacks a score that a rule asks for, or is damaged.
    """
    asked, scores = {rule.quantity for rule in rules}, scores or {}
    usual = _median_presence(store) if "presence" in asked else {}
    dropped = [0] * len(rules)
    kept: list[int] = []
    hashes = np.zeros(len(store), np.uint64)  # of the images kept so far, as many as kept
    for index, row in enumerate(_rows(store, ("image",) if "novelty" in asked else ())):
        values = {name: _values(name, row, usual) for name in asked - {"novelty", *scores}}
        values |= {name: [of_samples[index]] for name, of_samples in scores.items()}
        if "novelty" in asked:
            own = perceptual_hash(decode_image(row["image"]["bytes"]))
            distances = np.bitwise_count(hashes[: len(kept)] ^ own)
            values["novelty"] = [float(distances.min()), float(distances.max())] if kept else []  # decide as all do
        broken = next((number for number, rule in enumerate(rules) if not rule.holds(values[rule.quantity])), None)
        if broken is None:
            if "novelty" in asked:
                hashes[len(kept)] = own
            kept.append(index)
        else:
            dropped[broken] += 1
        on_sample()
    return Selection(tuple(kept), tuple(dropped))


def perceptual_hash(image: UInt8[np.ndarray, "h w 3"]) -> np.uint64:
    """64 bits that stay the same when an image is scaled, compressed or a little brighter (the DCT hash "pHash").

    Bit by bit, whether one of the lowest frequencies of the grey image is above their median.
    """
    grey = np.asarray(Image.fromarray(image).convert("L").resize((_SEEN_SIDE, _SEEN_SIDE)), np.float32)
    lowest = fft.dctn(grey)[:_HASH_SIDE, :_HASH_SIDE]
    bits: np.uint64 = np.packbits(lowest > np.median(lowest)).view(np.uint64)[0]
    return bits


def _rows(store: DatasetStore, more: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """Classes and scores by name of every sample in order, and other columns as they are stored."""
    for shard in range(store.manifest.num_shards):
        for row in store.read_shard(shard, ("classes", "quality", *more)):
            yield row | {"quality": {score["name"]: score["value"] for score in row["quality"]}}


def _median_presence(store: DatasetStore) -> dict[int, float]:
    """The usual presence of each class: words differ in how much attention they draw where they are drawn."""
    found = defaultdict(list)
    for row in _rows(store):
        for class_id, value in zip(row["classes"], _scores("presence", row), strict=True):
            found[class_id].append(value)
    return {class_id: max(float(np.median(values)), _TINY) for class_id, values in found.items()}


def _values(quantity: str, row: dict[str, Any], usual: dict[int, float]) -> list[float]:
    values = _scores(quantity, row)
    if quantity == "presence":
        return [value / usual[class_id] for value, class_id in zip(values, row["classes"], strict=True)]
    return values


def _scores(quantity: str, row: dict[str, Any]) -> list[float]:
    names = [f"{quantity}.{class_id}" for class_id in row["classes"]] if quantity in OF_EACH_CLASS else [quantity]
    if missing := [name for name in names if name not in row["quality"]]:
        raise DatasetError(
            "the dataset lacks a score that a rule asks for",
            got=f"no {missing[0]}",
            fix="relabel the dataset; one whose labels are not from attention has no presence",
        )
    return [row["quality"][name] for name in names]
