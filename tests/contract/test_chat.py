"""What every chat model is held to, on a tiny one with random weights: captions that say what they should, resumed."""

import pytest
from tests.helpers.processes import refuse, succeed, times_of
from tests.helpers.tiny_chat import save_tiny_chat

from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.prompts.mentions import find_classes
from dataset_diffusion.prompts.prompt_files import read_prompts
from dataset_diffusion.prompts.words import WordList

pytestmark = pytest.mark.slow

CLASSES = ClassSet.from_names(["forklift", "pallet"])


@pytest.fixture(scope="module")
def chat(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chat")
    save_tiny_chat(folder)
    return folder


def test_prompts_by_a_chat_model_are_checked_kept_and_written_once(chat, tmp_path):
    out = tmp_path / "prompts.jsonl"
    options = ("--classes", "forklift,pallet", "--num-images", 20, "--writer", "llm", "--llm", chat, "--out", out)
    told = succeed("prompts", *options)
    prompts, classes = read_prompts(out)
    assert classes == CLASSES
    for prompt in prompts:
        caption = prompt.text.removesuffix(f"; {prompt.class_prompt}")
        assert find_classes(caption, CLASSES) == prompt.classes
    # Of two shards of 16 captions the model's random words make some; the grammar's all begin with a style.
    by_model = [prompt for prompt in prompts if "photo" not in prompt.text and "picture" not in prompt.text]
    assert "written by the grammar of scenes: " in told
    assert any(set(prompt.text.split(";")[0].split()) & {"hall", "yard", "near", "the"} for prompt in by_model)
    before = times_of(tmp_path)
    assert succeed("prompts", *options) == told
    assert times_of(tmp_path) == before
    lines = out.read_bytes()
    out.unlink()
    (tmp_path / "prompts.captions" / "00001.json").unlink()
    succeed("prompts", *options)
    assert out.read_bytes() == lines


def test_words_are_proposed_into_a_file_to_be_edited(chat, tmp_path):
    file = tmp_path / "words.toml"
    told = succeed("prompts", "--classes", "forklift,pallet", "--propose", "--llm", chat, "--out", file)
    assert told == f"words for 2 classes in {file}; edit them, then pass --words {file}\n"
    assert list(WordList.read(file).words) == ["forklift", "pallet"]
    file.write_text('[forklift]\nsynonyms = ["lorry"]\nlook_alikes = ["pallet jack"]\n')
    (tmp_path / "captions.txt").write_text("a lorry in the rain\n")
    options = ("--classes", "forklift,pallet", "--num-images", 2, "--captions", tmp_path / "captions.txt")
    succeed("prompts", *options, "--words", file, "--out", tmp_path / "prompts.jsonl")
    prompts, classes = read_prompts(tmp_path / "prompts.jsonl")
    assert classes.synonyms[0] == ("lorry",)
    assert any(prompt.text == "a lorry in the rain; forklift" for prompt in prompts)


def test_what_is_no_chat_model_is_told(tmp_path):
    (tmp_path / "empty").mkdir()
    options = ("--classes", "cat,", "--writer", "llm", "--llm", tmp_path / "empty", "--out", tmp_path / "p.jsonl")
    assert refuse("prompts", *options).startswith("the folder holds no chat model; got ")
