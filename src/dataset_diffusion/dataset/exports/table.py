"""The formats: each is a module of this folder that has what `Format` lists."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from dataset_diffusion.config import ExportFormat
from dataset_diffusion.dataset.exports import (
    coco,
    cvat,
    huggingface,
    label_studio,
    png,
    voc,
    webdataset,
    yolo,
    yolo_semantic,
)
from dataset_diffusion.dataset.exports.job import Item, Job, Records


class Format(Protocol):
    """How a format is written.

    Attributes:
        LOADING: three lines of Python that load it; ``{suffix}`` stands for that of the image files.
        LIMITS: what the format does not keep, a sentence each.
    """

    LOADING: str
    LIMITS: tuple[str, ...]

    def write_shard(self, job: Job, shard: int, items: Iterable[Item]) -> Iterator[dict[str, Any]]:
        """Write the samples of a shard, in order, which is done when there is no more to yield.

        Yields:
            Of each sample its ``record``, and what the index needs to know of it besides.
        """

    def write_index(self, job: Job, records: Records) -> None:
        """Write what is about all samples, once their shards are written."""


EXPORTS: dict[ExportFormat, Format] = {
    "voc": voc,
    "coco": coco,
    "yolo": yolo,
    "yolo-semantic": yolo_semantic,
    "huggingface": huggingface,
    "webdataset": webdataset,
    "png": png,
    "cvat": cvat,
    "label-studio": label_studio,
}
"""Every format by its name."""

CARD_HEADERS: dict[ExportFormat, Callable[[Job], str]] = {"huggingface": huggingface.card_header}
"""What stands above the dataset card, where a format wants something there."""

SHARING: dict[ExportFormat, str] = {"huggingface": huggingface.SHARING}
"""The command that hands the folder on, where a format has a place for all to go to."""
