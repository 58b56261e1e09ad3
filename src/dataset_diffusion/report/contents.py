"""What a run folder, or a dataset folder, holds so far."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from dataset_diffusion.config import Fraction
from dataset_diffusion.dataset.manifest import FILE_NAME
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.disk.places import read_regular
from dataset_diffusion.errors import DatasetError, first_problem
from dataset_diffusion.evaluation.examples import Example, read_examples
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.prompts.prompt_files import read_prompts
from dataset_diffusion.prompts.statistics import prompt_quality
from dataset_diffusion.run_folder import DESCRIPTION, TRAINING_LOG, RunFolder
from dataset_diffusion.version import __version__

Stage = Literal["generate", "train", "evaluate"]
Count = Annotated[int, Field(ge=0)]
Parsed = TypeVar("Parsed")


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class TrainingStep(_Record):
    """One line of the training log."""

    step: int
    loss: float


class TrainedModel(_Record):
    """``model.json``: the finished segmenter."""

    segmenter: str
    class_set: ClassSet
    seed: int
    num_images: int
    settings: dict[str, Any]


class Results(_Record):
    """``results.json``, as `semantic.to_results` writes it; what has a default may be missing.

    ``config`` is what was evaluated: a whole run's settings, or those of the evaluation alone.
    """

    miou: Fraction
    pixel_accuracy: Fraction
    per_class_iou: dict[str, Fraction]
    num_images: Count
    absent_classes: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    confusion_matrix: tuple[tuple[Count, ...], ...] = ()
    config: dict[str, Any] = {}

    @model_validator(mode="after")
    def _check(self) -> Results:
        rows, size = self.confusion_matrix, len(self.classes)
        if rows and [len(row) for row in rows] != [size] * size:
            raise ValueError(f"confusion_matrix must be {size} x {size}, a row and a column per class")
        return self

    @property
    def benchmark(self) -> str:
        """Name of the benchmark, "" where the file does not say it."""
        settings = self.config.get("evaluate", self.config)
        return str(settings.get("benchmark", "")) if isinstance(settings, dict) else ""


@dataclass(frozen=True, eq=False)
class Contents:
    """What a folder holds; None where it holds no such thing yet.

    Attributes:
        is_run: whether it is a run's folder, or else a dataset's.
        config: the run's resolved settings.
        class_set: the classes, as far as any part says them.
        num_prompts: images that the run is to have.
        prompt_quality: how varied and even their prompts are, see `statistics.prompt_quality`.
        store: the dataset, complete or not.
        redrawn: the datasets of the rounds of redrawing, in order.
        model: the finished segmenter.
        training_log: the steps it was, or is being, trained for.
    """

    folder: Path
    is_run: bool
    config: dict[str, Any] | None = None
    class_set: ClassSet | None = None
    num_prompts: int | None = None
    prompt_quality: dict[str, int | float] | None = None
    store: DatasetStore | None = None
    redrawn: tuple[DatasetStore, ...] = ()
    model: TrainedModel | None = None
    training_log: tuple[TrainingStep, ...] = ()
    results: Results | None = None
    examples: tuple[Example, ...] = ()

    @property
    def stores(self) -> tuple[DatasetStore, ...]:
        """All datasets."""
        return () if self.store is None else (self.store, *self.redrawn)

    def command(self, stage: Stage) -> str:
        """The command that makes a part that is missing; ``recipe.toml`` is the run's own settings."""
        run = RunFolder(self.folder)
        paths = (self.folder, run.prompts, run.dataset, run.model, run.results)
        folder, prompts, dataset, model, results = (shlex.quote(str(path)) for path in paths)
        if self.config is not None:
            return f"dataset-diffusion run recipe.toml --out {folder}"
        if not self.is_run:
            return f"dataset-diffusion train {folder} --out MODEL"
        return {
            "generate": f"dataset-diffusion generate --prompts {prompts} --out {dataset}",
            "train": f"dataset-diffusion train {dataset} --out {model}",
            "evaluate": f"dataset-diffusion evaluate {model} --benchmark BENCHMARK --out {results}",
        }[stage]


