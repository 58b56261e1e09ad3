"""The formats."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from dataset_diffusion.config import ExportFormat
from dataset_diffusion.dataset.exports import coco, huggingface, png, voc, webdataset, yolo
from dataset_diffusion.dataset.exports.job import Item, Job, Records


@dataclass(frozen=True)
class Writer:
    """How a format is written.

    Attributes:
        write_shard: writes the samples of a shard, in order, and yields each one's ``record``, with what the index
            needs to know of it besides. The shard is written when there is no more to yield.
        write_index: writes what is about all samples, once their shards are written.
        loading: three lines of Python that load it; ``{suffix}`` stands for that of the image files.
        limits: what the format does not keep, a sentence each.
        card_header: what stands above the dataset card.
    """

    write_shard: Callable[[Job, int, Iterable[Item]], Iterator[dict[str, Any]]]
    write_index: Callable[[Job, Records], None]
    loading: str
    limits: tuple[str, ...] = ()
    card_header: Callable[[Job], str] = lambda job: ""


EXPORTS: dict[ExportFormat, Writer] = {
    "voc": Writer(voc.write_shard, voc.write_index, voc.LOADING, voc.LIMITS),
    "coco": Writer(coco.write_shard, coco.write_index, coco.LOADING, coco.LIMITS),
    "yolo": Writer(yolo.write_shard, yolo.write_index, yolo.LOADING, yolo.LIMITS),
    "huggingface": Writer(
        huggingface.write_shard,
        huggingface.write_index,
        huggingface.LOADING,
        huggingface.LIMITS,
        huggingface.card_header,
    ),
    "webdataset": Writer(webdataset.write_shard, webdataset.write_index, webdataset.LOADING, webdataset.LIMITS),
    "png": Writer(png.write_shard, png.write_index, png.LOADING, png.LIMITS),
}
"""Every format by its name."""
