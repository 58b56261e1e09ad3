import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataset_diffusion.errors import ConfigError
from dataset_diffusion.prompts.class_sets import ClassSet, class_set, resolve_classes

SIZES = {"voc": 20, "coco": 80, "cityscapes": 19, "celebamask-hq": 18, "dis5k": 1, "emoji": 12}
NAMES = st.text(st.characters(categories=["Ll", "Lu", "Nd"]), min_size=1, max_size=20)


def one_line(error):
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", SIZES)
class TestEveryClassSet:
    def test_has_its_official_number_of_classes(self, name):
        classes = class_set(name)
        assert classes.num_classes == len(classes.names) == SIZES[name]
        assert classes.ignore_index == 255

    def test_ids_and_names_are_inverse(self, name):
        classes = class_set(name)
        for class_id, one in enumerate(classes.names, start=1):
            assert classes.name_of(class_id) == one
            assert classes.id_of(one) == classes.id_of(classes.word_of(class_id)) == class_id

    def test_survives_json(self, name):
        classes = class_set(name)
        assert ClassSet.from_json(json.loads(json.dumps(classes.to_json()))) == classes

    def test_palette_gives_every_label_id_its_own_colour(self, name):
        palette = class_set(name).palette
        assert palette[0] == (0, 0, 0)
        assert len(palette) == 256
        assert len(set(palette[: SIZES[name] + 1])) == SIZES[name] + 1


def test_json_is_plain_lists_and_strings():
    values = ClassSet.from_names(["forklift", "hand_truck"]).to_json()
    assert values == {
        "name": "custom",
        "names": ["forklift", "hand_truck"],
        "words": ["forklift", "hand truck"],
        "synonyms": [[], []],
        "colors": [],
    }


def test_prompt_words_differ_from_names_where_the_names_are_no_words():
    voc = class_set("voc")
    assert [voc.word_of(voc.id_of(name)) for name in ("tvmonitor", "diningtable", "pottedplant")] == [
        "tv monitor",
        "dining table",
        "potted plant",
    ]
    assert class_set("celebamask-hq").word_of(6) == "left eyebrow"


def test_emoji_classes_are_in_the_order_of_the_embedded_model():
    assert class_set("emoji").names == (
        "airplane",
        "boat",
        "bus",
        "car",
        "cat",
        "dog",
        "elephant",
        "umbrella",
        "clock",
        "potted plant",
        "traffic light",
        "teddy bear",
    )


def test_voc_colours_are_the_official_ones():
    palette = class_set("voc").palette
    assert palette[1] == (128, 0, 0)  # aeroplane
    assert palette[15] == (192, 128, 128)  # person
    assert palette[20] == (0, 64, 128)  # tv monitor
    assert palette[255] == (224, 224, 192)  # void


def test_cityscapes_colours_are_the_official_ones():
    cityscapes = class_set("cityscapes")
    assert cityscapes.palette[cityscapes.id_of("road")] == (128, 64, 128)
    assert cityscapes.palette[cityscapes.id_of("bicycle")] == (119, 11, 32)
    assert cityscapes.palette[20:] == class_set("voc").palette[20:]


def test_background_is_id_0_and_no_class():
    classes = ClassSet.from_names(["forklift"])
    assert classes.name_of(0) == "background"
    assert classes.id_of("Background") == 0
    with pytest.raises(ConfigError, match="0 is the background already"):
        ClassSet.from_names(["forklift", "background"])


def test_own_names_get_the_synonyms_of_the_names_that_are_known():
    own = ClassSet.from_names(["forklift", "TV", "man"])
    assert own.synonyms[0] == ()
    assert "television" in own.synonyms[1]
    assert own.synonyms[2] == ()  # a kind of person, not another name of it


@given(st.lists(NAMES, min_size=1, max_size=30, unique_by=lambda name: name.casefold()))
def test_any_words_make_a_class_set_that_survives_json(names):
    classes = ClassSet.from_names(names) if "background" not in map(str.casefold, names) else class_set("voc")
    assert ClassSet.from_json(json.loads(json.dumps(classes.to_json()))) == classes


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "a class set needs at least one class"),
        (["cat", " "], "a class without prompt words"),
        (["cat", "?!"], "a class without prompt words; got '?!'"),
        (["cat", "dog", "Cat"], "two classes have the same name; got Cat"),
        (["tv_monitor", "tv monitor"], "two classes have the same name"),
        (["c" * 101], "class name too long; got 101 characters"),
        (["cat\x07"], r"class name that cannot name a file; got 'cat\x07'"),
        (["../cat"], "class name that cannot name a file; got '../cat'"),
        ([f"class {number}" for number in range(255)], "too many classes; got 255; expected at most 254"),
    ],
)
def test_names_that_cannot_be_used_are_refused(names, message):
    with pytest.raises(ConfigError) as error:
        ClassSet.from_names(names)
    assert message in one_line(error)


def test_a_string_is_no_list_of_names():
    with pytest.raises(ConfigError, match="class names must be a list of strings"):
        ClassSet.from_names("forklift")


def test_254_classes_are_not_too_many():
    assert ClassSet.from_names([f"class {number}" for number in range(254)]).num_classes == 254


def test_an_unknown_set_is_told_the_known_ones():
    with pytest.raises(ConfigError) as error:
        class_set("vok")
    assert "got 'vok'; expected voc, coco, cityscapes, celebamask-hq, dis5k, emoji; fix:" in one_line(error)


def test_unknown_class_names_and_ids_are_refused():
    with pytest.raises(ConfigError, match="no such class; got zebra"):
        class_set("voc").id_of("zebra")
    for class_id in (-1, 21, 255):
        with pytest.raises(ConfigError, match=r"no such class id; got -?\d+; expected 1\.\.20"):
            class_set("voc").name_of(class_id)
    with pytest.raises(ConfigError, match="no such class id; got 0"):
        class_set("voc").word_of(0)


@pytest.mark.parametrize(
    ("setting", "names"),
    [
        ("voc", class_set("voc").names),
        ("forklift, hand truck", ("forklift", "hand truck")),
        ("forklift,", ("forklift",)),
        (["forklift", "voc"], ("forklift", "voc")),
        (("forklift",), ("forklift",)),
        (class_set("emoji"), class_set("emoji").names),
    ],
)
def test_a_setting_names_a_set_or_lists_classes(setting, names):
    assert resolve_classes(setting).names == names


def test_a_gap_in_a_list_is_a_class_without_words():
    with pytest.raises(ConfigError, match="a class without prompt words"):
        resolve_classes("cat,,dog")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (None, "not a class set"),
        ({}, "not a class set; got name: Field required"),
        ({"name": "x", "names": "cat"}, "not a class set; got names: Input should be a valid tuple"),
        ({"name": "x", "names": ["cat"], "words": ["a", "b"]}, "1 names, 2 words"),
        ({"name": "x", "names": ["cat"], "synonyms": [[""]]}, "a class without prompt words"),
    ],
)
def test_json_of_something_else_is_refused(values, message):
    with pytest.raises(ConfigError) as error:
        ClassSet.from_json(values)
    assert message in one_line(error)
