import pytest
import torch
from tests.helpers.tiny_transformers import thin_transformer

from dataset_diffusion.records import Prompt

pytestmark = pytest.mark.slow

DOG = Prompt(0, "a dog in the snow; dog", "dog", (2,))


def test_what_fills_a_text_up_on_its_left_is_counted():
    family = thin_transformer("cogview4").family
    texts = family.encode(["dog", "dog " * 20])
    assert texts.mask.sum(1).tolist() == [16, 32]
    assert family.positions(DOG, "class")[0] == [[15]]


def test_a_classs_states_are_those_of_its_text_alone():
    family = thin_transformer("cogview4").family
    together, alone = family.encode(["dog", "dog " * 20]), family.encode(["dog"])
    torch.testing.assert_close(together.states[:1, :16], alone.states)
