"""What a user should hear before images are generated, though it is no mistake."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from dataset_diffusion.config import GenerateSettings
from dataset_diffusion.errors import DatasetDiffusionError
from dataset_diffusion.machine.devices import resolve_device
from dataset_diffusion.prompts.class_sets import ClassSet, class_set, resolve_classes
from dataset_diffusion.prompts.prompt_files import read_prompts

MADE_FOR = {"embedded": "emoji"}
"""The class set that a model was trained to draw, where it draws nothing else."""


def advise_on_prompts(prompts: Path, classes: str | None, settings: GenerateSettings) -> Iterator[str]:
    """As `advise`, for the class set of a prompts file; nothing where the file cannot be used, as `generate` tells."""
    try:
        named = read_prompts(prompts, None if classes is None else resolve_classes(classes))[1]
        yield from advise(named, settings)
    except DatasetDiffusionError:
        return


def advise(classes: ClassSet | str | Sequence[str], settings: GenerateSettings) -> Iterator[str]:
    """Classes that the model was not made for, and a number format that this device is slow in; a line each.

    Raises:
        ConfigError: no such class set or device.
    """
    if settings.model in MADE_FOR:
        drawn = class_set(MADE_FOR[settings.model])
        words = {word.casefold() for word in (*drawn.names, *drawn.words)}
        if strange := [word for word in resolve_classes(classes).words if word.casefold() not in words]:
            yield (
                f"the model {settings.model} draws {', '.join(drawn.names)} and nothing else; "
                f"got {', '.join(strange)}; its images of them show something else; fix: --model sd21-base"
            )
    if settings.dtype == "float16" and resolve_device(settings.device).type == "cpu":
        yield "float16 is slow on a CPU; fix: leave out --dtype, so that float32 is used"
