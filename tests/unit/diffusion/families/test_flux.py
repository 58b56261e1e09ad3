import pytest
from tests.helpers.tiny_transformers import thin_transformer

from dataset_diffusion.records import Prompt

pytestmark = pytest.mark.slow

DOG = Prompt(0, "a dog in the snow; dog", "dog", (2,))


def calls_of(name, **options):
    model, calls = thin_transformer(name), []
    model.family.network.register_forward_pre_hook(lambda *_: calls.append(1))
    model.generate([DOG], [1], steps=2, **options)
    return len(calls)


def test_guidance_takes_calls_of_its_own_unless_the_scale_is_an_input():
    assert calls_of("flux-dev", guidance_scale=3.5) == 2
    assert calls_of("flux-true-guidance", guidance_scale=3.5) == 4
    assert calls_of("flux-true-guidance", guidance_scale=1.0) == 2


def test_t5_says_where_a_class_is():
    family = thin_transformer("flux-dev").family
    assert family.tokenizer is family.pipeline.tokenizer_2
    assert family.positions(DOG, "class") == ([[0]], 1)  # no start token; the end token is no word
