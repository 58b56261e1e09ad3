"""Recipes: a whole run's settings as a TOML file, with paths relative to it. Imports no torch."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dataset_diffusion.config import RunConfig, as_config_error
from dataset_diffusion.errors import ConfigError, DatasetDiffusionError

RECIPES = Path(str(files("dataset_diffusion"))) / "assets" / "recipes"

DESCRIPTIONS = ("model_index.json", "config.json", "dataset.json")
"""What lies in the folder of a diffusion model, of a transformers model and of a dataset."""


def recipe_names() -> tuple[str, ...]:
    """The recipes that ship with the package."""
    return tuple(sorted(file.stem for file in RECIPES.glob("*.toml")))


def load_recipe(path: Path) -> RunConfig:
    """The settings of a TOML recipe, with every path in it resolved. Raises as `Recipe`."""
    return Recipe(path).config


class Recipe:
    """A TOML recipe. Relative paths in it are relative to its folder; in one that ships, to the current folder.

    Args:
        path: the file, or the name of a recipe that ships.
        changes: settings in the place of the recipe's, as in ``train.iterations=100``: TOML values, or plain text.

    Attributes:
        config: the settings, their paths resolved.

    Raises:
        ConfigError: there is no such file or recipe, it is not TOML, or it or a change names a setting that does not
            exist or is out of range.
    """

    def __init__(self, path: Path, changes: Sequence[str] = ()) -> None:
        ships = not path.exists() and str(path) in recipe_names()
        self._folder = Path.cwd() if ships else path.resolve().parent
        self._written: dict[str, str] = {}
        values = _read(RECIPES / f"{path}.toml" if ships else path)
        for change in changes:
            _apply(change, values)
        try:
            self.config = RunConfig.model_validate(values, context=self)
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


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(
            "cannot read the recipe",
            got=str(path),
            expected=f"a TOML file ({error.strerror}), or one of {', '.join(recipe_names())}",
        ) from error
    except (ValueError, RecursionError) as error:  # not only TOMLDecodeError: numbers of ten thousand digits
        raise ConfigError(
            "the recipe is not TOML", got=f"{path}: {error}", fix=f"see {RECIPES} for examples"
        ) from error


def _apply(change: str, values: dict[str, Any]) -> None:
    """Put ``train.iterations=100`` into nested settings."""
    name, found, text = change.partition("=")
    *tables, key = name.strip().split(".")
    if not found or not all((*tables, key)):
        raise ConfigError("bad value of --set", got=change, expected="a setting and its value, train.iterations=100")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text.strip()
    for table in tables:
        values = values.setdefault(table, {})
        if not isinstance(values, dict):
            raise ConfigError("bad value of --set", got=change, expected=f"a setting; {table} has none inside")
    values[key] = value
