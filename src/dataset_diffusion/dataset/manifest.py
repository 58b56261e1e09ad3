"""``dataset.json``: what a dataset is made of and which settings made it."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dataset_diffusion.config import MachineSettings, Settings, config_hash
from dataset_diffusion.dataset.schema import SCHEMA_VERSION, ImageFormat
from dataset_diffusion.disk.atomic import atomic_write, remove_leftovers
from dataset_diffusion.disk.places import Location
from dataset_diffusion.errors import ConfigError, DatasetError
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.version import __version__

FILE_NAME = "dataset.json"

Stamp: TypeAlias = tuple[int, int]
"""A file's inode and when it was last changed, in nanoseconds."""

REPLACING = ".replacing"
"""Folder in a dataset whose samples are just taking the place of the dataset's own; see `replacement`."""

# None of them changes what a sample is: synonyms only find classes in captions, and the version is there to be read.
_NOT_COMPARED = {"package_version", "config_hash", "class_set.synonyms"}
_NOT_COMPARED |= {f"config.generate.{name}" for name in MachineSettings.model_fields}


class DatasetManifest(BaseModel):
    """What a dataset is made of. Two datasets with the same manifest have the same samples on the same hardware.

    Attributes:
        schema_version: version of the columns; see `schema.SCHEMA`.
        package_version: version of this package that began the dataset.
        num_samples: samples of the finished dataset, indexed 0..num_samples-1.
        shard_size: samples per shard; the last one may hold fewer.
        image_format: how images are stored; label maps are always PNG.
        model: the diffusion model's name or path; None for scenes that no model drew.
        model_revision: the commit of the model on the hub, or a hash of its folder, where known.
        config_hash: hash of ``config``, see `config.config_hash`.
        config: the resolved settings the samples follow from.
        class_set: the classes that label ids stand for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    # In the order of the file: what a person looks for first, the long lists last.
    schema_version: int = SCHEMA_VERSION
    package_version: str = __version__
    num_samples: Annotated[int, Field(ge=1)]
    shard_size: Annotated[int, Field(ge=1)] = 64
    image_format: ImageFormat = "png"
    model: str | None = None
    model_revision: str | None = None
    config_hash: str = ""
    config: dict[str, Any] = {}
    class_set: ClassSet

    @classmethod
    def from_settings(cls, settings: Settings, **fields: Any) -> DatasetManifest:
        """A manifest whose config and hash are those of resolved settings; the other fields as they are."""
        return cls(config=settings.model_dump(mode="json"), config_hash=config_hash(settings), **fields)

    def with_config(self, config: dict[str, Any], **fields: Any) -> DatasetManifest:
        """The manifest of a dataset made from this one: another config with its hash, and other fields as they are."""
        version = __version__
        changed = {"config": config, "config_hash": config_hash(config), "package_version": version, **fields}
        return self.model_copy(update=changed)

    @property
    def num_shards(self) -> int:
        """Shards of the finished dataset."""
        return -(-self.num_samples // self.shard_size)

    def shard_range(self, shard: int) -> range:
        """The sample indices of a shard.

        Raises:
            IndexError: the dataset has no such shard.
        """
        if not 0 <= shard < self.num_shards:
            raise IndexError(f"shard {shard} of a dataset of {self.num_shards} shards")
        return range(shard * self.shard_size, min((shard + 1) * self.shard_size, self.num_samples))

    def differences(self, other: DatasetManifest) -> list[str]:
        """Where another manifest asks for other samples: ``name: its value (here: this one's)``, one entry each."""
        mine, theirs = _flatten(self.model_dump(mode="json")), _flatten(other.model_dump(mode="json"))
        left_out = _NOT_COMPARED
        if None in (self.model_revision, other.model_revision):  # it is not known of every model and every dataset
            left_out = left_out | {"model_revision"}
        names = [name for name in {**mine, **theirs} if name not in left_out and mine.get(name) != theirs.get(name)]
        return [f"{name}: {theirs.get(name)} (here: {mine.get(name)})" for name in names]

    def save(self, folder: Path) -> None:
        """Write ``dataset.json`` into a folder that exists.

        Raises:
            DatasetError: the folder cannot be written.
        """
        path = folder / FILE_NAME
        atomic_write(path, (self.model_dump_json(indent=2) + "\n").encode())
        remove_leftovers(path)

    @classmethod
    def load(cls, folder: Location) -> DatasetManifest:
        """Read ``dataset.json`` of a folder.

        Raises:
            DatasetError: there is none, it cannot be read, or it has another schema version than this package.
        """
        path = folder / FILE_NAME
        try:
            check_not_in_between(folder)
            values = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise DatasetError("not a dataset", got=str(folder), expected=f"a folder with {FILE_NAME}") from error
        except (OSError, ValueError, RecursionError) as error:
            raise _damaged(path, str(error)) from error
        version = values.get("schema_version") if isinstance(values, dict) else None
        if not isinstance(version, int):
            raise _damaged(path, "no schema version")
        if version != SCHEMA_VERSION:
            newer = "upgrade dataset-diffusion"
            older = (
                f"make the dataset again, or install dataset-diffusion=={values.get('package_version')}, which made it"
            )
            raise DatasetError(
                f"{path} has another schema version",
                got=version,
                expected=SCHEMA_VERSION,
                fix=newer if version > SCHEMA_VERSION else older,
            )
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            raise _damaged(path, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
        except ConfigError as error:
            raise _damaged(path, str(error)) from error


def stamp_of(folder: Location) -> Stamp | None:
    """Another stamp for every ``dataset.json`` that takes the place of the last; None where it is not a local file."""
    if isinstance(folder, Path):
        with contextlib.suppress(OSError):
            found = (folder / FILE_NAME).stat()
            return found.st_ino, found.st_mtime_ns
    return None


def check_not_in_between(folder: Location) -> None:
    """Refuse a folder whose samples were being replaced by others when something stopped that.

    Raises:
        DatasetError: some of its shards may be old and some new.
    """
    if (folder / REPLACING / FILE_NAME).exists():
        raise DatasetError(
            f"{folder} is half relabelled",
            got="a relabelling in place that was interrupted",
            fix="run dataset-diffusion relabel on it again",
        )


def _damaged(path: Location, reason: str) -> DatasetError:
    return DatasetError(f"{path} cannot be read", got=reason, fix="restore the file or make the dataset again")


def _flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
