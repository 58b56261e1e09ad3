"""Draw and label the shards of a dataset. A shard's bytes follow from its prompts and the settings alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar

import torch

from dataset_diffusion.config import GenerateSettings, LabelSettings
from dataset_diffusion.dataset.schema import ImageFormat, as_stored
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.dataset.writer import DatasetWriter
from dataset_diffusion.diffusion.families.unet import DiffusionModel
from dataset_diffusion.diffusion.load import load_from_settings
from dataset_diffusion.labelling.assign import label_map
from dataset_diffusion.labelling.heatmaps import class_heatmaps
from dataset_diffusion.labelling.quality import quality_scores
from dataset_diffusion.machine.devices import is_out_of_memory, too_little_memory
from dataset_diffusion.records import Generation, Prompt, Sample
from dataset_diffusion.seeding import sample_seed

OnImages = Callable[[int, str], None]
"""Called with the number of images just drawn, and a note on what that takes."""

QUEUE_DEPTH = 2
"""Batches that wait to be labelled and written: enough for the GPU never to wait, few enough for memory."""

WorkItem = tuple[int, Sequence[Prompt]]
"""A shard and the prompts of its samples, in order."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class DrawingJob:
    """Everything the samples of a dataset follow from, beside the model's weights."""

    seed: int
    prompts: tuple[Prompt, ...]
    generate: GenerateSettings
    label: LabelSettings


def load_model_for(job: DrawingJob) -> DiffusionModel:
    """The model of a job, which it is known to be able to draw.

    Raises:
        ConfigError, ModelError, PromptError: there is no such model or device, or it cannot draw one of the prompts.
    """
    settings = job.generate
    model = load_from_settings(settings)
    model.check(job.prompts, settings.capture, **_drawing_options(settings))
    return model


def work_of(store: DatasetStore, job: DrawingJob, shards: Iterable[int]) -> Iterator[WorkItem]:
    """Shards, each with its prompts."""
    return ((shard, [job.prompts[index] for index in store.shard_range(shard)]) for shard in shards)


def draw_shards(
    model: DiffusionModel,
    store: DatasetWriter,
    job: DrawingJob,
    work: Iterable[WorkItem],
    *,
    on_images: OnImages | None = None,
    batch: BatchSize | None = None,
) -> None:
    """Draw shards in this process; while one batch is drawn, those before it are labelled, encoded and written.

    However it ends, a shard is either whole or not there.

    Args:
        model: what draws.
        store: what is written to.
        job: how to draw and label; its prompts are not looked at.
        work: the shards, each with its prompts.
        on_images: called after every batch.
        batch: the batch size that fitted into the memory before; None begins with the job's.

    Raises:
        ModelError: not even a single image fits into the GPU's memory.
        DatasetError: a shard cannot be written.
    """
    batch = batch or BatchSize(job.generate.batch_size)
    with InBackground() as background:
        for shard, prompts in work:
            rows: list[Future[list[dict[str, Any]]]] = []
            for drawn in draw_batches(model, job, prompts, batch):
                rows.append(background.submit(_encode, store, job.label, drawn))
                if on_images is not None:
                    on_images(len(drawn), cost_note(model, job, batch))
            background.submit(_write, store, shard, rows)


@dataclass
class BatchSize:
    """How many images are drawn at once, which running out of memory makes smaller for all batches to come."""

    images: int


@dataclass(frozen=True, eq=False)
class Drawn:
    """An image that was drawn, before it is labelled."""

    prompt: Prompt
    seed: int
    generation: Generation


def draw_batches(
    model: DiffusionModel, job: DrawingJob, prompts: Sequence[Prompt], batch: BatchSize
) -> Iterator[list[Drawn]]:
    """Draw prompts in batches that begin at the first of them.

    A batch for which the GPU has too little memory is drawn again in halves.

    Raises:
        ModelError: not even a single image fits into the memory.
    """
    left = list(prompts)
    while left:
        tried = left[: batch.images]
        seeds = [sample_seed(job.seed, prompt.index) for prompt in tried]
        generations = _generate(model, job.generate, tried, seeds)
        if generations is None:
            batch.images = len(tried) // 2
            torch.cuda.empty_cache()
            continue
        yield [Drawn(*one) for one in zip(tried, seeds, generations, strict=True)]
        left = left[len(tried) :]


def _generate(
    model: DiffusionModel, settings: GenerateSettings, prompts: list[Prompt], seeds: list[int]
) -> list[Generation] | None:
    """The drawn images; None where the GPU's memory is too small for so many, but may do for fewer."""
    try:
        return model.generate(prompts, seeds, settings.capture, **_drawing_options(settings))
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        if len(prompts) == 1:
            raise too_little_memory(
                "for a single image",
                error,
                fix="a smaller --height and --width, --dtype float16, --cpu-offload, or --device cpu",
            ) from error
    # Only here is the error gone, and with it the tensors that its traceback held.
    return None


def _drawing_options(settings: GenerateSettings) -> dict[str, Any]:
    return settings.model_dump(include={"steps", "guidance_scale", "negative_prompt", "height", "width"})


def cost_note(model: DiffusionModel, job: DrawingJob, batch: BatchSize) -> str:
    """What drawing takes, for the progress line: GPU memory, and the batch size where it is not the one asked for."""
    notes = []
    if model.device.type == "cuda":
        notes.append(f"{torch.cuda.max_memory_reserved(model.device) / 2**30:.1f} GiB of GPU memory")
    if batch.images < job.generate.batch_size:
        notes.append(f"batches of {batch.images}, as {job.generate.batch_size} do not fit")
    return ", ".join(notes)


class InBackground:
    """Does what it is given in a thread of its own, in order and at most `QUEUE_DEPTH` pieces behind.

    As a context manager. What fails in the thread is raised by a later `submit`, or at the end of the block; a block
    that an error or Ctrl-C ends waits for the piece in progress alone.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._pending: deque[Future[Any]] = deque()

    def submit(self, function: Callable[..., Result], *args: Any) -> Future[Result]:
        """Have a function called; wait while too much is waiting already."""
        future = self._thread.submit(function, *args)
        self._pending.append(future)
        self._wait(QUEUE_DEPTH)
        return future

    def __enter__(self) -> InBackground:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._wait(0)
        finally:
            self._thread.shutdown(cancel_futures=True)

    def _wait(self, allowed: int) -> None:
        while len(self._pending) > allowed:
            self._pending.popleft().result()


def _encode(store: DatasetWriter, label: LabelSettings, drawn: list[Drawn]) -> list[dict[str, Any]]:
    image_format = store.manifest.image_format
    return store.encode(label_generation(one.prompt, one.seed, one.generation, label, image_format) for one in drawn)


def _write(store: DatasetWriter, shard: int, rows: list[Future[list[dict[str, Any]]]]) -> None:
    store.write_rows(shard, list(chain.from_iterable(encoded.result() for encoded in rows)))


def label_generation(
    prompt: Prompt, seed: int, generation: Generation, settings: LabelSettings, image_format: ImageFormat = "png"
) -> Sample:
    """Turn a drawn image and its attention into a labelled sample, as relabelling would from what is stored of them."""
    if generation.attention is None:
        raise ValueError("an image can only be labelled from its attention")
    heatmaps = class_heatmaps(generation.attention)
    height, width, _ = generation.image.shape
    image = as_stored(generation.image, image_format) if settings.refine != "none" else None
    label = label_map(heatmaps, prompt.classes, (height, width), settings, image=image)
    return Sample(seed, prompt, generation.image, label, heatmaps, quality_scores(label, prompt.classes, heatmaps))
