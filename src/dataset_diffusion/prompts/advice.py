"""What a user should hear before images are generated, though it is no mistake. No torch but for devices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dataset_diffusion.config import GenerateSettings
from dataset_diffusion.prompts.class_sets import ClassSet, class_set, resolve_classes

MADE_FOR = {"embedded": "emoji"}
"""The class set that a model was trained to draw, where it draws nothing else."""


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
    if settings.dtype != "float16":
        return
    from dataset_diffusion.machine.devices import resolve_device

    if resolve_device(settings.device).type == "cpu":
        yield "float16 is slow on a CPU; fix: leave out --dtype, so that float32 is used"
