"""Self-training: label the synthetic images with the trained segmenter, train it on with those labels, and so on."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dataset_diffusion.dataset.schema import decode_label, encode_label
from dataset_diffusion.disk.atomic import remove_leftovers, write_file
from dataset_diffusion.errors import DatasetError
from dataset_diffusion.run_folder import DESCRIPTION
from dataset_diffusion.segmentation.model_folder import load_segmenter
from dataset_diffusion.segmentation.sampling import LabelledImages
from dataset_diffusion.segmentation.targets import Target, as_planes, attention_targets, segmenter_targets
from dataset_diffusion.segmentation.task import SILENT, TrainingListener, TrainingTask
from dataset_diffusion.segmentation.train import enough_memory, images_at_once, train_segmenter

ROUNDS = "rounds"
"""Folder, in the model folder, of the segmenters of the earlier rounds."""
LABELS = "labels.parquet"
"""What the segmenter beside it, or else the attention, says about every image: one palette PNG a row, in order."""


def train_in_rounds(task: TrainingTask, out: Path, listener: TrainingListener = SILENT) -> Path:
    """Train a segmenter, and ``settings.self_training`` times train it on, on what it says itself.

    Every round goes on from the last one's weights, or as published from new ones, with a new optimiser and schedule.
    The segmenters of the earlier
    rounds stay in ``out/rounds/0``, ``1``, ..., each a model folder of its own. Called again, it goes on where it was
    stopped, in whichever round, and ends with the same bytes as without the stop. Only ``task.data`` gets new labels.

    The result and the errors are those of ``train.train_segmenter``.
    """
    out, current = Path(out), task
    # A finished model needs no earlier round, but must still be the one that is asked for.
    finished = (out / DESCRIPTION).exists()
    if task.settings.weigh_pixels and not finished:
        labels = _kept(out / ROUNDS / LABELS, task, lambda: attention_targets(task.data), listener)
        current = replace(task, data=Relabelled(task.data, labels))
    for number in () if finished else range(task.settings.self_training):
        teacher = train_segmenter(replace(current, round=number), out / ROUNDS / str(number), listener)
        labels = _kept(teacher / LABELS, task, partial(_said_by, teacher, task), listener)
        start = None if task.settings.self_training_method == "published" else teacher
        current = replace(task, data=Relabelled(task.data, labels), start=start)
    return train_segmenter(current, out, listener)


class Relabelled(Dataset[tuple[Tensor, Tensor]]):
    """Images with other label maps than their own, a palette PNG of class ids for each."""

    def __init__(self, data: LabelledImages, labels: pa.Table) -> None:
        self._data, self._labels = data, labels

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, _ = self._data[index]
        planes = [torch.from_numpy(decode_label(plane[index].as_py())) for plane in self._labels.columns]
        return image, planes[0] if len(planes) == 1 else torch.stack(planes)


def _said_by(teacher: Path, task: TrainingTask) -> Iterator[Target]:
    """What the segmenter in a folder says about every image."""
    segmenter = load_segmenter(teacher, task.device).model
    return segmenter_targets(segmenter, task.data, task.settings, images_at_once(task.settings))


def _kept(file: Path, task: TrainingTask, make: Callable[[], Iterator[Target]], listener: TrainingListener) -> pa.Table:
    """The targets in a file, a column for each of their planes; made first where there is none."""
    if not file.exists():
        columns: dict[str, list[bytes]] = {"label": []}
        with enough_memory(task.settings):
            for number, target in enumerate(make(), start=1):
                ids, weights = as_planes(target)
                columns["label"].append(encode_label(ids, task.class_set))
                if weights is not None:
                    columns.setdefault("weight", []).append(encode_label(weights, task.class_set))
                listener.on_label(number, len(task.data))
        buffer = io.BytesIO()
        pq.write_table(pa.table({name: pa.array(column, pa.binary()) for name, column in columns.items()}), buffer)
        write_file(file, buffer.getvalue())
        remove_leftovers(file)
    try:
        labels = pq.read_table(file).combine_chunks()
        missing = sum(column.null_count for column in labels.columns)
        if missing or len(labels) != len(task.data):
            raise ValueError(f"{len(labels)} rows, {missing} label maps missing, for {len(task.data)} images")
        return labels
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise DatasetError(f"cannot read {file}", got=type(error).__name__, fix="delete it and train again") from error
