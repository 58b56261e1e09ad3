import pytest
from tests.helpers.tiny_transformers import thin_transformer

from dataset_diffusion.records import Prompt

pytestmark = pytest.mark.slow

DOG = Prompt(0, "a dog; dog", "dog", (2,))


def test_clip_and_t5_both_say_where_a_class_is():
    family = thin_transformer("sd3").family
    (places,), start = family.positions(DOG, "class")
    clip = family.pipeline.tokenizer_max_length
    assert len([place for place in places if place < clip]) == len(family.pipeline.tokenizer.tokenize("dog"))
    assert [place for place in places if place >= clip] == [clip]  # T5 has no start token
    assert start == 0


def test_without_t5_clip_alone_does():
    family = thin_transformer("sd3-without-t5").family
    (places,), _ = family.positions(DOG, "class")
    assert max(places) < family.pipeline.tokenizer_max_length


def test_a_text_that_only_t5_holds_is_drawn():
    family = thin_transformer("sd3").family
    long = Prompt(0, "a photo of a dog " * 20 + "; dog", "dog", (2,))
    family.check_text(long)
    (places,), _ = family.positions(long, "text")
    assert min(places) >= family.pipeline.tokenizer_max_length
