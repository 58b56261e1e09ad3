"""The second stage of a run: one labelled image per prompt. And the same again for shards that were lost."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from dataset_diffusion.config import ExecutorSettings, GenerateSettings, LabelSettings
from dataset_diffusion.dataset.manifest import FILE_NAME, DatasetManifest
from dataset_diffusion.dataset.provenance import Layers, Provenance, Used
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.dataset.writer import DatasetWriter
from dataset_diffusion.diffusion.families.unet import DiffusionModel
from dataset_diffusion.diffusion.specs import capture_choice, model_fingerprint, model_spec
from dataset_diffusion.disk.atomic import clear_leftovers
from dataset_diffusion.disk.locks import folder_lock
from dataset_diffusion.errors import DatasetError, PromptError
from dataset_diffusion.machine.devices import resolve_device
from dataset_diffusion.machine.progress import progress
from dataset_diffusion.prompts.class_sets import ClassSet, resolve_classes
from dataset_diffusion.prompts.prompt_files import read_prompts
from dataset_diffusion.records import Prompt
from dataset_diffusion.stages.drawing import (
    BatchSize,
    DrawingJob,
    OnImages,
    WorkItem,
    draw_shards,
    load_model_for,
    work_of,
)


def make_dataset(
    prompts_file: Path,
    generate: GenerateSettings,
    label: LabelSettings,
    seed: int,
    out: Path,
    *,
    classes: ClassSet | str | None = None,
    executor: ExecutorSettings = ExecutorSettings(),
) -> DatasetStore:
    """Draw and label one image per prompt.

    Args:
        prompts_file: what `write_prompts` wrote, or the published format.
        generate: how images are drawn.
        label: how they are labelled.
        seed: the run's seed.
        out: the dataset's folder; a dataset that the same arguments began is finished.
        classes: the class set of a prompts file that does not say it, or the set's name.
        executor: where the work is done; no byte of the dataset follows from it.

    Raises:
        DatasetError: ``out`` holds a dataset of other settings, or another process is writing it.
        ConfigError, ModelError, PromptError: the model cannot draw the prompts; ``out`` is left alone.
    """
    manifest, job = plan_dataset(prompts_file, generate, label, seed, classes)
    begun = (out / FILE_NAME).exists()
    if begun and (store := DatasetWriter.create(out, manifest)).is_complete:
        return store
    model = None if begun else _checked_model(job, executor)
    with folder_lock(out, shared=executor.part is not None):
        store = DatasetWriter.create(out, manifest)
        mine = executor.shards_of(store.manifest.num_shards)
        missing = set(store.missing_shards())
        work = [shard for shard in mine if shard in missing]
        images = store.count(mine)
        with progress("Draw and label", images, "images", done=images - store.count(work)) as advance:
            _draw(store, job, work, executor, advance, model=model)
            if refused := count_refused(store, work):
                advance(0, note=f"{refused} made black by the model's safety checker")
    return store


def count_refused(store: DatasetStore, shards: Iterable[int]) -> int:
    """Samples of some shards whose image the model's safety checker made black: their classes have no presence at all.

    Raises:
        DatasetError: a shard is missing or damaged.
    """
    scores = (row["quality"] for shard in shards for row in store.read_shard(shard, ("quality",)))
    return sum({"name": "presence", "value": 0.0} in sample for sample in scores)


def repair_dataset(store: DatasetStore, broken: Sequence[int], prompts_file: Path | None = None) -> None:
    """Draw again the shards that are missing or damaged; they come out as they were.

    Args:
        store: a dataset that `make_dataset` made.
        broken: its missing and damaged shards.
        prompts_file: the prompts it was made from; None takes the ``prompts.jsonl`` beside its folder.

    Raises:
        DatasetError: the dataset was not drawn, its prompts are not to be found, or what is there now (the prompts, the
            model) is not what it was drawn from. Nothing is changed.
    """
    generate, label, seed = _recorded_settings(store)
    file = prompts_file or store.path.resolve().parent / "prompts.jsonl"
    if not file.exists():
        raise DatasetError(
            "the prompts that the lost samples were drawn from are not to be found",
            got=str(file),
            fix="name their file with --prompts",
        )
    manifest, job = plan_dataset(file, generate, label, seed, store.class_set)
    if differences := store.manifest.differences(manifest):
        raise DatasetError(
            f"{store.path} was not drawn from what is there now",
            got=", ".join(differences[:3]),
            fix="name the prompts it was drawn from with --prompts, and restore its model",
        )
    with folder_lock(store.path), progress("Repair", store.count(broken), "images") as advance:
        store.check_unchanged()
        _draw(DatasetWriter.open(store.path), job, broken, ExecutorSettings(), advance)


def plan_dataset(
    prompts_file: Path,
    generate: GenerateSettings,
    label: LabelSettings,
    seed: int,
    classes: ClassSet | str | None = None,
) -> tuple[DatasetManifest, DrawingJob]:
    """What a dataset is to be, and the work that makes it. Raises as `make_dataset`; reads the prompts and no model."""
    prompts, class_set = read_prompts(prompts_file, None if classes is None else resolve_classes(classes))
    _check_numbered(prompts, prompts_file)
    prompts = sorted(prompts, key=lambda prompt: prompt.index)
    provenance = Provenance(
        seed=seed, prompts_sha256=_hash_of(prompts), generate=generate, label=label, used=_used_for(generate)
    )
    manifest = DatasetManifest.made_from(
        provenance,
        num_samples=len(prompts),
        shard_size=generate.shard_size,
        image_format=generate.image_format,
        model=generate.model,
        model_revision=model_fingerprint(generate.model),
        class_set=class_set,
    )
    return manifest, DrawingJob(seed, tuple(prompts), generate, label)


def _used_for(settings: GenerateSettings) -> Used:
    """The settings, with the model's own where they leave a choice open."""
    spec = model_spec(settings.model)
    cross, own = capture_choice(spec, settings.capture)
    scale, negative = settings.guidance_scale, settings.negative_prompt
    # By name, as the workers of a Ray cluster may have a device that this machine has not.
    device = settings.device or resolve_device(None).type
    return Used(
        scheduler=settings.scheduler or spec.scheduler,
        steps=settings.steps or spec.num_inference_steps,
        guidance_scale=spec.guidance_scale if scale is None else scale,
        negative_prompt=spec.negative_prompt if negative is None else negative,
        height=settings.height or spec.height,
        width=settings.width or spec.width,
        dtype=settings.dtype or ("float32" if device == "cpu" else spec.dtype),
        cross_attention=Layers(resolution=cross.resolution, prefixes=cross.prefixes),
        self_attention=Layers(resolution=own.resolution, prefixes=own.prefixes),
        attention_prompt=settings.capture.prompt,
    )


