import pytest
from tests.helpers.tiny_transformers import thin_transformer

from dataset_diffusion.records import Prompt

pytestmark = pytest.mark.slow

DOG = Prompt(0, "a dog in the snow; dog", "dog", (2,))


def test_a_class_is_looked_for_behind_the_templates_words():
    family = thin_transformer("flux2").family
    (places,), start = family.positions(DOG, "class")
    (stream,) = family.streams("dog")
    ids = family.tokenizer(stream.templated).input_ids
    assert family.tokenizer.decode([ids[place] for place in places]) == "dog"
    assert start < min(places)


def test_a_model_distilled_for_guidance_is_called_once_a_step():
    model = thin_transformer("flux2")
    assert model.family.is_guided(4.0)
    model.pipeline.register_to_config(is_distilled=True)
    assert not model.family.is_guided(4.0)
