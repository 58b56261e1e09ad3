"""``dataset.json``: what a dataset is made of and which settings made it."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError
from pydantic_core import to_json

from dataset_diffusion.config import MACHINE_SETTINGS, GenerateSettings, config_hash
from dataset_diffusion.dataset.provenance import Provenance
from dataset_diffusion.dataset.schema import ImageFormat
from dataset_diffusion.disk import claims
from dataset_diffusion.disk.atomic import atomic_write, remove_leftovers
from dataset_diffusion.disk.places import Location, read_regular
from dataset_diffusion.errors import ConfigError, DatasetError, first_problem
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.version import __version__

FILE_NAME = "dataset.json"

Stamp: TypeAlias = tuple[int, int]
"""A file's inode and when it was last changed, in nanoseconds."""

REPLACING = ".replacing"
"""Folder in a dataset whose samples are just taking the place of the dataset's own; see `replacement`."""

SCHEMA_VERSION = 3
"""Version of ``dataset.json`` and of the shards. Version 1, of 0.1.0, holds what was asked for as ``config`` and not
what was used; up to version 2 shards have no plain columns of scores."""

_MOST = 10**12
"""Samples of any dataset, or fewer; so many can still be counted."""

# None of them changes what a sample is: synonyms only find classes in captions, and the versions are there to be read.
_NOT_COMPARED = {"schema_version", "package_version", "config_hash", "class_set.synonyms"}
_NOT_COMPARED |= {f"config.{name}" for name in MACHINE_SETTINGS}


