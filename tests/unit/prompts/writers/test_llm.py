import json

import pytest

from dataset_diffusion.errors import PromptError
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.prompts.mentions import find_classes
from dataset_diffusion.prompts.writers.llm import (
    MAX_ASKED,
    SHARD_SIZE,
    Request,
    check_caption,
    first_caption,
    write_shards,
)

CLASSES = ClassSet.from_names(["forklift", "pallet"])
REQUEST = Request("a chat", CLASSES, seed=0, unwanted=("pallet jack",))


class Scripted:
    """Answers what it is told to, in turn; without an end, a caption of the first question's class and a number."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    def answer(self, questions, seed, max_new_tokens=60):
        self.asked.append((tuple(questions), seed))
        said = [f"a forklift in hall number {len(self.asked)} row {position}" for position in range(len(questions))]
        return [self.answers.pop(0) if self.answers else one for one in said]


def write(folder, chat, num=SHARD_SIZE, request=REQUEST, fits=lambda caption, ids: True):
    return list(write_shards(request, [(1,)] * num, lambda: chat.answer, folder, fits))


@pytest.mark.parametrize(
    ("answer", "caption"),
    [
        ("A forklift waits in a hall.\nHope this helps!", "A forklift waits in a hall"),
        ('\n1. "A forklift waits."', "A forklift waits"),
        ("Sure, here is a caption: A forklift waits", "A forklift waits"),
        ("", ""),
    ],
)
def test_the_caption_of_an_answer(answer, caption):
    assert first_caption(answer) == caption


@pytest.mark.parametrize(
    ("caption", "why"),
    [
        ("a forklift in a yard", None),
        ("a forklift", "too short"),
        ("a yard in the rain", "other classes"),
        ("a forklift lifts a pallet", "other classes"),
        ("a forklift beside pallet jacks in a yard", "an unwanted word"),
        ("the yard in a forklift", "said before"),
    ],
)
def test_captions_are_checked(caption, why):
    classes = ClassSet.from_names(["forklift", "pallet"])
    known = {"forklift in yard"} if why == "said before" else set()
    request = Request("a chat", classes, 0, unwanted=("pallet jack",) if why != "other classes" else ())
    found = check_caption(
        caption, (1,) if why != "an unwanted word" else find_classes(caption, classes), request, known
    )
    assert found == why


def test_what_does_not_pass_is_asked_again_with_another_seed(tmp_path):
    chat = Scripted("an empty yard in the rain")
    (written,) = write(tmp_path / "kept", chat)
    assert [len(questions) for questions, _ in chat.asked] == [SHARD_SIZE, 1]
    assert chat.asked[0][1] != chat.asked[1][1]
    assert written.by_grammar == 0
    assert written.scenes[0].caption == "a forklift in hall number 2 row 0"


def test_what_the_chat_model_does_not_manage_the_grammar_writes(tmp_path):
    chat = Scripted(*["nothing of the kind here"] * SHARD_SIZE * MAX_ASKED)
    (written,) = write(tmp_path / "kept", chat)
    assert written.by_grammar == SHARD_SIZE
    assert len(chat.asked) == MAX_ASKED
    assert {find_classes(caption, CLASSES) for caption, _ in written.scenes} == {(1,)}
    assert len({caption for caption, _ in written.scenes}) == SHARD_SIZE


def test_captions_that_do_not_fit_are_asked_again(tmp_path):
    (written,) = write(tmp_path / "kept", Scripted(), fits=lambda caption, ids: "number 1" not in caption)
    assert all("number 2" in caption for caption, _ in written.scenes)


def test_shards_that_are_there_are_not_asked_for(tmp_path):
    both = write(tmp_path / "kept", Scripted(), 2 * SHARD_SIZE)
    (tmp_path / "kept" / "00001.json").unlink()
    chat = Scripted()
    assert write(tmp_path / "kept", chat, 2 * SHARD_SIZE)[0] == both[0]
    assert len(chat.asked) > 0
    assert write(tmp_path / "kept", None, 2 * SHARD_SIZE)[0] == both[0]


def test_captions_of_another_request_and_damaged_ones_are_refused(tmp_path):
    write(tmp_path / "kept", Scripted())
    with pytest.raises(PromptError, match="holds captions of another request; fix: delete the folder"):
        write(tmp_path / "kept", None, request=Request("another", CLASSES, 0))
    for text in (json.dumps({"captions": []}), "{"):
        (tmp_path / "kept" / "00000.json").write_text(text)
        with pytest.raises(PromptError, match=r"cannot read .*00000\.json"):
            write(tmp_path / "kept", None)
