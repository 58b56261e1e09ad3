"""The table of benchmarks: how each is read from its folder, and what is scored on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dataset_diffusion.dataset.schema import decode_grey, encode_grey
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.errors import DatasetError
from dataset_diffusion.evaluation.benchmark import Benchmark, Source, Task
from dataset_diffusion.evaluation.readers import celebamask, cityscapes, coco, masks, voc
from dataset_diffusion.evaluation.readers.files import check_exist, check_ids_of_images
from dataset_diffusion.evaluation.readers.scenes import SCENES, read_dataset
from dataset_diffusion.evaluation.scorers.dichotomous import DichotomousScorer, foreground_ids
from dataset_diffusion.evaluation.scorers.discovery import DiscoveryScorer
from dataset_diffusion.evaluation.scorers.face_parsing import FaceParsingScorer
from dataset_diffusion.evaluation.scorers.semantic import Scorer, SemanticScorer
from dataset_diffusion.prompts.class_sets import ClassSet, class_set
from dataset_diffusion.segmentation.predict import foreground


@dataclass(frozen=True)
class Row:
    """A benchmark of the table.

    Attributes:
        classes: name of its class set; None where the folder, a dataset, says its own.
        read: (folder, split, class set) -> its images.
        task: what is scored.
        example: what its folder is usually called.
        shipped: the folder that comes with the package; None where the user names one.
        train_split: the split to train on; None where there are no splits.
    """

    classes: str | None
    read: Callable[[Path, str | None, ClassSet], Sequence[Source]]
    task: Task
    example: str = ""
    shipped: Path | None = None
    train_split: str | None = "train"


def _semantic(classes: ClassSet, no_class: int | None = None) -> Scorer:
    return SemanticScorer(len(classes.label_ids), no_class)


SEMANTIC = Task(_semantic)
STREETS = Task(
    partial(_semantic, no_class=cityscapes.NO_CLASS),
    encode=lambda prediction, classes: cityscapes.encode_prediction(prediction),
    decode=lambda data, classes: cityscapes.decode_prediction(data),
)
FOREGROUND = Task(
    lambda classes: DichotomousScorer(),
    read=foreground,
    to_ids=foreground_ids,
    encode=lambda prediction, classes: encode_grey(prediction),
    decode=lambda data, classes: decode_grey(data),
    class_agnostic=True,
)
FACE_PARSING = Task(FaceParsingScorer)
DISCOVERY = Task(DiscoveryScorer, class_agnostic=True)

BENCHMARKS = {
    "scenes": Row(None, read_dataset, SEMANTIC, shipped=SCENES, train_split=None),
    "voc2012": Row("voc", voc.read_voc, SEMANTIC, voc.EXAMPLE),
    "coco2017": Row("coco", coco.read_coco, SEMANTIC, coco.EXAMPLE),
    "cityscapes": Row("cityscapes", cityscapes.read_cityscapes, STREETS, cityscapes.EXAMPLE),
    "dis5k": Row("dis5k", masks.read_masks, FOREGROUND, masks.EXAMPLE),
    "celebamask-hq": Row("celebamask-hq", celebamask.read_celebamask, FACE_PARSING, celebamask.EXAMPLE),
    "voc-discovery": Row("voc", voc.read_voc, DISCOVERY, voc.EXAMPLE),
}
"""Every benchmark by name."""

DATASET = BENCHMARKS["scenes"]
"""Any dataset is a benchmark as the scenes are."""


def open_benchmark(
    name: str, root: Path | None = None, split: str | None = None, *, check_files: bool = True
) -> Benchmark:
    """Open a benchmark.

    Args:
        name: one of ``BENCHMARKS``, or the path of a dataset folder.
        root: the benchmark's folder; ``scenes`` ships with the package and needs none.
        split: which of its splits; None is the one that papers report.
        check_files: whether to look for every file now, not when it is read.

    Raises:
        DatasetError: no such benchmark or split, or a folder that does not hold it.
    """
    row, root = _find(name, root)
    classes = DatasetStore.open(root).class_set if row.classes is None else class_set(row.classes)
    sources = row.read(root, split, classes)
    check_ids_of_images(sources)
    if check_files:
        check_exist([file for source in sources for file in source.files])
    return Benchmark(name, classes, sources, row.task)


def train_split(name: str) -> str | None:
    """The split of a benchmark, or of a dataset by its path, that is there to be trained on."""
    return BENCHMARKS.get(name, DATASET).train_split


def _find(name: str, root: Path | None) -> tuple[Row, Path]:
    """The row and the folder of a benchmark."""
    if name in BENCHMARKS:
        row = BENCHMARKS[name]
        root = root or row.shipped
        if root is None:
            raise DatasetError(f"the benchmark {name} needs its folder", fix=f"--root {row.example}")
        return row, root
    if Path(name).is_dir():
        return DATASET, Path(name)
    raise DatasetError(
        "no such benchmark", got=repr(name), expected=f"one of {', '.join(BENCHMARKS)}, or a dataset folder"
    )
