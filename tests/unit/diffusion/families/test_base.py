import pytest
from tests.helpers.tiny_tokenizers import sentencepiece_like

from dataset_diffusion.diffusion.families.base import Family, TextStream
from dataset_diffusion.errors import PromptError
from dataset_diffusion.records import Prompt


class Templated(Family):
    """A chat template whose first two tokens are dropped."""

    def __init__(self):
        self.spoken = sentencepiece_like(end="</s>")

    def streams(self, text, length=77):
        yield TextStream(self.spoken, text, length, shift=-2, before="the dog of ", after=" in snow")


def test_words_of_the_template_are_not_classes():
    prompt = Prompt(0, "a dog; dog", "dog", (1,))
    tokens = sentencepiece_like().tokenize("the dog of a dog; dog in snow")
    (found,), _ = Templated().positions(prompt, "text")
    assert found == [len(tokens) - 3 - 2]
    assert tokens[found[0] + 2] == "▁dog"
    (alone,), start = Templated().positions(prompt, "class")
    assert alone == [1]
    assert start == 0  # the template's "of", the first token that is not dropped


def test_a_text_that_no_tokenizer_holds():
    prompt = Prompt(3, "a dog " * 90 + "; dog", "dog", (1,))
    with pytest.raises(PromptError, match="in prompt 3"):
        Templated().streams(prompt.text, 77) and Templated.check_text(_Short(), prompt)


class _Short(Templated):
    text_limit = 77


def test_a_class_word_beyond_the_limit():
    words = " ".join(["dog"] * 90)
    with pytest.raises(PromptError, match="longer than the tokenizer's limit"):
        Templated().positions(Prompt(0, f"x; {words}", words, tuple(range(90))), "class")
