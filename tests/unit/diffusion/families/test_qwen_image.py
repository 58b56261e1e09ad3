import pytest
from tests.helpers.tiny_transformers import thin_transformer

from dataset_diffusion.records import Prompt

pytestmark = pytest.mark.slow

DOG = Prompt(0, "a dog in the snow; dog", "dog", (2,))


def test_places_count_from_behind_the_dropped_prefix():
    family = thin_transformer("qwen-image").family
    (stream,) = family.streams("dog")
    (places,), start = family.positions(DOG, "class")
    kept = family.tokenizer(stream.templated).input_ids[34:]
    assert family.tokenizer.decode([kept[place] for place in places]) == "dog"
    assert start not in places
    assert len(kept) == family.encode(["dog"]).states.shape[1]
