"""Draw and label the missing shards of a dataset. A shard's bytes follow from its prompts and the settings alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from dataset_diffusion.config import GenerateSettings, LabelSettings
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.diffusion.models import load_model
from dataset_diffusion.diffusion.unet import DiffusionModel
from dataset_diffusion.labelling.assign import label_map
from dataset_diffusion.labelling.heatmaps import class_heatmaps
from dataset_diffusion.labelling.quality import quality_scores
from dataset_diffusion.records import Generation, Prompt, Sample
from dataset_diffusion.seeding import sample_seed

OnImages = Callable[[int], None]
"""Called with the number of images just drawn."""


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
    model = load_model(settings.model, settings.device, settings.dtype)
    model.check(job.prompts, settings.capture, steps=settings.steps, height=settings.height, width=settings.width)
    return model


def draw_missing_shards(
    model: DiffusionModel, store: DatasetStore, job: DrawingJob, on_images: OnImages | None = None
) -> None:
    """Draw, in this process, the shards that are not there yet."""
    for shard in store.missing_shards():
        store.write_shard(shard, draw_samples(model, job, store.shard_range(shard), on_images))


def draw_samples(
    model: DiffusionModel, job: DrawingJob, indices: Sequence[int], on_images: OnImages | None = None
) -> Iterator[Sample]:
    """Draw and label the samples of some indices, in batches that begin at the first of them."""
    settings = job.generate
    for start in range(0, len(indices), settings.batch_size):
        prompts = [job.prompts[index] for index in indices[start : start + settings.batch_size]]
        seeds = [sample_seed(job.seed, prompt.index) for prompt in prompts]
        drawn = model.generate(
            prompts,
            seeds,
            settings.capture,
            steps=settings.steps,
            guidance_scale=settings.guidance_scale,
            negative_prompt=settings.negative_prompt,
            height=settings.height,
            width=settings.width,
        )
        for prompt, seed, generation in zip(prompts, seeds, drawn, strict=True):
            yield label_generation(prompt, seed, generation, job.label)
        if on_images is not None:
            on_images(len(prompts))


def label_generation(prompt: Prompt, seed: int, generation: Generation, settings: LabelSettings) -> Sample:
    """Turn a drawn image and its attention into a labelled sample."""
    if generation.attention is None:
        raise ValueError("an image can only be labelled from its attention")
    heatmaps = class_heatmaps(generation.attention)
    height, width, _ = generation.image.shape
    label = label_map(heatmaps, prompt.classes, (height, width), settings)
    return Sample(seed, prompt, generation.image, label, heatmaps, quality_scores(label, heatmaps))
