"""One self-contained HTML page about a run folder or a dataset folder. It is a pure function of what they hold."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from dataset_diffusion.dataset.corrections import corrected_samples
from dataset_diffusion.dataset.counts import LabelCounts, count_labels
from dataset_diffusion.disk.atomic import atomic_write, remove_leftovers
from dataset_diffusion.report.charts import confusion_chart, training_chart
from dataset_diffusion.report.contents import Contents, TrainingStep, digest_of, read_contents
from dataset_diffusion.report.gallery import example_rows, sample_rows
from dataset_diffusion.report.tables import class_counts, class_scores, provenance, recipe, settings_groups
from dataset_diffusion.run_folder import RunFolder
from dataset_diffusion.version import __version__


def write_report(run: str | PathLike[str]) -> Path:
    """Write ``report.html`` into a run folder, or a dataset folder, about what it holds so far.

    The page needs nothing beside itself: no network, no other file. The same contents give the same bytes, and a page
    that is about them already is left as it is.

    Raises:
        DatasetError: the folder is neither, something in it is damaged, or it cannot be written.
        PromptError: its prompts cannot be read.
    """
    folder = Path(run)
    path = RunFolder(folder).report
    digest = digest_of(folder)
    if not (path.exists() and digest.encode() in path.read_bytes()):
        atomic_write(path, _render(read_contents(folder), digest).encode())
        remove_leftovers(path)
    return path


def _render(contents: Contents, digest: str) -> str:
    """The page as HTML, with a digest of what it is about."""
    class_set, store, results = contents.class_set, contents.store, contents.results
    statistics = count_labels(*contents.stores) if contents.stores else None
    confusion = np.array(results.confusion_matrix, dtype=np.int64) if results and results.confusion_matrix else None
    asked = {} if store is None else store.manifest.provenance.asked()
    # The exponent that the labels were made with, where the dataset says it.
    label = None if store is None else store.manifest.provenance.label
    exponent = None if label is None else label.exponent
    counts = class_counts(statistics, class_set) if statistics and class_set else []
    template = _environment().get_template("page.html.j2")
    return template.render(
        contents=contents,
        digest=digest,
        name=contents.folder.resolve().name,
        version=__version__,
        class_set=class_set,
        story=" ".join(_story(contents, statistics)),
        key_figures=list(_key_figures(contents, statistics)),
        statistics=statistics,
        scores=class_scores(results, class_set) if results else [],
        counts=counts,
        largest_share=max((row.share for row in counts), default=0.0) or 1.0,
        samples=list(sample_rows(contents.stores, exponent)),
        examples=list(example_rows(contents.examples, class_set)) if class_set else [],
        training_charts=_training_charts(contents.training_log),
        confusion_chart=confusion_chart(confusion, results.classes) if results and confusion is not None else "",
        provenance=provenance(contents),
        settings=settings_groups(contents.config or asked),
        recipe=recipe(contents.config) if contents.config else "",
    )


def _story(contents: Contents, statistics: LabelCounts | None) -> Iterator[str]:
    """What was done, one sentence a stage."""
    store, model, results = contents.store, contents.model, contents.results
    if store is not None and statistics is not None:
        is_complete = all(one.is_complete for one in contents.stores)
        count = f"{statistics.num_images:,}" + ("" if is_complete else f" of {sum(map(len, contents.stores)):,}")
        classes = f"{store.class_set.num_classes} class{'es' if store.class_set.num_classes > 1 else ''}"
        if store.manifest.model is None:
            yield f"{count} images of {classes}, with labels that are known to be true."
        else:
            generated = "generated" if store.manifest.provenance.photos is None else "given, read"
            yield f"{count} images of {classes}, {generated} by the diffusion model {store.manifest.model} and labelled"
            by_hand = len(corrected_samples(store)) if store.is_complete else 0
            yield "by the attention it paid to each class's words."
            yield (
                f"{by_hand:,} of the label maps were corrected by hand."
                if by_hand
                else "No pixel was labelled by hand."
            )
        if contents.redrawn:
            redrawn, rounds = sum(map(len, contents.redrawn)), len(contents.redrawn)
            turns = "one round" if rounds == 1 else f"{rounds} rounds"
            yield f"{redrawn:,} of them are of what the segmenter was weak at, drawn in {turns}."
    elif contents.num_prompts is not None:
        yield f"{contents.num_prompts:,} prompts are written, and no image is generated yet."
    if model is not None:
        steps, again = model.settings.get("iterations"), model.settings.get("self_training", 0)
        known = isinstance(steps, int) and isinstance(again, int)
        duration = f" for {steps * (again + 1):,} steps" if known else ""
        images = f"{model.num_images:,} labelled images{_passing(contents.config)}"
        yield f"The segmenter {model.segmenter} learnt from {images}{duration}."
    if results is not None:
        benchmark = f" of the benchmark {results.benchmark}" if results.benchmark else ""
        yield f"The scores are taken on {results.num_images:,} images{benchmark}, against their true labels."


def _passing(config: Mapping[str, Any] | None) -> str:
    """Which images were trained on, where a run's recipe filters them."""
    rules = ((config or {}).get("filter") or {}).get("rules")
    return f" that pass {' and '.join(map(str, rules))}" if rules else ""


def _key_figures(contents: Contents, statistics: LabelCounts | None) -> Iterator[tuple[str, str]]:
    """(figure, what it is), the first one the headline."""
    if contents.results is not None:
        yield percent(contents.results.miou), "mean IoU"
        yield percent(contents.results.pixel_accuracy), "pixel accuracy"
        yield f"{contents.results.num_images:,}", "test images"
    if statistics is not None:
        synthetic = contents.store is not None and contents.store.manifest.model is not None
        yield f"{statistics.num_images:,}", "synthetic images" if synthetic else "images"
    elif contents.num_prompts is not None:
        yield f"{contents.num_prompts:,}", "prompts"
    if contents.class_set is not None:
        yield f"{contents.class_set.num_classes}", "classes"
    if statistics is not None:
        yield percent(statistics.uncertain), "uncertain pixels"


def _training_charts(log: tuple[TrainingStep, ...]) -> dict[str, str]:
    """The training curve for screens and for phones, on which the former's text would be too small to read."""
    steps, losses = [one.step for one in log], [one.loss for one in log]
    sizes = {"wide": (760, 300), "narrow": (350, 230)}
    return {screen: training_chart(steps, losses, *size) for screen, size in sizes.items()} if log else {}


def percent(share: float) -> str:
    """A fraction as a percentage with one decimal; a dash for NaN."""
    return "–" if math.isnan(share) else f"{share:.1%}"


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("dataset_diffusion.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = percent
    return environment
