"""The two things to score on a benchmark: a segmenter, or predictions that were saved."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from dataset_diffusion.errors import DatasetError
from dataset_diffusion.evaluation.benchmark import Benchmark, BenchmarkImage
from dataset_diffusion.evaluation.listing import Image, LabelMap, check_exist, read_file
from dataset_diffusion.evaluation.scorers.semantic import SemanticScores
from dataset_diffusion.machine.devices import explained_memory_errors
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.segmentation.model_folder import TrainedSegmenter
from dataset_diffusion.segmentation.predict import WHOLE_IMAGE, Views, predict

OnImage = Callable[[BenchmarkImage, LabelMap], None]
"""Called with every image and its prediction, in order."""

OnBad = Callable[[str, DatasetError], None]
"""Called with the id of every image that cannot be used, and why; the image is left out."""


def evaluate_segmenter(
    segmenter: TrainedSegmenter,
    benchmark: Benchmark,
    views: Views = WHOLE_IMAGE,
    *,
    batch_size: int = 16,
    on_image: OnImage | None = None,
    on_bad: OnBad | None = None,
) -> SemanticScores:
    """Score a trained segmenter on a benchmark. Images are read as they are needed and kept for one batch.

    Args:
        segmenter: what ``load_segmenter`` read.
        benchmark: of the same classes, or class-agnostic.
        views: what each prediction is averaged over.
        batch_size: images at once.
        on_image: progress, or a place to keep the predictions.
        on_bad: what to do about a file that cannot be used; None raises.

    Raises:
        DatasetError: the benchmark has other classes or no public truth, or a file of it cannot be used.
        ModelError: there is too little memory for ``batch_size`` images.
    """
    benchmark.check_truth()
    scorer = benchmark.task.scorer(benchmark.class_set)
    for image, prediction in predict_benchmark(segmenter, benchmark, views, batch_size=batch_size, on_bad=on_bad):
        if image.label is not None:
            scorer.add(prediction, image.label, image.id)
        if on_image is not None:
            on_image(image, prediction)
    return scorer.scores()


def predict_benchmark(
    segmenter: TrainedSegmenter,
    benchmark: Benchmark,
    views: Views = WHOLE_IMAGE,
    *,
    batch_size: int = 16,
    on_bad: OnBad | None = None,
) -> Iterator[tuple[BenchmarkImage, LabelMap]]:
    """Every image of a benchmark with what a segmenter predicts, in order. Arguments and errors are those of
    `evaluate_segmenter`, but the truth may be withheld.
    """
    check_classes(segmenter.class_set, benchmark)
    waiting: deque[BenchmarkImage] = deque()

    def images() -> Iterator[Image]:
        for number, image_id in enumerate(benchmark.ids):
            try:
                image = benchmark[number]
            except DatasetError as error:
                if on_bad is None:
                    raise
                on_bad(image_id, error)
            else:
                waiting.append(image)
                yield image.image

    with explained_memory_errors(
        f"to predict {batch_size} images at once", fix="a smaller --batch-size, or windows: --sliding-window"
    ):
        for prediction in predict(segmenter.model, images(), views, batch_size, benchmark.task.read):
            yield waiting.popleft(), prediction


def evaluate_predictions(
    folder: Path, benchmark: Benchmark, *, on_id: Callable[[str], None] | None = None, on_bad: OnBad | None = None
) -> SemanticScores:
    """Score predictions saved as ``<image id>.png`` in the benchmark's own format (docs/benchmarks.md).

    Args:
        folder: of the predictions.
        benchmark: only its label maps are read.
        on_id: progress: called with the id of every image that was scored.
        on_bad: what to do about a file that cannot be used; None raises.

    Raises:
        DatasetError: a prediction is missing, is not in that format, has another size than the truth, or ids out of
            range; or the truth is withheld or cannot be used.
    """
    benchmark.check_truth()
    paths = [Path(folder) / f"{image_id}.png" for image_id in benchmark.ids]
    if on_bad is None:
        check_exist(paths)
    scorer = benchmark.task.scorer(benchmark.class_set)
    for number, (image_id, path) in enumerate(zip(benchmark.ids, paths, strict=True)):
        try:
            scorer.add(read_file(path, benchmark.task.decode), benchmark.read_label(number), str(path))
        except DatasetError as error:
            if on_bad is None:
                raise
            on_bad(image_id, error)
        else:
            if on_id is not None:
                on_id(image_id)
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
