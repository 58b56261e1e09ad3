"""All stages of a recipe, in order. Every stage reads and writes files; a finished one is a no-op."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dataset_diffusion.config import MACHINE_SETTINGS, NO_BENCHMARK, CalibrateSettings, LabelOptions, RunConfig
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.diffusion.model import DiffusionModel
from dataset_diffusion.diffusion.specs import model_spec
from dataset_diffusion.disk.atomic import explained_write_errors, read_json, write_json
from dataset_diffusion.disk.claims import differences, flatten, refuse_differences
from dataset_diffusion.disk.places import Location
from dataset_diffusion.errors import ConfigError, tell
from dataset_diffusion.evaluation.scoring import check_classes
from dataset_diffusion.machine.progress import progress
from dataset_diffusion.prompts.advice import advise
from dataset_diffusion.run_folder import RunFolder
from dataset_diffusion.seeding import random_from
from dataset_diffusion.segmentation.data import SegmentationData
from dataset_diffusion.segmentation.model_folder import load_segmenter
from dataset_diffusion.segmentation.weakness import Weakness, find_weakness
from dataset_diffusion.stages.calibrate import calibrate
from dataset_diffusion.stages.evaluate import evaluate, open_chosen
from dataset_diffusion.stages.filter import check_filter, filter_samples
from dataset_diffusion.stages.generate import check_generation, generate_dataset, reading_for
from dataset_diffusion.stages.prompts import MadePrompts, compose_prompts, make_prompts
from dataset_diffusion.stages.relabel import read_again
from dataset_diffusion.stages.report import report
from dataset_diffusion.stages.train import check_training, train


def run_all(config: RunConfig, out: Path) -> dict[str, Any]:
    """Prompts, dataset, segmenter, score and report, in ``out``. Call again to resume.

    Returns:
        What ``results.json`` holds; nothing for a recipe without a benchmark, which ends with training.

    Raises:
        ConfigError: ``out`` holds a run of other settings.
        DatasetDiffusionError: any stage's mistake; those that can be told beforehand leave nothing behind.
    """
    folder, seed = RunFolder(out), config.seed
    own = reading_for(folder.dataset, config.generate).label
    label = LabelOptions(**config.label.resolve(own).model_dump())
    config = config.model_copy(update={"label": label})
    composed, model = (None, None) if folder.config.exists() else _check(config)
    _claim(folder, config)
    # Prompts in a folder that was claimed before are what these settings asked for.
    if composed is not None or not folder.prompts.exists():
        make_prompts(config.prompts, folder.prompts, seed=seed, composed=composed, model=_local_model(config))
    store = generate_dataset(
        folder.prompts, config.generate, folder.dataset, label=config.label, seed=seed, model=model
    )
    del model  # its memory is the segmenter's
    for number in range(config.calibrate.turns):
        store = _learn_to_read(config, store, folder, folder.turn(number))
    if config.filter.rules:
        store = filter_samples(store.path, config.filter, folder.filtered)
    stores, start = [store], None
    for number in range(config.redraw.rounds):
        start = train(_places(stores), config.train, folder.round(number).model, seed=seed, start=start).path
        stores.append(_redraw(config, stores, start, folder, number + 1))
    train(_places(stores), config.train, folder.model, seed=seed, start=start)
    results: dict[str, Any] = {}
    if config.evaluate.benchmark != NO_BENCHMARK:
        if not folder.results.exists():
            evaluate(folder.model, config.evaluate, folder.results, config=config)
        results = _read(folder.results)
    report(out)
    return results


def _learn_to_read(config: RunConfig, store: DatasetStore, folder: RunFolder, turn: RunFolder) -> DatasetStore:
    """One turn: a segmenter learns from the labels there are and teaches the reading of those that are then made."""
    seed, once = config.seed, config.train.model_copy(update={"self_training": 0})
    kept = filter_samples(store.path, config.filter, turn.filtered) if config.filter.rules else store
    teacher = train([kept.location], once, turn.model, seed=seed).path
    learning = config.calibrate.model_dump(exclude={"turns"})
    calibrate(store.path, CalibrateSettings(teacher=teacher, **learning), turn.reading, seed=seed)
    labels = LabelOptions(refine=config.label.refine)  # thresholds fit a reading, and this is another one
    return read_again(folder.dataset, labels, turn.dataset, reading=str(turn.reading))


def _redraw(
    config: RunConfig, stores: Sequence[DatasetStore], model: Path, folder: RunFolder, number: int
) -> DatasetStore:
    """One round: pictures of what the segmenter is weak at, drawn and labelled as those before them."""
    place, redraw, prompts = folder.round(number), config.redraw, config.prompts
    seed = random_from(config.seed, "redraw", number).getrandbits(53)
    if not place.prompts.exists():
        weakness = _weakness(stores, model, place.weakness)
        kept = folder.prompts.with_suffix(".captions.jsonl")
        captions = kept if prompts.captions is not None and prompts.captions.is_dir() else prompts.captions
        wanted = prompts.model_copy(update={"num_images": redraw.num_images, "captions": captions})
        emphasis = weakness.emphasis(redraw.share)
        make_prompts(wanted, place.prompts, seed=seed, model=_local_model(config), emphasis=emphasis)
    generate, label = config.generate, config.label
    if turns := config.calibrate.turns:  # read as those that the segmenter has learned from
        generate = generate.model_copy(update={"reading": str(folder.turn(turns - 1).reading)})
        label = LabelOptions(refine=config.label.refine)
    store = generate_dataset(place.prompts, generate, place.dataset, label=label, seed=seed)
    return filter_samples(store.path, config.filter, place.filtered) if config.filter.rules else store


def _weakness(stores: Sequence[DatasetStore], model: Path, file: Path) -> Weakness:
    """What the segmenter is weak at, kept in a file: what is drawn follows from that."""
    classes = stores[0].class_set
    if not file.exists():
        data = SegmentationData(stores)
        with progress("Find what the segmenter is weak at", len(data), "images") as advance:
            found = find_weakness(load_segmenter(model).model, data, classes, advance)
        write_json(file, found.to_json(classes), ensure_ascii=False)
    try:
        return Weakness.from_json(_read(file), classes)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"cannot read {file}", got=repr(error), fix="delete it and run again") from error


def _places(stores: Sequence[DatasetStore]) -> list[Location]:
    return [store.location for store in stores]


def _check(config: RunConfig) -> tuple[MadePrompts, DiffusionModel | None]:
    """Refuse what a stage would refuse after hours of the stages before it; what was made for that is used again."""
    composed = compose_prompts(config.prompts, seed=config.seed, model=_local_model(config))
    check_filter(config.filter)
    check_training(config.train, composed.classes)
    if config.evaluate.benchmark != NO_BENCHMARK:
        benchmark = open_chosen(config.evaluate)
        benchmark.check_truth()
        check_classes(composed.classes, benchmark)
    model = check_generation(composed.prompts, config.generate)
    for line in advise(composed.classes, config.generate):
        tell(line)
    return composed, model


def _local_model(config: RunConfig) -> str | None:
    """The model, where its tokenizer is on this machine: a run has the same prompts without a network too."""
    return config.generate.model if Path(model_spec(config.generate.model).path).is_dir() else None


def _claim(folder: RunFolder, config: RunConfig) -> None:
    asked = config.model_dump(mode="json")
    if folder.config.exists():
        # What an earlier version did not know is what this one does unless told otherwise.
        there = flatten(RunConfig().model_dump(mode="json")) | flatten(_read(folder.config))
        found = differences(there, asked, ignore=MACHINE_SETTINGS)
        refuse_differences(found, folder.path, "a run of another configuration", ConfigError)
        return
    with explained_write_errors(folder.path):
        folder.path.mkdir(parents=True, exist_ok=True)
    write_json(folder.config, asked)


def _read(file: Path) -> dict[str, Any]:
    return read_json(file, fix="delete it, or use another --out", error=ConfigError)
