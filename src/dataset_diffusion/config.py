"""Every setting of a run. One frozen model per stage; TOML in, resolved JSON out. Imports no torch."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from dataset_diffusion.errors import ConfigError

STORED_EXPONENTS = (0, 1, 2, 4, 8)
"""The self-attention exponents whose heatmaps a dataset keeps, so that relabelling needs no model."""

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveInt = Annotated[int, Field(ge=1)]
Augmentation = Literal["light", "published"]
AnySettings = TypeVar("AnySettings", bound="Settings")


class Settings(BaseModel):
    """Base of all settings: frozen, unknown keys refused, NaN and infinity refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class PromptSettings(Settings):
    """Which classes to draw and the captions to draw them from."""

    classes: str | tuple[str, ...] = "emoji"
    """A class set by name (voc, coco, emoji, ...) or your own class names."""
    captions: Path | None = None
    """File of captions; without one, captions are made from templates."""
    num_images: PositiveInt = 240
    """Number of images."""


class CaptureSettings(Settings):
    """Which attention is read while an image is drawn. None takes the model spec's choice."""

    cross_attention_resolution: PositiveInt | None = None
    """Resolution of the cross-attention maps: the grid's shorter side at the model's own image size, in cells."""
    self_attention_resolution: PositiveInt | None = None
    """Resolution of the self-attention maps: the grid's shorter side at the model's own image size, in cells."""
    cross_attention_layers: tuple[str, ...] | None = None
    """Layers whose cross-attention is averaged, by the start of their name (mid_block, up_blocks.1, ...)."""
    self_attention_layers: tuple[str, ...] | None = None
    """Layers whose self-attention is averaged, by the start of their name."""
    prompt: Literal["class", "text"] = "class"
    """Read attention against the class prompt alone (the paper's way) or against the text prompt's class words."""


class GenerateSettings(Settings):
    """How images are drawn."""

    model: str = "embedded"
    """Model by name, hub id, or a local diffusers folder."""
    steps: PositiveInt | None = None
    """Denoising steps; None takes the model's own."""
    guidance_scale: Annotated[float, Field(ge=1.0)] | None = None
    """Classifier-free guidance scale; 1 turns guidance off, None takes the model's own."""
    negative_prompt: str | None = None
    """What the image should not show; None takes the model's own."""
    height: PositiveInt | None = None
    """Image height in pixels; None takes the model's own."""
    width: PositiveInt | None = None
    """Image width in pixels; None takes the model's own."""
    batch_size: PositiveInt = 16
    """Images drawn at once."""
    shard_size: PositiveInt = 64
    """Samples per shard of the dataset."""
    device: str | None = None
    """cpu, cuda, cuda:1, mps; None takes the best one there is."""
    dtype: Literal["float32", "float16", "bfloat16"] | None = None
    """Floating-point type of the model; None takes the model's own, on the CPU float32."""
    image_format: Literal["png", "jpeg"] = "png"
    """How images are stored; label maps are always PNG."""
    capture: CaptureSettings = CaptureSettings()


class LabelSettings(Settings):
    """How heatmaps become a label map."""

    # A threshold below the other one's default is as wrong as one below its given value.
    model_config = ConfigDict(validate_default=True)

    exponent: int = 4
    """Number of self-attention products (tau): 0, 1, 2, 4 or 8."""
    threshold: Fraction = 0.6
    """A pixel whose highest heatmap is at least this is labelled (alpha, 0 to 1)."""
    uncertainty_threshold: Fraction = 0.5
    """From this up to the threshold a pixel is uncertain and ignored; below, background (beta, 0 to the threshold)."""

    @field_validator("exponent")
    @classmethod
    def _check_stored(cls, exponent: int) -> int:
        if exponent not in STORED_EXPONENTS:
            raise ValueError(f"one of {', '.join(map(str, STORED_EXPONENTS))}")
        return exponent

    @field_validator("uncertainty_threshold")
    @classmethod
    def _check_order(cls, uncertainty_threshold: float, info: Any) -> float:
        threshold = info.data.get("threshold", 1.0)
        if uncertainty_threshold > threshold:
            raise ValueError(f"at most the threshold, {threshold}")
        return uncertainty_threshold


