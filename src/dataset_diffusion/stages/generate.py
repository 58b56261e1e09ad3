"""The stage that generates: one labelled image per prompt, and the same again for shards that were lost."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from dataset_diffusion.config import CaptureSettings, ExecutorSettings, GenerateSettings, LabelOptions, LabelSettings
from dataset_diffusion.dataset.manifest import FILE_NAME, DatasetManifest
from dataset_diffusion.dataset.provenance import Provenance, Used
from dataset_diffusion.dataset.schema import as_stored
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.dataset.writer import DatasetWriter
from dataset_diffusion.diffusion.load import load_from_settings
from dataset_diffusion.diffusion.model import DiffusionModel
from dataset_diffusion.diffusion.specs import GenerationPlan, model_fingerprint, spec_of, what_is_taken
from dataset_diffusion.disk.atomic import clear_leftovers
from dataset_diffusion.disk.claims import refuse_differences
from dataset_diffusion.disk.locks import folder_lock, remove_left_lock
from dataset_diffusion.errors import DatasetError, PromptError, tell
from dataset_diffusion.labelling.sample import label_generation
from dataset_diffusion.machine.background import InBackground
from dataset_diffusion.machine.devices import is_out_of_memory, too_little_memory, usual_dtype
from dataset_diffusion.machine.progress import progress
from dataset_diffusion.prompts.class_sets import ClassSet, resolve_classes
from dataset_diffusion.prompts.prompt_files import read_prompts
from dataset_diffusion.reading import Reading
from dataset_diffusion.records import Generation, Prompt
from dataset_diffusion.seeding import sample_seed

WorkItem = tuple[int, Sequence[Prompt]]
"""A shard and the prompts of its samples, in order."""

Generated = tuple[Prompt, int, Generation]
"""What an image was generated from, its seed, and the image, before it is labelled."""


@dataclass(frozen=True)
class GenerationJob:
    """Everything the samples of a dataset follow from, beside the model's weights."""

    seed: int
    prompts: tuple[Prompt, ...]
    generate: GenerateSettings
    plan: GenerationPlan
    label: LabelSettings


@dataclass
class BatchSize:
    """How many images are generated at once, which running out of memory makes smaller for all batches to come."""

    images: int


def generate_dataset(
    prompts_file: Path,
    settings: GenerateSettings,
    out: Path,
    *,
    label: LabelOptions | LabelSettings,
    seed: int,
    classes: ClassSet | str | None = None,
    workers: ExecutorSettings = ExecutorSettings(),
    model: DiffusionModel | None = None,
) -> DatasetStore:
    """Generate and label one image per prompt.

    Args:
        prompts_file: what `write_prompts` wrote, or the published format.
        settings: how images are generated.
        out: the dataset's folder; a dataset that the same arguments began is finished.
        label: how images are labelled.
        seed: the run's seed.
        classes: the class set of a prompts file that does not say it, or the set's name.
        workers: where the work is done; no byte of the dataset follows from it.
        model: what `check_generation` gave for the same prompts and settings, so that it is not loaded again.

    Raises:
        DatasetError: ``out`` holds a dataset of other settings, or another process is writing it.
        ConfigError, ModelError, PromptError: the model cannot generate the prompts; ``out`` is left alone.
    """
    reading, begun = reading_for(out, settings), (out / FILE_NAME).exists()
    manifest, job = plan_dataset(
        prompts_file, settings, reading, label.resolve(reading.label), seed=seed, classes=classes
    )
    if begun and (store := DatasetWriter.create(out, manifest)).is_complete:
        remove_left_lock(out)
        return store
    if model is None and not begun:
        model = check_generation(job.prompts, settings, workers)
    with folder_lock(out, shared=workers.part is not None):
        store = DatasetWriter.create(out, manifest)
        mine = workers.shards_of(store.manifest.num_shards)
        missing = set(store.missing_shards())
        work = [shard for shard in mine if shard in missing]
        images = store.count(mine)
        with (
            progress("Generate images and label them", images, "images", done=images - store.count(work)) as advance,
            closing(_generate(store, job, work, workers, model)) as batches,
        ):
            for count, note in batches:
                advance(count, note)
            if refused := count_refused(store, work):
                advance(0, note=f"{refused} made black by the model's safety checker")
    return store


def reading_for(dataset: Path, settings: GenerateSettings) -> Reading:
    """The reading that the settings ask for, or where they leave it open that of a dataset that was begun."""
    open_choice = settings.reading is None and settings.read is None and settings.capture == CaptureSettings()
    if open_choice and (dataset / FILE_NAME).exists():
        used = DatasetManifest.load(dataset).provenance.used
        if used is not None:
            return used.reading
        settings = settings.model_copy(update={"reading": "plain"})  # the only one of version 0.1.0
    plan = spec_of(settings).resolve(settings)
    assert plan.reading is not None
    return plan.reading


