"""What a model cannot be asked with is refused before it computes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dataset_diffusion.config import CaptureSettings
from dataset_diffusion.disk.pictures import check_picture
from dataset_diffusion.errors import ConfigError, PromptError, check_kind, whole_number
from dataset_diffusion.reading import Reading
from dataset_diffusion.records import Prompt


def check_looked_at(images: object, prompts: Sequence[Prompt], seeds: object) -> None:
    """Refuse what `DiffusionModel.attend` cannot look at."""
    check_prompts(prompts)
    check_seeds(seeds, prompts)
    check_pictures(images, prompts)


def check_prompts(prompts: object) -> None:
    """Refuse what is no list of prompts, a caption above all."""
    asked = [prompts] if isinstance(prompts, (str, Prompt)) or not isinstance(prompts, Sequence) else prompts
    if strange := [one for one in asked if not isinstance(one, Prompt)]:
        raise PromptError(
            "a model is asked with prompts, which say their classes",
            got=f"{type(strange[0]).__name__} {strange[0]!r}",
            expected="a list of Prompt",
            fix='build_prompts(["a cat on a sofa"], ["cat", "sofa"], num_images=1) makes them',
        )
    if asked is not prompts:
        raise PromptError("a model is asked with a list of prompts", got="a single one", fix="put it into [ ]")


def check_seeds(seeds: object, prompts: Sequence[Prompt]) -> None:
    """Refuse seeds that are no whole numbers, or not one for each prompt."""
    if not isinstance(seeds, (Sequence, np.ndarray)) or isinstance(seeds, str) or len(seeds) != len(prompts):
        count = f"{len(seeds)} seeds" if isinstance(seeds, Sequence) and not isinstance(seeds, str) else repr(seeds)
        raise ConfigError("one seed is needed per prompt", got=count, expected=f"a list of {len(prompts)}")
    for seed in seeds:
        whole_number(seed, "seed")


def check_capture(capture: object) -> None:
    """Refuse what does not say which attention to read, such as the name of a reading."""
    fix = f"model.spec.resolve_reading({capture!r})" if isinstance(capture, str) else None
    check_kind(capture, (CaptureSettings, Reading, type(None)), "choice of attention", fix=fix)


def check_pictures(images: object, prompts: Sequence[Prompt]) -> None:
    """Refuse pictures that are no uint8 RGB arrays of one size, or not one for each prompt."""
    if not isinstance(images, (Sequence, np.ndarray)) or len(images) != len(prompts):
        count = len(images) if isinstance(images, (Sequence, np.ndarray)) else repr(images)
        raise ConfigError("one picture is needed per prompt", got=count, expected=f"a list of {len(prompts)}")
    for image in images:
        check_picture(image)
    if len(sizes := {image.shape for image in images}) > 1:
        raise ConfigError("pictures that are looked at together have one size", got=sorted(sizes))