def read_contents(folder: Path) -> Contents:
    """Read what a run folder or a dataset folder holds; any other folder is refused."""
    if (folder / FILE_NAME).exists():
        store = DatasetStore.open(folder)
        return Contents(folder, is_run=False, store=store, class_set=store.class_set)
    run = RunFolder(folder)
    # Any one of these makes a folder a run.
    marks = (run.prompts, run.labelled / FILE_NAME, run.model / TRAINING_LOG, run.results)
    if not any(mark.exists() for mark in marks):
        raise DatasetError(
            "nothing to report on",
            got=str(folder),
            expected="the folder of a run or of a dataset",
            fix="dataset-diffusion demo --out runs/demo, then dataset-diffusion report runs/demo",
        )
    return _read_run(run)


def digest_of(folder: Path) -> str:
    """What changes whenever a page about a run or a dataset would: a hash of its small files and its shards' names."""
    run = RunFolder(folder)
    files = [run.config, run.prompts, run.model / DESCRIPTION, run.model / TRAINING_LOG, run.results, run.examples]
    digest = sha256(__version__.encode())
    labelled = [run.labelled, *run.redrawn]
    try:
        for file in (*files, folder / FILE_NAME, *(place / FILE_NAME for place in labelled)):
            digest.update(sha256(read_regular(file)).digest() if file.exists() else b"none")
    except OSError as error:
        raise DatasetError("a file of the folder cannot be read", got=str(error)) from error
    shards = (path.name for place in (folder, *labelled) for path in sorted(place.glob("shards/*.parquet")))
    digest.update("\n".join(shards).encode())
    return digest.hexdigest()


def _read_run(run: RunFolder) -> Contents:
    prompts = read_prompts(run.prompts) if run.prompts.exists() else None
    store = DatasetStore.open(run.labelled) if (run.labelled / FILE_NAME).exists() else None
    model = _read(run.model / DESCRIPTION, TrainedModel.model_validate_json)
    results = _read(run.results, Results.model_validate_json)
    class_sets = [part.class_set for part in (store, model) if part is not None]
    if prompts is not None:
        class_sets.append(prompts[1])
    if results is not None and results.classes[1:]:
        class_sets.append(ClassSet.from_names(results.classes[1:]))
    class_set = class_sets[0] if class_sets else None
    # Of other classes than the rest of the folder, ids would be shown by wrong names.
    same = class_set is not None and results is not None and results.classes == class_set.label_names
    return Contents(
        run.path,
        is_run=True,
        # Any settings: a page about a run of an older version must not fail over one that is gone.
        config=_read(run.config, TypeAdapter(dict[str, Any]).validate_json),
        class_set=class_set,
        num_prompts=None if prompts is None else len(prompts[0]),
        prompt_quality=None if prompts is None else prompt_quality(*prompts),
        store=store,
        redrawn=tuple(DatasetStore.open(path) for path in run.redrawn if (path / FILE_NAME).exists()),
        model=model,
        training_log=_read(run.model / TRAINING_LOG, _parse_log) or (),
        results=results,
        examples=read_examples(run.examples) if same else (),
    )


def _parse_log(text: str) -> tuple[TrainingStep, ...]:
    # Training that is killed leaves half a line at the end.
    return tuple(TrainingStep.model_validate_json(line) for line in text[: text.rfind("\n") + 1].splitlines())


def _read(path: Path, parse: Callable[[str], Parsed]) -> Parsed | None:
    """What a file holds, None where there is no file."""
    try:
        return parse(read_regular(path).decode()) if path.exists() else None
    except ValidationError as error:
        raise DatasetError(
            f"{path} cannot be read",
            got=first_problem(error),
            fix="restore the file, or delete it and run the command that wrote it again",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read", got=str(error)) from error
