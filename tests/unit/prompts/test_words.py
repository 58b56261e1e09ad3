import pytest

from dataset_diffusion.errors import ConfigError
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.prompts.mentions import find_classes
from dataset_diffusion.prompts.words import ClassWords, WordList, propose_words

CLASSES = ClassSet.from_names(["forklift", "hand truck"])


def test_words_are_read_as_they_are_written(tmp_path):
    words = WordList(
        {"forklift": ClassWords(synonyms=("lift truck",), look_alikes=('a "jack"',)), "hand truck": ClassWords()}
    )
    words.write(tmp_path / "deep" / "words.toml")
    assert WordList.read(tmp_path / "deep" / "words.toml") == words
    assert words.look_alikes == ('a "jack"',)


def test_a_users_synonyms_are_mentions(tmp_path):
    (tmp_path / "words.toml").write_text('["hand truck"]\nsynonyms = ["sack barrow"]\n')
    classes = WordList.read(tmp_path / "words.toml").added_to(CLASSES)
    assert find_classes("two sack barrows", CLASSES) == ()
    assert find_classes("two sack barrows", classes) == (2,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[forklift", "the words are not TOML; got"),
        ('[forklift]\nsynonym = ["x"]\n', "is no list of words; got"),
        ("forklift = 3\n", "is no list of words; got"),
    ],
)
def test_files_that_are_none(tmp_path, text, message):
    (tmp_path / "words.toml").write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        WordList.read(tmp_path / "words.toml")
    assert "\n" not in str(error.value)


def test_no_file_and_classes_that_are_none(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read the words; got .*: No such file"):
        WordList.read(tmp_path / "none.toml")
    for name, message in (("crane", "has no such class; got crane"), ("background", "the background has no words")):
        with pytest.raises(ConfigError, match=message):
            WordList({name: ClassWords()}).added_to(CLASSES)


def test_proposals_are_words_that_no_class_is_called_by():
    asked = []

    def answer(questions, seed):
        asked.append(seed)
        return [
            "1. Lift truck.\n- forklifts\n* Lift truck\n\nwhat a long line of words",
            "pallet jack\nlift truck\nhand trucks\n42",
        ]

    proposed = dict(propose_words(CLASSES, answer, seed=0))
    assert proposed["forklift"] == ClassWords(synonyms=("lift truck",), look_alikes=("pallet jack",))
    assert len(set(asked)) == 2
