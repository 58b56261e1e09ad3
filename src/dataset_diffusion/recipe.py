"""Recipes: a whole run's settings as a TOML file, with paths relative to it. Imports no torch."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from dataset_diffusion.config import RunConfig, as_config_error
from dataset_diffusion.errors import ConfigError, DatasetDiffusionError

DESCRIPTIONS = ("model_index.json", "config.json", "dataset.json")
"""What lies in the folder of a diffusion model, of a transformers model and of a dataset."""


def load_recipe(path: Path) -> RunConfig:
    """The settings of a TOML recipe, with every path in it resolved. Raises as `Recipe`."""
    return Recipe(path).config


class Recipe:
    """A TOML recipe. Relative paths in it are relative to its folder.

    Attributes:
        config: the settings, their paths resolved.

    Raises:
        ConfigError: the file is missing, is not TOML, or holds a setting that does not exist or is out of range.
    """

    def __init__(self, path: Path) -> None:
        self._folder = path.resolve().parent
        self._written: dict[str, str] = {}
        try:
            self.config = RunConfig.model_validate(_read(path), context=self)
        except ValidationError as error:
            raise as_config_error(error, path, kind=RunConfig) from error

    def resolve_path(self, path: Path) -> Path:
        """A path of the recipe, which the current folder does not matter to."""
        return Path(self._resolved(str(path)))

    def resolve_name(self, name: str) -> str:
        """A folder of the recipe as `resolve_path` does it; a name as it is.

        A folder is what starts with ``/``, ``./`` or ``../``, or has a model or dataset in it: a benchmark's photos in
        ``voc2012/`` beside the recipe do not hide the name ``voc2012``.
        """
        described = any((self._folder / name / description).exists() for description in DESCRIPTIONS)
        is_folder = name.startswith(("/", "./", "../")) or (name and described)
        return self._resolved(name) if is_folder else name

    def resolve_file(self, name: str) -> str:
        """A file of the recipe as `resolve_path` does it; a name, which has no suffix, as it is."""
        return self._resolved(name) if Path(name).suffix else name

    def as_written(self, text: str) -> str:
        """A text with the recipe's paths as they are written in the recipe."""
        for resolved, written in sorted(self._written.items(), key=lambda pair: -len(pair[0])):
            text = text.replace(resolved, written)
        return text

    @contextmanager
    def errors_as_written(self) -> Iterator[None]:
        """Let errors name the recipe's paths as they are written in the recipe."""
        try:
            yield
        except DatasetDiffusionError as error:
            error.args = (self.as_written(str(error)),)
            raise

    def _resolved(self, written: str) -> str:
        resolved = str(self._folder / written)
        self._written[resolved] = written
        return resolved


def _read(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(
            "cannot read the recipe", got=str(path), expected=f"a TOML file ({error.strerror})"
        ) from error
    except (ValueError, RecursionError) as error:  # not only TOMLDecodeError: numbers of ten thousand digits
        raise ConfigError("the recipe is not TOML", got=f"{path}: {error}", fix="see configs/ for examples") from error
