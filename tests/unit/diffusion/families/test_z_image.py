import pytest
from tests.helpers.tiny_transformers import thin_transformer

from dataset_diffusion.records import Prompt

pytestmark = pytest.mark.slow

DOG = Prompt(0, "a dog in the snow; dog", "dog", (2,))


def test_image_and_text_are_filled_up_to_a_multiple_of_32():
    family = thin_transformer("z-image").family
    cells, everything = family.image_places({}, 24, 96)
    assert (cells, everything, family.text_start(24)) == (slice(0, 24), slice(0, 32), 32)
    assert family.text_start(64) == 64
    texts = ["dog", "dog " * 40]
    lengths = [len(stream) for text in texts for stream in family.streams(text)]
    mask = family.class_mask(family.encode(texts))
    assert mask.sum(1).tolist() == [32 * -(-length // 32) for length in lengths]