def check_generation(
    prompts: Sequence[Prompt], settings: GenerateSettings, workers: ExecutorSettings = ExecutorSettings()
) -> DiffusionModel | None:
    """The loaded model, which is known to be able to generate the prompts; None where Ray's workers will load it.

    Raises:
        ConfigError, ModelError, PromptError: no such model or device, or one that cannot generate a prompt.
    """
    on_cpu = {"device": "cpu", "compile": False, "cpu_offload": False}
    is_local = workers.executor == "local"
    model = _checked_model(prompts, settings if is_local else settings.model_copy(update=on_cpu))
    if line := what_is_taken(settings.model, model.spec, model.spec.resolve(settings)):
        tell(line)
    return model if is_local else None


def count_refused(store: DatasetStore, shards: Iterable[int]) -> int:
    """Samples of some shards whose image the model's safety checker made black: their classes have no presence."""
    scores = (row["quality"] for shard in shards for row in store.read_shard(shard, ("quality",)))
    return sum({"name": "presence", "value": 0.0} in sample for sample in scores)


def repair_dataset(store: DatasetStore, damaged: Sequence[int], prompts_file: Path | None = None) -> list[int]:
    """Generate again the shards that are missing or damaged; they come out as they were. Gives their numbers.

    Args:
        store: a dataset that `generate_dataset` made.
        damaged: those of its shards that are there and damaged.
        prompts_file: the prompts it was made from; None takes the ``prompts.jsonl`` beside its folder.

    Raises:
        DatasetError: the dataset was not generated, its prompts are not to be found, or what is there now (the prompts,
            the model) is not what it was generated from. Nothing is changed.
    """
    recorded = store.manifest.provenance
    if (
        recorded.generate is None
        or recorded.label is None
        or recorded.seed is None
        or recorded.filter
        or recorded.own_labels
    ):
        raise DatasetError(
            f"{store.path} cannot be repaired, since no model generated it as it is",
            fix="make it again the way it was made",
        )
    file = prompts_file or store.path.resolve().parent / "prompts.jsonl"
    if not file.exists():
        raise DatasetError(
            "the prompts that the lost samples were generated from are not to be found",
            got=str(file),
            fix="name their file with --prompts",
        )
    reading = reading_for(store.path, recorded.generate)
    manifest, job = plan_dataset(
        file, recorded.generate, reading, recorded.label, seed=recorded.seed, classes=store.class_set
    )
    refuse_differences(
        store.manifest.differences(manifest),
        store.path,
        "what was not generated from what is there now",
        DatasetError,
        fix="name the prompts it was generated from with --prompts, and restore its model",
    )
    lost = sorted([*damaged, *store.missing_shards()])
    with (
        folder_lock(store.path),
        progress("Generate lost images again", store.count(lost), "images") as advance,
        closing(_generate(DatasetWriter.open(store.path), job, lost)) as batches,
    ):
        store.check_unchanged()
        for count, note in batches:
            advance(count, note)
    return lost


def plan_dataset(
    prompts_file: Path,
    settings: GenerateSettings,
    reading: Reading,
    label: LabelSettings,
    *,
    seed: int,
    classes: ClassSet | str | None = None,
) -> tuple[DatasetManifest, GenerationJob]:
    """What a dataset is to be, and the work that makes it. Reads the prompts and no model."""
    prompts, class_set = read_prompts(prompts_file, None if classes is None else resolve_classes(classes))
    prompts = sorted(prompts, key=lambda prompt: prompt.index)
    if [prompt.index for prompt in prompts] != list(range(len(prompts))):
        raise PromptError(
            "the prompts are not numbered without gaps",
            got=f"indices {prompts[0].index} to {prompts[-1].index} for {len(prompts)} prompts in {prompts_file}",
            expected=f"0 to {len(prompts) - 1}",
        )
    spec = spec_of(settings)
    plan = replace(spec.resolve(settings), reading=reading)
    manifest = DatasetManifest.made_from(
        Provenance(
            seed=seed,
            prompts_sha256=hashlib.sha256(repr(prompts).encode()).hexdigest()[:16],
            generate=settings,
            label=label,
            used=_used(plan, reading, settings.dtype or usual_dtype(settings.device, spec.dtype)),
        ),
        num_samples=len(prompts),
        shard_size=settings.shard_size,
        image_format=settings.image_format,
        model=settings.model,
        model_revision=model_fingerprint(spec),
        class_set=class_set,
    )
    return manifest, GenerationJob(seed, tuple(prompts), settings, plan, label)


def _used(plan: GenerationPlan, reading: Reading, dtype: str) -> Used:
    return Used(
        scheduler=plan.scheduler,
        steps=plan.steps,
        guidance_scale=plan.guidance_scale,
        negative_prompt=plan.negative_prompt,
        height=plan.height,
        width=plan.width,
        dtype=dtype,
        reading=reading,
    )


