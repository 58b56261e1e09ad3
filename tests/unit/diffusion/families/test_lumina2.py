import pytest
import torch
from tests.helpers.tiny_transformers import thin_transformer

from dataset_diffusion.records import Prompt

pytestmark = pytest.mark.slow

DOG = Prompt(0, "a dog in the snow; dog", "dog", (2,))


def test_each_image_stands_right_after_its_own_text():
    family = thin_transformer("lumina2").family
    call = {"encoder_attention_mask": torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])}
    cells, everything = family.image_places(call, 3, 7)
    assert cells.tolist() == [[3, 4, 5], [4, 5, 6]]
    assert everything is cells


def test_the_system_prompt_is_no_class():
    family = thin_transformer("lumina2").family
    prompt = Prompt(0, "a prompt; prompt", "prompt", (1,))
    (stream,) = family.streams("prompt")
    assert "<Prompt Start>" in stream.before
    (places,), start = family.positions(prompt, "class")
    assert min(places) >= len(family.tokenizer(stream.before).input_ids) - 1
    assert start == 0
