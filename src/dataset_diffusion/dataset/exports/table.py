"""The formats."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from dataset_diffusion.config import ExportFormat
from dataset_diffusion.dataset.exports import coco, huggingface, png, voc, webdataset, yolo
from dataset_diffusion.dataset.exports.job import AddItem, Job, Records


@dataclass(frozen=True)
class Writer:
    """How a format is written.

    Attributes:
        open_shard: begins a shard; gives the function that takes its samples in order.
        write_index: writes what is about all samples, once their shards are written.
        loading: three lines of Python that load it; ``{suffix}`` stands for that of the image files.
        limits: what the format does not keep, a sentence each.
        card_header: what stands above the dataset card.
    """

    open_shard: Callable[[Job, int], AbstractContextManager[AddItem]]
    write_index: Callable[[Job, Records], None]
    loading: str
    limits: tuple[str, ...] = ()
    card_header: Callable[[Job], str] = lambda job: ""


EXPORTS: dict[ExportFormat, Writer] = {
    "voc": Writer(voc.open_shard, voc.write_index, voc.LOADING, voc.LIMITS),
    "coco": Writer(coco.open_shard, coco.write_index, coco.LOADING, coco.LIMITS),
    "yolo": Writer(yolo.open_shard, yolo.write_index, yolo.LOADING, yolo.LIMITS),
    "huggingface": Writer(
        huggingface.open_shard,
        huggingface.write_index,
        huggingface.LOADING,
        huggingface.LIMITS,
        huggingface.card_header,
    ),
    "webdataset": Writer(webdataset.open_shard, webdataset.write_index, webdataset.LOADING, webdataset.LIMITS),
    "png": Writer(png.open_shard, png.write_index, png.LOADING, png.LIMITS),
}
"""Every format by its name."""