class TrainSettings(Settings):
    """How the segmenter is trained."""

    segmenter: str = "unet-resnet18"
    """Segmenter by name."""
    iterations: PositiveInt = 1000
    """Optimiser steps."""
    batch_size: PositiveInt = 16
    """Images per step."""
    learning_rate: Annotated[float, Field(gt=0.0)] = 1e-3
    """AdamW's peak learning rate; polynomial decay to 0."""
    weight_decay: Annotated[float, Field(ge=0.0)] = 1e-4
    """AdamW's weight decay."""
    ema_decay: Fraction = 0.99
    """Decay of the running average of the weights; 0 turns it off."""
    augmentation: Augmentation = "light"
    """`light` crops and flips, for short trainings; `published` also resizes and distorts colours, for long ones."""
    pretrained: bool = False
    """Start the encoder from ImageNet weights."""


class EvaluateSettings(Settings):
    """What the segmenter is tested on."""

    benchmark: str = "scenes"
    """Benchmark by name; `scenes` is the held-out set that ships with the embedded model."""
    root: Path | None = None
    """Folder of the benchmark; not needed for `scenes`."""


class RunConfig(Settings):
    """A whole run: every stage's settings and the one seed everything follows from."""

    seed: int = 0
    """The run's seed."""
    prompts: PromptSettings = PromptSettings()
    generate: GenerateSettings = GenerateSettings()
    label: LabelSettings = LabelSettings()
    train: TrainSettings = TrainSettings()
    evaluate: EvaluateSettings = EvaluateSettings()


def make_settings(kind: type[AnySettings], **values: object) -> AnySettings:
    """Build settings from command-line options.

    Raises:
        ConfigError: a value out of range.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise as_config_error(error) from error


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
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError("the recipe is not TOML", got=f"{path}: {error}", fix="see configs/ for examples") from error
    try:
        config = RunConfig.model_validate(values)
    except ValidationError as error:
        raise as_config_error(error, path) from error
    return _resolve_paths(config, path.parent)


def config_hash(settings: Settings) -> str:
    """Short hash of resolved settings: the same settings, the same hash, on every machine."""
    canonical = json.dumps(settings.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _resolve_paths(config: RunConfig, folder: Path) -> RunConfig:
    captions, root = config.prompts.captions, config.evaluate.root
    prompts = config.prompts.model_copy(update={"captions": folder / captions if captions else None})
    evaluate = config.evaluate.model_copy(update={"root": folder / root if root else None})
    return config.model_copy(update={"prompts": prompts, "evaluate": evaluate})


def as_config_error(error: ValidationError, recipe: Path | None = None) -> ConfigError:
    """The first thing that pydantic refused, in one line.

    Validators of this module say what they expected, as in ``raise ValueError("one of 0, 1, 2")``.

    Args:
        error: what pydantic raised.
        recipe: the file that the settings are from; without one they are command-line options.
    """
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    name = ".".join(path)
    what = f"bad value of --{name.replace('_', '-')}" if recipe is None else f"{recipe}: bad value of `{name}`"
    got = None if isinstance(first["input"], (dict, BaseModel)) else first["input"]
    expected = re.sub("^(Value error, |Input should be )", "", first["msg"])
    if first["type"] == "extra_forbidden":
        what, got, expected = f"{recipe}: unknown setting", name, f"one of {', '.join(_names_beside(path))}"
    if error.error_count() > 1:
        what = f"{what} (the first of {error.error_count()} mistakes)"
    return ConfigError(what, got=got, expected=expected)


def _names_beside(path: list[str]) -> list[str]:
    """The settings of a recipe's table, by the path of one that does not exist."""
    table: type[BaseModel] = RunConfig
    for name in path[:-1]:
        table = cast(type[BaseModel], table.model_fields[name].annotation)
    return list(table.model_fields)
