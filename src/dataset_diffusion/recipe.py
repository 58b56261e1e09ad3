"""Recipes: a whole run's settings as a TOML file. Imports no torch."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import ValidationError

from dataset_diffusion.config import RunConfig, as_config_error
from dataset_diffusion.errors import ConfigError


def load_recipe(path: Path) -> RunConfig:
    """Read a TOML recipe. Relative paths in it are relative to the recipe.

    Raises:
        ConfigError: the file is missing, is not TOML, or holds a setting that does not exist or is out of range.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            "cannot read the recipe", got=str(path), expected=f"a TOML file ({error.strerror})"
        ) from error
    except (ValueError, RecursionError) as error:  # not only TOMLDecodeError: numbers of ten thousand digits
        raise ConfigError("the recipe is not TOML", got=f"{path}: {error}", fix="see configs/ for examples") from error
    try:
        config = RunConfig.model_validate(values)
    except ValidationError as error:
        raise as_config_error(error, path) from error
    return _resolve_paths(config, path.resolve().parent)


def _resolve_paths(config: RunConfig, folder: Path) -> RunConfig:
    captions, root, real = config.prompts.captions, config.evaluate.root, config.train.real_root
    prompts = config.prompts.model_copy(update={"captions": folder / captions if captions else None})
    evaluate = config.evaluate.model_copy(update={"root": folder / root if root else None})
    train = config.train.model_copy(update={"real_root": folder / real if real else None})
    return config.model_copy(update={"prompts": prompts, "evaluate": evaluate, "train": train})
