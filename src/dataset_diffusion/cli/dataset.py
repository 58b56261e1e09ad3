"""The commands that make, change and hand on a dataset."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg

from dataset_diffusion.cli.common import Flat, Result, describe, print_skipped
from dataset_diffusion.config import (
    AnnotateSettings,
    ExecutorSettings,
    ExportSettings,
    FilterSettings,
    GenerateSettings,
    LabelOptions,
    MachineSettings,
    ModelWorkerSettings,
    PromptSettings,
    WorkerSettings,
    Writer,
    make_settings,
)
from dataset_diffusion.errors import ConfigError, DatasetError, Skipped


def prompts(
    out: Path,
    *,
    classes: str = "emoji",
    captions: Path | None = None,
    instances: Path | None = None,
    captioner: str = PromptSettings().captioner,
    num_images: int = 240,
    writer: Writer = "templates",
    llm: str = PromptSettings().llm,
    words: Path | None = None,
    propose: bool = False,
    model: str | None = None,
    seed: int = 0,
    report: Path | None = None,
    skip_bad: bool = False,
    executor: Annotated[ModelWorkerSettings, Flat] = ModelWorkerSettings(),
) -> Result:
    """Write prompts, balanced over the classes, and show what was found. The same command again does nothing.

    Args:
        out: File to write, JSON lines.
        classes: A class set by name, or your own class names with commas between.
        captions: File of captions (COCO JSON, Flickr, CSV, JSON lines, text), or folder of photos to caption; None
            has them written.
        instances: File of COCO instances, to name all classes annotated in a caption's image; None names those it
            mentions, or with the class set coco takes the file beside the captions.
        captioner: What captions photos: a hub id, or a local folder of an image-to-text model.
        num_images: Number of prompts.
        writer: Who writes captions where none are given: templates of class names, scenes, a grammar of places, light
            and views, or llm, a chat model.
        llm: The chat model, a causal language model with a chat template: a hub id, or a local folder.
        words: File (TOML) of synonyms and look-alikes of classes, as --propose writes it; None has no more than the
            package knows.
        propose: Write no prompts but, as TOML to be edited, the words that the chat model proposes for --words.
        model: The model that is to draw them, whose tokenizer tells which captions are too long; None leaves out those
            that are too long for every model.
        seed: The run's seed.
        report: File to write counts per class and which classes come together to, as JSON; None writes none.
        skip_bad: Leave out captions and photos that cannot be used, and list them.
    """
    from dataset_diffusion.stages.prompts import describe_made, make_prompts, propose as propose_words, summarize

    settings = make_settings(
        PromptSettings,
        classes=classes,
        captions=captions,
        instances=instances,
        captioner=captioner,
        num_images=num_images,
        writer=writer,
        llm=llm,
        words=words,
    )
    if propose:
        proposed = propose_words(settings, out, seed=seed)
        print(f"words for {len(proposed.words)} classes in {out}; edit them, then pass --words {out}")
        return {"out": out, "classes": list(proposed.words)}
    skipped = Skipped() if skip_bad else None
    made = make_prompts(settings, out, seed=seed, workers=executor, skip_bad=skipped, model=model)
    print(*summarize(made, skipped, report), sep="\n")
    print(f"{len(made.prompts)} prompts in {out}")
    if report is not None:
        print(f"wrote {report}")
    return {"out": out} | describe_made(made, skipped)


def generate(
    prompts: Path,
    out: Path,
    seed: int = 0,
    classes: str | None = None,
    *,
    settings: Annotated[GenerateSettings, Flat] = GenerateSettings(),
    label: Annotated[LabelOptions, Flat] = LabelOptions(),
    executor: Annotated[ExecutorSettings, Flat] = ExecutorSettings(),
) -> Result:
    """Generate images and label them from the model's attention. The same command again resumes.

    Args:
        prompts: File of prompts that `prompts` wrote, or the published JSON format.
        out: Folder of the dataset.
        seed: The run's seed.
        classes: The class set, where the prompts file does not say it; None takes the file's.
    """
    from dataset_diffusion.stages.generate import generate_dataset
    from dataset_diffusion.stages.prompts import warn_about_classes

    warn_about_classes(prompts, classes, settings)
    store = generate_dataset(prompts, settings, out, label=label, seed=seed, classes=classes, workers=executor)
    missing = len(store.missing_shards())
    if missing:
        print(f"part {executor.part} is done; {missing} of {store.manifest.num_shards} shards are for the other parts")
    else:
        print(f"{len(store)} labelled images in {out}")
    return describe(store) | {"missing_shards": missing}


def relabel(
    dataset: Annotated[Path, Positional, arg(metavar="DATASET")],
    out: Path | None = None,
    *,
    workers: Annotated[WorkerSettings, Flat] = WorkerSettings(),
    reading: str | None = None,
    device: str | None = None,
    decisions: Path | None = None,
    settings: Annotated[LabelOptions, Flat] = LabelOptions(),
) -> Result:
    """Label a dataset anew from its stored heatmaps, without a model. The same command again resumes.

    Args:
        dataset: Folder of the dataset.
        out: Folder of the relabelled dataset; None relabels the dataset in its place.
        reading: Let the model look at the pictures again, by this reading (plain, published or a file of `calibrate`);
            None takes the heatmaps that are stored.
        device: Where the model looks at them: cpu, cuda, cuda:1, mps; None takes the best one there is.
        decisions: File of decisions that `studio` saved, or its folder: label as they say.
    """
    from dataset_diffusion.stages.relabel import read_again, relabel_dataset

    if reading is None and device is not None:
        raise ConfigError("stored heatmaps are labelled without a model", got=f"--device {device}", fix="add --reading")
    if reading is None:
        store = relabel_dataset(dataset, settings, out, workers=workers, decisions=decisions)
    elif decisions is not None:
        raise ConfigError("decisions are about the stored heatmaps", fix="--decisions or --reading, not both")
    elif out is None:
        raise ConfigError("pictures that are read again make a new dataset", fix="--out with its folder")
    elif workers != WorkerSettings():
        raise ConfigError("pictures are read again in this process alone", fix="leave out the options of workers")
    else:
        store = read_again(dataset, settings, out, reading=reading, device=device)
    print(f"{len(store)} images relabelled in {store.path}")
    return describe(store)


def annotate(
    photos: Annotated[Path, Positional, arg(metavar="PHOTOS")],
    out: Path,
    *,
    seed: int = 0,
    device: str | None = None,
    batch_size: int = 16,
    skip_bad: bool = False,
    settings: Annotated[AnnotateSettings, Flat] = AnnotateSettings(),
    label: Annotated[LabelOptions, Flat] = LabelOptions(),
) -> Result:
    """Label a folder of your own photos from a model's attention. The same command again resumes.

    Args:
        photos: Folder of photos; those in folders of it count too.
        out: Folder of the dataset.
        seed: Seed of the noise that photos are read with.
        device: cpu, cuda, cuda:1, mps; None takes the best one there is.
        batch_size: Photos read at once.
        skip_bad: Leave out photos, captions and names that cannot be used, and list them.
    """
    from dataset_diffusion.stages import annotate as stage

    skipped = Skipped() if skip_bad else None
    batch_size = make_settings(MachineSettings, batch_size=batch_size).batch_size
    try:
        store = stage.annotate(
            photos, settings, out, label=label, seed=seed, device=device, skip_bad=skipped, batch_size=batch_size
        )
    finally:
        print_skipped(skipped)
    print(f"{len(store)} labelled photos in {out}, listed in {out / stage.TABLE}")
    return describe(store, skipped) | {"table": out / stage.TABLE}


def filter_samples(
    dataset: Annotated[str, Positional, arg(metavar="DATASET")],
    out: Path,
    rule: Annotated[UseAppendAction[tuple[str, ...]], arg(help_behavior_hint="(default: none)")] = (),
    image_text: str = FilterSettings().image_text,
    decisions: Path | None = None,
) -> Result:
    """Write the samples that pass every rule as a new dataset. The same command again resumes.

    Args:
        dataset: Folder of the dataset, or its URL (s3://...).
        out: Folder of the new dataset.
        rule: What to keep, as in --rule "presence >= 0.4" --rule "novelty >= 6"; also area, components, uncertain,
            foreground and image_text, see docs/filtering.md.
        image_text: The CLIP model that rules about image_text ask: a hub id, or a local folder. Others need none.
        decisions: File of decisions that `studio` saved, or its folder: leave out what was dropped by hand.
    """
    from dataset_diffusion.stages import filter as stage

    settings = make_settings(FilterSettings, rules=rule, image_text=image_text)
    store = stage.filter_samples(dataset, settings, out, decisions=decisions)
    step = stage.last_filter(store.manifest)
    by_hand = step.rules[len(rule) :]
    dropped = dict(zip((*rule, *by_hand), step.dropped or (), strict=False))
    for one, count in dropped.items():
        print(f"{one}: dropped {count}")
    print(f"kept {len(store)} of {step.num_samples} images in {out}")
    return describe(store) | {"of": step.num_samples, "dropped": dropped}


def export(
    dataset: Annotated[str, Positional, arg(metavar="DATASET")],
    out: Path,
    *,
    settings: Annotated[ExportSettings, Flat],
) -> Result:
    """Write a dataset in the format of other tools. The same command again resumes.

    Args:
        dataset: Folder of the dataset, or its URL (s3://...).
        out: Folder of the export, new or empty.
    """
    from dataset_diffusion.stages.export import export_dataset

    store = export_dataset(dataset, settings, out)
    print(f"{len(store)} labelled images in {out}, see {out / 'README.md'}")
    return {"out": out, "format": settings.format, "samples": len(store)}


def studio(
    dataset: Annotated[Path, Positional, arg(metavar="DATASET")],
    decisions: Path | None = None,
    model: Path | None = None,
    device: str | None = None,
    port: int = 0,
) -> None:
    """Open a page to look through a dataset, drop pictures and correct labels. It serves this machine, until Ctrl-C.

    Args:
        dataset: Folder of the dataset.
        decisions: Folder for what is decided, which relabel, filter and import-labels apply; None takes one beside
            the dataset, named as it with .decisions.
        model: Folder of a trained segmenter, to find where it disagrees with the labels; None compares with none.
        device: Where the segmenter runs: cpu, cuda, cuda:1, mps; None takes the best one there is.
        port: Port to listen on; 0 takes a free one.
    """
    from dataset_diffusion.stages.studio import open_studio

    open_studio(dataset, decisions, model=model, device=device, port=port, tell=_tell)


def _tell(address: str) -> None:
    print(f"studio: {address} (Ctrl-C ends it)", flush=True)


def import_labels(
    dataset: Annotated[Path, Positional, arg(metavar="DATASET")],
    corrected: Annotated[Path, Positional, arg(metavar="FOLDER|FILE")],
    *,
    out: Path,
) -> Result:
    """Write a dataset with corrected label maps in the place of the old ones. The same command again resumes.

    Args:
        dataset: Folder of the dataset that was exported.
        corrected: Folder of PNGs named as the samples (00000012.png), or a file of CVAT (.xml) or Label Studio (.json).
        out: Folder of the new dataset.
    """
    from dataset_diffusion.stages import import_labels as stage

    store = stage.import_labels(dataset, corrected, out)
    step = store.manifest.provenance.corrections[-1]
    print(f"{len(step.samples)} of {len(store)} label maps corrected, in {out}")
    return describe(store) | {"corrected": len(step.samples)}


def verify(
    dataset: Annotated[str, Positional, arg(metavar="DATASET")],
    repair: bool = False,
    prompts: Path | None = None,
    num_workers: int | None = None,
) -> Result:
    """Check every byte of a dataset: shards, checksums, label ids, sizes.

    Args:
        dataset: Folder of the dataset, or its URL (s3://...).
        repair: Generate missing and damaged shards again, as they were.
        prompts: The prompts that it was made from, for --repair; None takes prompts.jsonl beside its folder.
        num_workers: Threads that check shards; None takes a few more than there are cores.
    """
    from dataset_diffusion.stages.verify import verify_dataset

    generate_again = None
    if repair:
        from dataset_diffusion.stages.generate import repair_dataset

        generate_again = partial(repair_dataset, prompts_file=prompts)
    workers = make_settings(WorkerSettings, num_workers=num_workers)
    found = verify_dataset(dataset, workers=workers, repair=generate_again)
    result = {
        "dataset": dataset,
        "samples": len(found.store),
        "shards": found.store.manifest.num_shards,
        "corrected": found.num_corrected,
        "repaired": found.repaired,
        "problems": found.problems,
    }
    for shard in found.repaired:
        print(f"{shard}: generated again")
    if found.problems:
        print(*found.problems, sep="\n", flush=True)
        error = DatasetError(
            f"{dataset} is not whole",
            got=f"the {len(found.problems)} problems listed before",
            fix=f"`dataset-diffusion verify {dataset} --repair` generates missing and damaged shards again",
        )
        error.result = result
        raise error
    corrected = f", {found.num_corrected} of them corrected by hand" if found.num_corrected else ""
    print(f"{dataset}: {len(found.store)} samples in {found.store.manifest.num_shards} shards, all whole{corrected}")
    return result
