"""What all settings are: frozen, checked, said in one line where they are refused. Imports no torch."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from dataset_diffusion.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass as _ModelMetaclass
else:
    _ModelMetaclass = type(BaseModel)

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveInt = Annotated[int, Field(ge=1)]
Side = Annotated[int, Field(ge=1, le=16384)]
PositiveFloat = Annotated[float, Field(gt=0.0)]
NonNegativeInt = Annotated[int, Field(ge=0)]
Dtype = Literal["float32", "float16", "bfloat16"]
AnySettings = TypeVar("AnySettings", bound="Settings")


def _resolve_path(path: Path, info: Any) -> Path:
    return path if info.context is None else cast(Path, info.context.resolve_path(path))


def _resolve_name(name: str, info: Any) -> str:
    return name if info.context is None else cast(str, info.context.resolve_name(name))


def _resolve_file(name: str, info: Any) -> str:
    return name if info.context is None else cast(str, info.context.resolve_file(name))


def _resolve_adapter(name: str, info: Any) -> str:
    is_file = re.search(r"\.safetensors(:[^:/]*)?$", name) is not None
    return str(_resolve_path(Path(name), info)) if is_file else name


# The context of a validation is the recipe that the settings are from; on the command line there is none.
RecipePath = Annotated[Path, AfterValidator(_resolve_path)]
"""A file or folder; in a recipe, relative to the recipe."""
NameOrFolder = Annotated[str, AfterValidator(_resolve_name)]
"""A name that is known here or on a hub, or a folder; in a recipe, a folder is relative to the recipe."""
NameOrFile = Annotated[str, AfterValidator(_resolve_file)]
"""A name that is known here, or a file; in a recipe, a file is relative to the recipe."""


AdapterName = Annotated[str, AfterValidator(_resolve_adapter)]
"""A safetensors file or a hub id, and maybe a scale after a colon; in a recipe, a file is relative to the recipe."""


class SettingsError(ConfigError, ValueError):
    """Settings that a caller made of values out of range. A ValueError too, as the parser of options expects one."""


class _Explained(_ModelMetaclass):
    """Classes of settings, whose callers in Python hear of mistakes in this package's own errors."""

    if not TYPE_CHECKING:  # which knows the fields

        def __call__(cls, *values: Any, **named: Any) -> Any:  # noqa: N805
            try:
                return super().__call__(*values, **named)
            except ValidationError as error:
                raise SettingsError(str(as_config_error(error, cls.__name__, kind=cls))) from error


class Settings(BaseModel, metaclass=_Explained):
    """Base of all settings: frozen, unknown keys refused, NaN and infinity refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def make_settings(kind: type[AnySettings], **values: object) -> AnySettings:
    """Settings from command-line options; a ConfigError where a value is out of range."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise as_config_error(error) from error


def config_hash(settings: Settings | dict[str, Any]) -> str:
    """Short hash of resolved settings: the same settings, the same hash, on every machine."""
    values = settings.model_dump(mode="json") if isinstance(settings, Settings) else settings
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def as_config_error(
    error: ValidationError, source: Path | str | None = None, *, kind: type[BaseModel] | None = None, group: str = ""
) -> ConfigError:
    """The first thing that pydantic refused, in one line.

    Validators of settings say what they expected, as in ``raise ValueError("one of 0, 1, 2")``.

    Args:
        error: what pydantic raised.
        source: the file that the settings are from, or their class; without one they are command-line options.
        kind: what the source holds, to name the settings that exist.
        group: the group of options that the settings are, as ``capture`` in ``--capture.every``.
    """
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    name = ".".join(filter(None, (group, *path)))
    what = f"bad value of --{name.replace('_', '-')}" if source is None else f"{source}: bad value of `{name}`"
    got = None if isinstance(first["input"], (dict, BaseModel)) else first["input"]
    got = str(got) if isinstance(got, Path) else got
    fix: str | None = None
    expected: str | None = re.sub("^(Value error, |Input should be )", "", first["msg"])
    if first["type"] == "extra_forbidden":
        names = [] if kind is None else _names_beside(path, kind)
        what, got = f"{source}: unknown setting", name
        expected, fix = f"one of {', '.join(names)}" if names else None, did_you_mean(path[-1], names)
    if error.error_count() > 1:
        what = f"{what} (the first of {error.error_count()} mistakes)"
    return ConfigError(what, got=got, expected=expected, fix=fix)


def _names_beside(path: list[str], table: type[BaseModel]) -> list[str]:
    """The settings beside one that does not exist, by its path from the outermost table."""
    for name in path[:-1]:
        table = cast(type[BaseModel], table.model_fields[name].annotation)
    return list(table.model_fields)