def _draw(
    store: DatasetWriter,
    job: DrawingJob,
    shards: Sequence[int],
    executor: ExecutorSettings,
    on_images: OnImages,
    *,
    model: DiffusionModel | None = None,
) -> None:
    if not shards:
        return
    if executor.executor == "ray":
        _draw_with_ray(store, job, shards, executor, on_images)
    else:
        draw_shards(model or load_model_for(job), store, job, work_of(store, job, shards), on_images=on_images)


def _draw_with_ray(
    store: DatasetWriter, job: DrawingJob, shards: Sequence[int], executor: ExecutorSettings, on_images: OnImages
) -> None:
    """Draw shards in the workers of a Ray cluster, each of which writes those it draws."""
    from dataset_diffusion.machine.ray_pool import absolute, work_in_ray

    generate = job.generate.model_copy(update={"model": absolute(job.generate.model)})
    drawn = work_in_ray(
        list(work_of(store, job, shards)),
        partial(_prepare_worker, replace(job, prompts=(), generate=generate), store.path.resolve()),
        name=lambda item: f"shard {item[0]}",
        num_workers=executor.num_workers,
        address=executor.address,
        device=job.generate.device,
    )
    for (_, prompts), note in drawn:
        on_images(len(prompts), note)
    clear_leftovers(store.path / "shards")


def _prepare_worker(job: DrawingJob, dataset: Path, device: str) -> Callable[[WorkItem], str]:
    """Load the model; gives what draws and writes a shard, and says what that takes."""
    job = replace(job, generate=job.generate.model_copy(update={"device": device}))
    store, model, batch = DatasetWriter.open(dataset), load_model_for(job), BatchSize(job.generate.batch_size)

    def draw(item: WorkItem) -> str:
        notes = [""]
        draw_shards(model, store, job, [item], on_images=lambda _, note: notes.append(note), batch=batch)
        return notes[-1]

    return draw


def _checked_model(job: DrawingJob, executor: ExecutorSettings) -> DiffusionModel | None:
    """The job's model, which can draw its prompts; None where it will compute on other machines."""
    if executor.executor == "local":
        return load_model_for(job)
    here = job.generate.model_copy(update={"device": "cpu", "compile": False, "cpu_offload": False})
    load_model_for(replace(job, generate=here))
    return None


def _recorded_settings(store: DatasetStore) -> tuple[GenerateSettings, LabelSettings, int]:
    recorded = store.manifest.provenance
    if recorded.generate is None or recorded.label is None or recorded.seed is None or recorded.filter:
        raise DatasetError(
            f"{store.path} cannot be repaired, since no model drew it as it is",
            fix="make it again the way it was made",
        )
    return recorded.generate, recorded.label, recorded.seed


def _check_numbered(prompts: list[Prompt], file: Path) -> None:
    indices = sorted(prompt.index for prompt in prompts)
    if indices != list(range(len(prompts))):
        raise PromptError(
            "the prompts are not numbered without gaps",
            got=f"indices {indices[0]} to {indices[-1]} for {len(prompts)} prompts in {file}",
            expected=f"0 to {len(prompts) - 1}",
        )


def _hash_of(prompts: list[Prompt]) -> str:
    return hashlib.sha256(repr(prompts).encode()).hexdigest()[:16]
