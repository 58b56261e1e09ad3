import pytest
from tests.helpers.tiny_transformers import thin_transformer

from dataset_diffusion.records import Prompt

pytestmark = pytest.mark.slow

DOG = Prompt(0, "a dog in the snow; dog", "dog", (2,))


@pytest.mark.parametrize(("name", "limit"), [("pixart-alpha", 120), ("pixart-sigma", 300)])
def test_how_long_a_text_may_be(name, limit):
    family = thin_transformer(name).family
    assert family.text_limit == limit
    assert family.options(1.0, [], 2)["max_sequence_length"] == limit


def test_capitals_are_read_as_the_pipeline_reads_them():
    family = thin_transformer("pixart-sigma").family
    loud = Prompt(0, "A DOG; DOG", "DOG", (2,))
    assert family.positions(loud, "class")[0] == family.positions(DOG, "class")[0]
