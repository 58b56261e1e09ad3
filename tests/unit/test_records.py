import dataclasses

import numpy as np
import pytest
import torch

from dataset_diffusion.errors import PromptError
from dataset_diffusion.records import AttentionMaps, Generation, Prompt


def test_one_class_takes_the_whole_class_prompt():
    assert Prompt(0, "a room; potted plant", "potted plant", (16,)).class_words == ("potted plant",)


def test_several_classes_take_one_word_each():
    assert Prompt(0, "a yard; dog cat", "dog cat", (12, 8)).class_words == ("dog", "cat")


def test_words_that_are_given_are_kept():
    prompt = Prompt(0, "a room; tv monitor cat", "tv monitor cat", (20, 8), ("tv monitor", "cat"))
    assert prompt.class_words == ("tv monitor", "cat")


@pytest.mark.parametrize(
    ("class_prompt", "classes", "words", "counted"),
    [("tv monitor cat", (20, 8), (), "3 words for 2 classes"), ("cat", (8,), ("cat", "dog"), "2 words for 1 classes")],
)
def test_words_that_do_not_fit_the_classes_are_refused(class_prompt, classes, words, counted):
    with pytest.raises(PromptError) as error:
        Prompt(0, f"a room; {class_prompt}", class_prompt, classes, words)
    assert str(error.value) == (
        f"cannot tell the words of each class in the class prompt; got {counted} in '{class_prompt}'; "
        "fix: pass class_words, one entry per class"
    )


def test_prompts_are_values():
    prompt = Prompt(0, "a cat; cat", "cat", (8,))
    assert prompt == Prompt(0, "a cat; cat", "cat", (8,), ("cat",))
    assert hash(prompt) == hash(Prompt(0, "a cat; cat", "cat", (8,)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        prompt.index = 1


def test_records_show_their_maps_and_pictures_by_dtype_and_shape():
    maps = AttentionMaps(torch.zeros(2, 4, 4), torch.zeros(16, 16), (4, 4))
    assert repr(Generation(np.zeros((8, 9, 3), np.uint8), maps)) == (
        "Generation(image=uint8[8, 9, 3], attention=AttentionMaps(cross_attention=float32[2, 4, 4], "
        "self_attention=float32[16, 16], self_shape=(4, 4), are_probabilities=False))"
    )
