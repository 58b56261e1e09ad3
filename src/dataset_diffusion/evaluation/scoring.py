"""The two things to score on a benchmark: what a segmenter predicts, or predictions that were saved."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dataset_diffusion.dataset.schema import Image, LabelMap
from dataset_diffusion.disk.places import below
from dataset_diffusion.errors import DatasetError, Skipped, leave_out
from dataset_diffusion.evaluation.benchmark import Benchmark, BenchmarkImage
from dataset_diffusion.evaluation.readers.files import check_exist, read_file
from dataset_diffusion.evaluation.scorers.semantic import SemanticScores
from dataset_diffusion.machine.devices import explained_memory_errors
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.segmentation.model_folder import TrainedSegmenter
from dataset_diffusion.segmentation.predict import WHOLE_IMAGE, Views, predict


@dataclass(frozen=True, eq=False)
class Predicted:
    """What is predicted for one image of a benchmark.

    Attributes:
        prediction: what the benchmark's task scores.
        truth: uint8 class ids, 255 not scored; None where the truth is withheld.
        name: what an error message calls it.
        image: None for saved predictions, whose images are not read.
    """

    id: str
    prediction: LabelMap
    truth: LabelMap | None
    name: str
    image: Image | None = None


def predict_benchmark(
    segmenter: TrainedSegmenter,
    benchmark: Benchmark,
    views: Views = WHOLE_IMAGE,
    *,
    batch_size: int = 16,
    skip_bad: Skipped | None = None,
) -> Iterator[Predicted]:
    """What a segmenter predicts for every image of a benchmark, in order. Images are kept for one batch.

    Raises:
        DatasetError: the benchmark has other classes, or a file of it cannot be used and nothing is to be skipped.
        ModelError: there is too little memory for ``batch_size`` images.
    """
    check_classes(segmenter.class_set, benchmark)
    waiting: deque[BenchmarkImage] = deque()

    def images() -> Iterator[Image]:
        for number, image_id in enumerate(benchmark.ids):
            try:
                image = benchmark[number]
            except DatasetError as error:
                leave_out(image_id, error, skip_bad)
            else:
                waiting.append(image)
                yield image.image

    with explained_memory_errors(
        f"to predict {batch_size} images at once", fix="a smaller --batch-size, or windows: --sliding-window"
    ):
        for prediction in predict(segmenter.model, images(), views, batch_size, benchmark.task.read):
            one = waiting.popleft()
            yield Predicted(one.id, prediction, one.label, one.id, one.image)


def read_predictions(folder: Path, benchmark: Benchmark, *, skip_bad: Skipped | None = None) -> Iterator[Predicted]:
    """Predictions saved as ``<image id>.png`` in the benchmark's own format (docs/benchmarks.md), in order.

    Raises:
        DatasetError: a prediction is missing or not in that format, or the truth is withheld or cannot be used.
    """
    paths = [below(Path(folder), f"{image_id}.png") for image_id in benchmark.ids]

    def decode(data: bytes) -> LabelMap:
        return benchmark.task.decode(data, benchmark.class_set)

    if skip_bad is None:
        check_exist(paths)
    for number, (image_id, path) in enumerate(zip(benchmark.ids, paths, strict=True)):
        try:
            prediction, truth = read_file(path, decode), benchmark.read_label(number)
        except DatasetError as error:
            leave_out(image_id, error, skip_bad)
        else:
            yield Predicted(image_id, prediction, truth, str(path))


def score(predictions: Iterable[Predicted], benchmark: Benchmark, *, skip_bad: Skipped | None = None) -> SemanticScores:
    """Score predictions on the benchmark that they are for, one at a time.

    Raises:
        DatasetError: the truth is withheld, or a prediction has another size than the truth or ids out of range;
            or what reading the predictions raises.
    """
    benchmark.check_truth()
    scorer = benchmark.task.scorer(benchmark.class_set)
    for one in predictions:
        if one.truth is not None:
            try:
                scorer.add(one.prediction, one.truth, one.name)
            except DatasetError as error:
                leave_out(one.id, error, skip_bad)
    return scorer.scores()


def check_classes(trained: ClassSet, benchmark: Benchmark) -> None:
    """Raise a DatasetError where a segmenter of some classes cannot be scored on a benchmark."""
    if benchmark.task.class_agnostic or trained.names == benchmark.class_set.names:
        return
    raise DatasetError(
        f"the segmenter and the benchmark {benchmark.name} have different classes",
        got=", ".join(trained.names),
        expected=", ".join(benchmark.class_set.names),
        fix='name a benchmark of these classes, such as a labelled dataset\'s folder, or in a recipe "none"',
    )
