import numpy as np
import pytest

from dataset_diffusion.config import CaptureSettings
from dataset_diffusion.diffusion.arguments import check_capture, check_pictures, check_prompts, check_seeds
from dataset_diffusion.errors import ConfigError
from dataset_diffusion.records import Prompt

PROMPTS = [Prompt(0, "a cat; cat", "cat", (1,)), Prompt(1, "a bus; bus", "bus", (2,))]
PICTURE = np.zeros((8, 8, 3), np.uint8)


def test_what_belongs_together_passes():
    for prompts in (PROMPTS, tuple(PROMPTS), []):
        check_prompts(prompts)
    for seeds in ([1, 2], (1, 2), range(2)):
        check_seeds(seeds, PROMPTS)
    for images in ([PICTURE, PICTURE], (PICTURE, PICTURE)):
        check_pictures(images, PROMPTS)
    for capture in (None, CaptureSettings()):
        check_capture(capture)


def test_pictures_of_two_sizes():
    with pytest.raises(ConfigError, match="looked at together have one size"):
        check_pictures([PICTURE, PICTURE[:4]], PROMPTS)