class DatasetManifest(BaseModel):
    """What a dataset is made of. Two datasets with the same manifest have the same samples on the same hardware.

    Attributes:
        schema_version: version of the file that it was read from.
        package_version: version of this package that began the dataset.
        num_samples: samples of the finished dataset, indexed 0..num_samples-1.
        shard_size: samples per shard; the last one may hold fewer.
        image_format: how images are stored; label maps are always PNG.
        model: the diffusion model's name or path; None for scenes that no model generated.
        model_revision: the commit of the model on the hub, or a hash of its folder, where known.
        config_hash: hash of what was asked for, see `config.config_hash`.
        provenance: what the samples follow from.
        class_set: the classes that label ids stand for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    # In the order of the file: what a person looks for first, the long lists last.
    schema_version: int = SCHEMA_VERSION
    package_version: str = __version__
    num_samples: Annotated[int, Field(ge=1, le=_MOST)]
    shard_size: Annotated[int, Field(ge=1, le=_MOST)] = 64
    image_format: ImageFormat = "png"
    model: str | None = None
    model_revision: str | None = None
    config_hash: str = ""
    provenance: Provenance = Provenance()
    class_set: ClassSet

    # The provenance as the file holds it, where this version would write it otherwise.
    _recorded: dict[str, Any] | None = PrivateAttr(None)

    @classmethod
    def made_from(cls, provenance: Provenance, **fields: Any) -> DatasetManifest:
        """A manifest with a provenance and its hash; the other fields as they are."""
        return cls(provenance=provenance, config_hash=config_hash(provenance.asked()), **fields)

    def with_provenance(self, provenance: Provenance, **fields: Any) -> DatasetManifest:
        """The manifest of a dataset made from this one: another provenance, and other fields as they are."""
        kept = {"num_samples", "shard_size", "image_format", "model", "model_revision", "class_set"}
        return self.made_from(provenance, **({name: value for name, value in self if name in kept} | fields))

    @property
    def identity(self) -> str:
        """What tells it from all other manifests: the JSON text of its file, without spaces."""
        return self._json().decode()

    @property
    def model_settings(self) -> GenerateSettings:
        """What loads the model that drew or read the images, with all that was added to it."""
        drawn = self.provenance.generate
        added = {} if drawn is None else {"lora": drawn.lora, "tiny_decoder": drawn.tiny_decoder}
        return GenerateSettings(model=self.model or "", **added)

    @property
    def num_shards(self) -> int:
        """Shards of the finished dataset."""
        return -(-self.num_samples // self.shard_size)

    def shard_range(self, shard: int) -> range:
        """The sample indices of a shard; an IndexError where the dataset has no such shard."""
        if not 0 <= shard < self.num_shards:
            raise IndexError(f"shard {shard} of a dataset of {self.num_shards} shards")
        return range(shard * self.shard_size, min((shard + 1) * self.shard_size, self.num_samples))

    def differences(self, other: DatasetManifest) -> list[str]:
        """Where another manifest asks for other samples: ``name: its value (here: this one's)``, one entry each.

        Where both ask for the same and know what was used, this is compared too: a model's own settings may have
        changed from one version of this package to the next.
        """
        left_out = _NOT_COMPARED
        if None in (self.model_revision, other.model_revision):  # it is not known of every model and every dataset
            left_out = left_out | {"model_revision"}
        if found := claims.differences(self._asked(), other._asked(), left_out):
            return found
        mine, theirs = self.provenance.used, other.provenance.used
        if mine is None or theirs is None:
            return []
        # What was not asked for follows from the device.
        return claims.differences({"used": mine.model_dump()}, {"used": theirs.model_dump()}, {"used.dtype"})

    def save(self, folder: Path) -> None:
        """Write ``dataset.json`` into a folder that exists."""
        path = folder / FILE_NAME
        atomic_write(path, self._json(indent=2) + b"\n")
        remove_leftovers(path)

    @classmethod
    def load(cls, folder: Location) -> DatasetManifest:
        """Read ``dataset.json`` of a folder; a DatasetError where there is none that this version can read."""
        path = folder / FILE_NAME
        try:
            check_not_in_between(folder)
            values = json.loads(read_regular(path).decode())
        except (FileNotFoundError, NotADirectoryError) as error:
            raise DatasetError("not a dataset", got=str(folder), expected=f"a folder with {FILE_NAME}") from error
        except (OSError, ValueError, RecursionError) as error:
            raise _damaged(path, str(error)) from error
        version = values.get("schema_version") if isinstance(values, dict) else None
        if not isinstance(version, int):
            raise _damaged(path, "no schema version")
        if not 1 <= version <= SCHEMA_VERSION:
            maker = f"dataset-diffusion=={values.get('package_version')}"
            older = f"make the dataset again, or install {maker}, which made it"
            raise DatasetError(
                f"{path} has another schema version",
                got=version,
                expected=f"1 to {SCHEMA_VERSION}",
                fix="upgrade dataset-diffusion" if version > SCHEMA_VERSION else older,
            )
        recorded = values.pop(_provenance_key(version), {})
        if not isinstance(recorded, dict):
            raise _damaged(path, "no provenance")
        try:
            manifest = cls.model_validate(values | {"provenance": Provenance.read(recorded)})
        except ValidationError as error:
            raise _damaged(path, first_problem(error)) from error
        except ConfigError as error:
            raise _damaged(path, str(error)) from error
        if recorded != manifest.provenance.model_dump(mode="json"):
            manifest._recorded = recorded
        return manifest

    def _json(self, indent: int | None = None) -> bytes:
        values = self.model_dump(mode="json")
        if self._recorded is not None:
            values["provenance"] = self._recorded
        key = _provenance_key(self.schema_version)
        renamed = {key if name == "provenance" else name: value for name, value in values.items()}
        return to_json(renamed, indent=indent, inf_nan_mode="null")

    def _asked(self) -> dict[str, Any]:
        """The fields as JSON values, what was asked for under the name ``config``."""
        values = self.model_dump(mode="json")
        known, class_set = claims.flatten(values.pop("provenance")), values.pop("class_set")
        recorded = claims.flatten(self._recorded or {})
        unknown = {f"config.{name}": value for name, value in recorded.items() if name not in known}
        return {**values, "config": self.provenance.asked(), **unknown, "class_set": class_set}


def _provenance_key(schema_version: int) -> str:
    return "config" if schema_version == 1 else "provenance"


def stamp_of(folder: Location) -> Stamp | None:
    """Another stamp for every ``dataset.json`` that takes the place of the last; None where it is not a local file."""
    if isinstance(folder, Path):
        with contextlib.suppress(OSError):
            found = (folder / FILE_NAME).stat()
            return found.st_ino, found.st_mtime_ns
    return None


def check_not_in_between(folder: Location) -> None:
    """Refuse a folder whose samples were being replaced when something stopped that: some may be old and some new."""
    if (folder / REPLACING / FILE_NAME).exists():
        raise DatasetError(
            f"{folder} is half relabelled",
            got="a relabelling in place that was interrupted",
            fix="run dataset-diffusion relabel on it again",
        )


def _damaged(path: Location, reason: str) -> DatasetError:
    return DatasetError(f"{path} cannot be read", got=reason, fix="restore the file or make the dataset again")
