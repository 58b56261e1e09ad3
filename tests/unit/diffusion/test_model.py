"""What is checked and read the same way for every family of models."""

import pytest
from tests.helpers.tiny_models import thin_model

from dataset_diffusion.config import GenerateSettings
from dataset_diffusion.errors import PromptError
from dataset_diffusion.records import Prompt

pytestmark = pytest.mark.slow


def test_a_class_prompt_beyond_the_tokenizers_limit():
    words = ("teddy bear",) * 60
    long = Prompt(3, "toys; " + " ".join(words), " ".join(words), tuple([12] * 60), words)
    model = thin_model("sd21-base")
    with pytest.raises(PromptError, match=r"^the class prompt is longer than the tokenizer's limit; got "):
        model.check([long], model.spec.resolve(GenerateSettings()))
