"""``decisions.json``: what a person decided about samples, for `relabel`, `filter` and others to apply."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from dataset_diffusion.config import LabelSettings, config_hash
from dataset_diffusion.dataset.manifest import DatasetManifest
from dataset_diffusion.dataset.schema import sample_name
from dataset_diffusion.disk.atomic import read_json, write_json
from dataset_diffusion.errors import DatasetError, first_problem

FILE_NAME = "decisions.json"

_PICTURES = ("seed", "prompts_sha256", "generate", "photos", "filter")
"""What pictures and their numbers follow from; labels may change under decisions."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Decision(_Record):
    """What was decided about one sample.

    Attributes:
        keep: whether it is worth training on; None where nobody said.
        label: its own labelling; None takes that of all.
        corrected: whether a label map drawn by hand, ``<sample name>.png``, lies beside the file.
    """

    keep: bool | None = None
    label: LabelSettings | None = None
    corrected: bool = False


class Decisions(_Record):
    """What was decided about a dataset.

    Attributes:
        schema_version: of the file.
        pictures: which pictures it is about, see `pictures_hash`.
        label: how all samples are to be labelled; None leaves it as it is.
        samples: the decisions by `sample_name`; samples without one are left out.
    """

    schema_version: Literal[1] = 1
    pictures: str
    label: LabelSettings | None = None
    samples: dict[str, Decision] = {}

    @field_validator("samples")
    @classmethod
    def _leave_out_undecided(cls, samples: dict[str, Decision]) -> dict[str, Decision]:
        return {name: samples[name] for name in sorted(samples) if samples[name] != Decision()}

    @property
    def dropped(self) -> tuple[str, ...]:
        """Names of the samples to be dropped, ascending."""
        return tuple(name for name, one in self.samples.items() if one.keep is False)

    @property
    def own_labels(self) -> dict[str, LabelSettings]:
        """The labelling of the samples that have their own, by name."""
        return {name: one.label for name, one in self.samples.items() if one.label is not None}

    def with_sample(self, name: str, decision: Decision) -> Decisions:
        """These decisions with another one about a sample."""
        return Decisions.model_validate(dict(self) | {"samples": self.samples | {name: decision}})

    def save(self, path: Path) -> None:
        """Write the file whole, in a folder that is made if need be."""
        write_json(path, self.model_dump(mode="json", exclude_none=True))


def pictures_hash(manifest: DatasetManifest) -> str:
    """Hash of what a dataset's pictures and their numbers follow from: the same before and after relabelling."""
    asked: dict[str, Any] = {name: value for name, value in manifest.provenance.asked().items() if name in _PICTURES}
    made = {"samples": manifest.num_samples, "model": manifest.model, "classes": list(manifest.class_set.names)}
    return config_hash(made | asked)


def load_decisions(path: Path, manifest: DatasetManifest) -> Decisions:
    """Decisions about a dataset, from their file or its folder.

    Raises:
        DatasetError: there is no such file, this version cannot read it, or it is about another dataset.
    """
    file = path / FILE_NAME if path.is_dir() else path
    values = read_json(file, "give the file or folder that the studio saved")
    try:
        decisions = Decisions.model_validate(values)
    except ValidationError as error:
        raise DatasetError(
            f"{file} holds no decisions", got=first_problem(error), expected="a file that the studio saved"
        ) from error
    if (expected := pictures_hash(manifest)) != decisions.pictures:
        raise DatasetError(
            f"{file} is about other pictures",
            got=decisions.pictures,
            expected=expected,
            fix="apply decisions to the dataset that they were made on, relabel first and filter last",
        )
    known = set(map(sample_name, range(manifest.num_samples)))
    if unknown := [name for name in decisions.samples if name not in known]:
        raise DatasetError(f"{file} names samples that the dataset lacks", got=unknown[0])
    return decisions
