"""Rows of pictures for the page: samples of the dataset, and examples of what the trained segmenter predicts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from dataset_diffusion.dataset.schema import Image, LabelMap
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.disk.pictures import check_one_size
from dataset_diffusion.evaluation.examples import MAX_EXAMPLES, Example
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.records import Sample
from dataset_diffusion.report.figures import colored_heatmap, label_uri, overlay, photo_uri, thumbnail

MAX_SAMPLES = 24
MAX_SIDE = 256
"""Longest side of a picture on the page, in pixels: twice what it is shown at, and what keeps the page small."""


@dataclass(frozen=True)
class Tile:
    """One picture: its caption, its alternative text, its data URI, its size and whether its pixels are labels."""

    name: str
    alt: str
    uri: str
    height: int
    width: int
    exact: bool = False


@dataclass(frozen=True)
class SampleRow:
    """One sample: its prompt, a few facts of a few words each, and its pictures; one heatmap per class."""

    prompt: str
    facts: tuple[str, ...]
    image: Tile
    heatmaps: tuple[Tile, ...]
    label: Tile
    overlay: Tile


@dataclass(frozen=True)
class ExampleRow:
    """One image of the benchmark, its truth and a prediction; ``agreement`` is NaN where no pixel is scored."""

    class_ids: tuple[int, ...]
    agreement: float
    tiles: tuple[Tile, ...]


def sample_rows(stores: Sequence[DatasetStore], exponent: int | None) -> Iterator[SampleRow]:
    """Up to `MAX_SAMPLES` samples of datasets, spread evenly over what is there.

    The heatmaps are those of ``exponent``; where they are not stored, or it is None, those after most products.
    """
    parts = [(store, store.shard_range(shard)) for store in stores for shard in store.present_shards()]
    there = sum(len(indices) for _, indices in parts)
    chosen = np.linspace(0, there - 1, min(MAX_SAMPLES, there)).round().astype(int).tolist()
    found = (_nth(parts, place) for place in chosen)
    return (_sample_row(store[index], store.class_set, exponent) for store, index in found)


def example_rows(examples: Iterable[Example], class_set: ClassSet) -> Iterator[ExampleRow]:
    """The first `MAX_EXAMPLES` examples."""
    return (_example_row(example, class_set) for example in islice(examples, MAX_EXAMPLES))


def _nth(parts: Iterable[tuple[DatasetStore, range]], place: int) -> tuple[DatasetStore, int]:
    """The dataset and the index of the sample that is number ``place``, from 0, of those in some shards."""
    for store, indices in parts:
        if place < len(indices):
            return store, indices[place]
        place -= len(indices)
    raise IndexError(place)


def _sample_row(sample: Sample, class_set: ClassSet, exponent: int | None) -> SampleRow:
    image, label = thumbnail(sample.image, MAX_SIDE), thumbnail(sample.label, MAX_SIDE)
    prompt = sample.prompt
    uncertain = float((sample.label == class_set.ignore_index).mean())
    return SampleRow(
        prompt=prompt.text,
        facts=(f"sample {prompt.index}", f"{uncertain:.0%} uncertain"),
        image=_photo("image", f"Image: {prompt.text}", image),
        heatmaps=tuple(_heatmap_tiles(sample, class_set, exponent, (image.shape[0], image.shape[1]))),
        label=_label("label", "Label map", label, class_set),
        overlay=_photo("overlay", "Label map over the image", overlay(image, label, class_set)),
    )


def _heatmap_tiles(sample: Sample, class_set: ClassSet, exponent: int | None, size: tuple[int, int]) -> Iterator[Tile]:
    heatmaps = sample.heatmaps
    if heatmaps is None:
        return
    place = heatmaps.exponents.index(exponent) if exponent in heatmaps.exponents else -1
    for class_id, heatmap in zip(sample.prompt.classes, heatmaps.values[place], strict=True):
        name = class_set.name_of(class_id)
        yield _photo(name, f"Heatmap of {name}", colored_heatmap(heatmap, size))


def _example_row(example: Example, class_set: ClassSet) -> ExampleRow:
    image, truth, prediction = example.image, example.truth, example.prediction
    check_one_size("an example's truth and image", truth.shape, image.shape[:2])
    check_one_size("an example's prediction and truth", prediction.shape, truth.shape)
    scored = truth != class_set.ignore_index
    present = np.union1d(truth[scored], prediction[scored])
    return ExampleRow(
        class_ids=tuple(int(class_id) for class_id in present if class_id != 0),
        agreement=float((truth == prediction)[scored].mean()) if scored.any() else math.nan,
        tiles=(
            _photo("image", "Image of the benchmark", thumbnail(image, MAX_SIDE)),
            _label("truth", "True label map", thumbnail(truth, MAX_SIDE), class_set),
            _label("prediction", "Predicted label map", thumbnail(prediction, MAX_SIDE), class_set),
        ),
    )


def _photo(name: str, alt: str, image: Image) -> Tile:
    return Tile(name, alt, photo_uri(image), image.shape[0], image.shape[1])


def _label(name: str, alt: str, label: LabelMap, class_set: ClassSet) -> Tile:
    return Tile(name, alt, label_uri(label, class_set), label.shape[0], label.shape[1], exact=True)
