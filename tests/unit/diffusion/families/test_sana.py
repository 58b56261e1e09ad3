import pytest
from tests.helpers.tiny_transformers import thin_transformer

from dataset_diffusion.records import Prompt

pytestmark = pytest.mark.slow

DOG = Prompt(0, "a dog in the snow; dog", "dog", (2,))


def test_of_the_instruction_only_the_end_is_kept():
    family = thin_transformer("sana").family
    (stream,) = family.drawn_streams(DOG.text)
    (places,), _ = family.positions(DOG, "text")
    ids = family.tokenizer(stream.templated).input_ids
    dropped = -stream.shift
    kept = ids[:1] + ids[1 + dropped :]  # as the pipeline takes the first and the last tokens of the padded text
    assert family.tokenizer.decode([kept[place] for place in places]) == "dog"
    assert stream.limit - dropped == 300


def test_sprint_takes_the_scale_and_any_number_of_steps():
    family = thin_transformer("sana-sprint").family
    assert not family.is_guided(4.5)
    assert "intermediate_timesteps" not in family.options(4.5, [], 2)
    assert family.options(4.5, [], 4)["intermediate_timesteps"] is None
