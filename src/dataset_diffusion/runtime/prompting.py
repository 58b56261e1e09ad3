"""The first stage of a run. By itself, so that making prompts loads no torch."""

from __future__ import annotations

from pathlib import Path

from dataset_diffusion.config import PromptSettings
from dataset_diffusion.errors import ConfigError
from dataset_diffusion.prompts.captions import read_captions
from dataset_diffusion.prompts.class_sets import ClassSet, resolve_classes
from dataset_diffusion.prompts.compose import build_prompts
from dataset_diffusion.prompts.prompt_files import read_prompts, write_prompts
from dataset_diffusion.records import Prompt


def make_prompts(settings: PromptSettings, seed: int, out: Path) -> tuple[list[Prompt], ClassSet]:
    """Write the prompts, unless they are there already.

    Raises:
        ConfigError: the classes cannot be used, or ``out`` holds other prompts.
        PromptError: the captions cannot be used, or ``out`` cannot be read or written.
    """
    prompts, classes = compose_prompts(settings, seed)
    if not out.exists():
        write_prompts(out, prompts, classes)
    elif read_prompts(out) != (prompts, classes):
        raise ConfigError(f"{out} holds other prompts", fix="use another --out, or delete the file")
    return prompts, classes


def compose_prompts(settings: PromptSettings, seed: int) -> tuple[list[Prompt], ClassSet]:
    """The prompts that settings ask for, and the classes they are about. Raises as `make_prompts`; writes nothing."""
    classes = resolve_classes(settings.classes)
    captions = None if settings.captions is None else read_captions(settings.captions)
    return build_prompts(captions, classes, settings.num_images, seed), classes
