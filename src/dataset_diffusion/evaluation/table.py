"""Benchmarks by name: a file for each family of folders on disk, and the table that says what each is scored by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.errors import DatasetError
from dataset_diffusion.evaluation.benchmark import Benchmark, Task
from dataset_diffusion.evaluation.listing import Listing, decode_grey, encode_grey
from dataset_diffusion.evaluation.readers import celebamask, cityscapes, coco, masks, voc
from dataset_diffusion.evaluation.readers.scenes import SCENES, read_dataset
from dataset_diffusion.evaluation.scorers.dichotomous import DichotomousScorer
from dataset_diffusion.evaluation.scorers.discovery import DiscoveryScorer
from dataset_diffusion.evaluation.scorers.face_parsing import FaceParsingScorer
from dataset_diffusion.evaluation.scorers.semantic import Scorer, SemanticScorer
from dataset_diffusion.prompts.class_sets import ClassSet, class_set
from dataset_diffusion.segmentation.predict import foreground


@dataclass(frozen=True)
class Row:
    """A benchmark of the table.

    Attributes:
        classes: name of its class set.
        read: (folder, split, class set) -> its images.
        task: what is scored.
        example: what its folder is usually called.
    """

    classes: str
    read: Callable[[Path, str | None, ClassSet], Listing]
    task: Task
    example: str


def _semantic(classes: ClassSet, no_class: int | None = None) -> Scorer:
    return SemanticScorer(classes.num_classes + 1, classes.ignore_index, no_class)


SEMANTIC = Task(_semantic)
STREETS = Task(
    partial(_semantic, no_class=cityscapes.NO_CLASS),
    encode=lambda prediction, classes: cityscapes.encode_prediction(prediction),
    decode=cityscapes.decode_prediction,
)
FOREGROUND = Task(
    lambda classes: DichotomousScorer(),
    read=foreground,
    encode=lambda prediction, classes: encode_grey(prediction),
    decode=decode_grey,
    class_agnostic=True,
)
FACE_PARSING = Task(FaceParsingScorer)
DISCOVERY = Task(DiscoveryScorer, class_agnostic=True)

ROWS = {
    "voc2012": Row("voc", voc.read_voc, SEMANTIC, voc.EXAMPLE),
    "coco2017": Row("coco", coco.read_coco, SEMANTIC, coco.EXAMPLE),
    "cityscapes": Row("cityscapes", cityscapes.read_cityscapes, STREETS, cityscapes.EXAMPLE),
    "dis5k": Row("dis5k", masks.read_masks, FOREGROUND, masks.EXAMPLE),
    "celebamask-hq": Row("celebamask-hq", celebamask.read_celebamask, FACE_PARSING, celebamask.EXAMPLE),
    "voc-discovery": Row("voc", voc.read_voc, DISCOVERY, voc.EXAMPLE),
}
"""The published benchmarks."""

BENCHMARKS = ("scenes", *ROWS)
"""Every benchmark's name. The classes of ``scenes`` are those of the dataset that it is."""


def open_benchmark(
    name: str, root: Path | None = None, split: str | None = None, *, check_files: bool = True
) -> Benchmark:
    """Open a benchmark.

    Args:
        name: one of ``BENCHMARKS``, or the path of a dataset folder.
        root: the benchmark's folder; ``scenes`` ships with the package and needs none.
        split: which of its splits; None is the one that papers report.
        check_files: look for every file now; otherwise one that is missing is told when it is read.

    Raises:
        DatasetError: no such benchmark or split, or a folder that does not hold it.
    """
    if name in ROWS:
        row = ROWS[name]
        if root is None:
            raise DatasetError(f"the benchmark {name} needs its folder", fix=f"--root {row.example}")
        classes = class_set(row.classes)
        listing = row.read(root, split, classes)
        if check_files:
            listing.check_complete()
        return Benchmark(name, classes, listing, row.task)
    if name == "scenes" or Path(name).is_dir():
        store = DatasetStore.open((root or SCENES) if name == "scenes" else Path(name))
        return Benchmark(name, store.class_set, read_dataset(store, split), SEMANTIC)
    raise DatasetError(
        "no such benchmark", got=repr(name), expected=f"one of {', '.join(BENCHMARKS)}, or a dataset folder"
    )
