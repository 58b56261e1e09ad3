"""Self-training: label the synthetic images with the trained segmenter, train it on with those labels, and so on."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2.functional import to_dtype

from dataset_diffusion.dataset.schema import decode_label, encode_label
from dataset_diffusion.disk.atomic import atomic_write, remove_leftovers
from dataset_diffusion.errors import DatasetError
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.run_folder import DESCRIPTION
from dataset_diffusion.segmentation.model_folder import load_segmenter
from dataset_diffusion.segmentation.models import Segmenter
from dataset_diffusion.segmentation.predict import Views, confident, predict
from dataset_diffusion.segmentation.sampling import LabelledImages
from dataset_diffusion.segmentation.task import SILENT, TrainingListener, TrainingTask
from dataset_diffusion.segmentation.train import enough_memory, images_at_once, train_segmenter

ROUNDS = "rounds"
"""Folder, in the model folder, of the segmenters of the earlier rounds."""
LABELS = "labels.parquet"
"""What the segmenter beside it says about every image: one palette PNG a row, in order."""


def train_in_rounds(task: TrainingTask, out: Path, listener: TrainingListener = SILENT) -> Path:
    """Train a segmenter, and ``settings.self_training`` times train it on, on what it says itself.

    Every round goes on from the last one's weights with a new optimiser and schedule. The segmenters of the earlier
    rounds stay in ``out/rounds/0``, ``1``, ..., each a model folder of its own. Called again, it goes on where it was
    stopped, in whichever round, and ends with the same bytes as without the stop. Only ``task.data`` gets new labels.

    The result and the errors are those of ``train.train_segmenter``.
    """
    out, current = Path(out), task
    # A finished model needs no earlier round, but must still be the one that is asked for.
    for number in () if (out / DESCRIPTION).exists() else range(task.settings.self_training):
        teacher = train_segmenter(replace(current, round=number), out / ROUNDS / str(number), listener)
        current = replace(task, data=Relabelled(task.data, _labels_of(teacher, task, listener)), start=teacher)
    return train_segmenter(current, out, listener)


class Relabelled(Dataset[tuple[Tensor, Tensor]]):
    """Images with other label maps than their own, a palette PNG of class ids for each."""

    def __init__(self, data: LabelledImages, labels: pa.Array) -> None:
        self._data, self._labels = data, labels

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, _ = self._data[index]
        return image, torch.from_numpy(decode_label(self._labels[index].as_py()))


def pseudo_labels(
    segmenter: Segmenter, data: LabelledImages, confidence: float, batch_size: int = 16
) -> Iterator[UInt8[np.ndarray, "_ _"]]:
    """What a segmenter says about images, the mean of each and its mirror image; their labels are not looked at.

    Yields:
        Class ids at the image's own size, in order; 255 where the most probable class is below ``confidence``.
    """
    read = partial(confident, confidence=confidence, ignore_index=ClassSet.ignore_index)
    images = (to_dtype(data[index][0], torch.uint8, scale=True).permute(1, 2, 0) for index in range(len(data)))
    return predict(segmenter, (image.numpy() for image in images), Views(flip=True), batch_size, read)


def _labels_of(teacher: Path, task: TrainingTask, listener: TrainingListener) -> pa.Array:
    """The label maps that the segmenter in a folder gives to the images, kept beside it."""
    file = teacher / LABELS
    if not file.exists():
        encoded = _label_anew(teacher, task, listener)
        buffer = io.BytesIO()
        pq.write_table(pa.table({"label": pa.array(encoded, pa.binary())}), buffer)
        atomic_write(file, buffer.getvalue())
        remove_leftovers(file)
    try:
        labels = pq.read_table(file)["label"].combine_chunks()
        if labels.null_count or len(labels) != len(task.data):
            raise ValueError(f"{len(labels) - labels.null_count} label maps for {len(task.data)} images")
        return labels
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise DatasetError(f"cannot read {file}", got=type(error).__name__, fix="delete it and train again") from error


def _label_anew(teacher: Path, task: TrainingTask, listener: TrainingListener) -> list[bytes]:
    """What a segmenter says about every image, as palette PNGs."""
    segmenter, settings, encoded = load_segmenter(teacher, task.device).model, task.settings, []
    with enough_memory(settings):
        for label in pseudo_labels(segmenter, task.data, settings.self_training_confidence, images_at_once(settings)):
            encoded.append(encode_label(label, task.class_set))
            listener.on_label(len(encoded), len(task.data))
    return encoded