def generate_shards(
    model: DiffusionModel,
    store: DatasetWriter,
    job: GenerationJob,
    work: Iterable[WorkItem],
    batch: BatchSize | None = None,
) -> Generator[tuple[int, str], None, None]:
    """Generate shards in this process; while one batch is generated, those before it are labelled and written.

    However it ends, a shard is either whole or not there. Close it, if it is not run to its end: a thread writes.

    Args:
        model: what has been found able to generate the prompts.
        store: what is written to.
        job: how to generate and label; its prompts are not looked at.
        work: the shards, each with its prompts.
        batch: the batch size that fitted into the memory before; None begins with the job's.

    Yields:
        After every batch the number of its images, and a note on what that takes.
    """
    batch = batch or BatchSize(job.generate.batch_size)
    with InBackground() as background:
        for shard, prompts in work:
            rows: list[dict[str, Any]] = []  # filled by the thread, before it writes them
            for generated in generate_batches(model, job, prompts, batch):
                background.submit(_encode, store, job.label, generated, rows)
                yield len(generated), cost_note(model, job, batch)
            background.submit(store.write_rows, shard, rows)


def generate_batches(
    model: DiffusionModel, job: GenerationJob, prompts: Sequence[Prompt], batch: BatchSize
) -> Iterator[list[Generated]]:
    """Generate prompts in batches, in order; one for which there is too little memory is generated again in halves.

    Raises:
        ModelError: not even a single image fits into the memory.
    """
    left = list(prompts)
    while left:
        tried = left[: batch.images]
        seeds = [sample_seed(job.seed, prompt.index) for prompt in tried]
        generations = _generate_if_it_fits(model, tried, seeds, job.plan)
        if generations is None:
            batch.images = len(tried) // 2
            torch.cuda.empty_cache()
            continue
        yield list(zip(tried, seeds, generations, strict=True))
        left = left[len(tried) :]


def work_of(store: DatasetStore, job: GenerationJob, shards: Iterable[int]) -> Iterator[WorkItem]:
    """Shards, each with its prompts."""
    return ((shard, [job.prompts[index] for index in store.shard_range(shard)]) for shard in shards)


def cost_note(model: DiffusionModel, job: GenerationJob, batch: BatchSize) -> str:
    """For the progress line: GPU memory, and the batch size where it is not the one asked for."""
    notes = []
    if model.device.type == "cuda":
        notes.append(f"{torch.cuda.max_memory_reserved(model.device) / 2**30:.1f} GiB of GPU memory")
    if batch.images < job.generate.batch_size:
        notes.append(f"batches of {batch.images}, as {job.generate.batch_size} do not fit")
    return ", ".join(notes)


def _checked_model(prompts: Sequence[Prompt], settings: GenerateSettings) -> DiffusionModel:
    model = load_from_settings(settings)
    model.check(prompts, model.spec.resolve(settings))
    return model


def _generate(
    store: DatasetWriter,
    job: GenerationJob,
    shards: Sequence[int],
    workers: ExecutorSettings = ExecutorSettings(),
    model: DiffusionModel | None = None,
) -> Generator[tuple[int, str], None, None]:
    if not shards:
        return
    if workers.executor == "ray":
        yield from _generate_with_ray(store, job, shards, workers)
    else:
        model = model or _checked_model(job.prompts, job.generate)
        yield from generate_shards(model, store, job, work_of(store, job, shards))


def _generate_with_ray(
    store: DatasetWriter, job: GenerationJob, shards: Sequence[int], workers: ExecutorSettings
) -> Generator[tuple[int, str], None, None]:
    """Generate shards in the workers of a Ray cluster, each of which writes its own."""
    from dataset_diffusion.machine.ray_pool import absolute, work_in_ray

    settings = job.generate.model_copy(update={"model": absolute(job.generate.model)})
    generated = work_in_ray(
        list(work_of(store, job, shards)),
        partial(_prepare_worker, replace(job, prompts=(), generate=settings), store.path.resolve()),
        name=lambda item: f"shard {item[0]}",
        num_workers=workers.num_workers,
        address=workers.address,
        device=settings.device,
    )
    for (_, prompts), note in generated:
        yield len(prompts), note
    clear_leftovers(store.path / "shards")


def _prepare_worker(job: GenerationJob, dataset: Path, device: str) -> Callable[[WorkItem], str]:
    """Load the model; gives what generates and writes a shard, and says what that takes."""
    model = load_from_settings(job.generate.model_copy(update={"device": device}))
    store, batch = DatasetWriter.open(dataset), BatchSize(job.generate.batch_size)
    return lambda item: [note for _, note in generate_shards(model, store, job, [item], batch)][-1]


def _generate_if_it_fits(
    model: DiffusionModel, prompts: list[Prompt], seeds: list[int], plan: GenerationPlan
) -> list[Generation] | None:
    """The images; None where the memory is too small for so many, but may do for fewer."""
    try:
        return model.generate_checked(prompts, seeds, plan)
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


def _encode(store: DatasetWriter, settings: LabelSettings, batch: list[Generated], rows: list[dict[str, Any]]) -> None:
    """Label a batch, and add it to the rows of its shard."""
    for prompt, seed, generation in batch:
        stored = None
        if settings.refine != "none":  # which looks at the image as relabelling will
            stored = as_stored(generation.image, store.manifest.image_format)
        rows += store.encode([label_generation(prompt, seed, generation, settings, stored)])
