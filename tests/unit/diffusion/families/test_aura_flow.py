import pytest
from tests.helpers.tiny_transformers import thin_transformer

from dataset_diffusion.records import Prompt

pytestmark = pytest.mark.slow

DOG = Prompt(0, "a dog in the snow; dog", "dog", (2,))


def test_register_tokens_stand_before_the_text():
    family = thin_transformer("aura-flow").family
    assert family.positions(DOG, "class")[0] == [[8]]
    tokens, _ = family.class_tokens({}, family.encode(["dog"]))
    assert tokens.shape[1] == 8 + 77
