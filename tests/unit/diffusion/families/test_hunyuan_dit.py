import pytest
from tests.helpers.tiny_transformers import thin_transformer

from dataset_diffusion.records import Prompt

pytestmark = pytest.mark.slow

DOG = Prompt(0, "a dog in the snow; dog", "dog", (2,))


def test_both_encoders_say_where_a_class_is():
    family = thin_transformer("hunyuan-dit").family
    assert family.positions(DOG, "class") == ([[1, 77]], 0)
    assert family.encode(["dog", "a cat"]).states.shape[:2] == (2, 77 + 256)
