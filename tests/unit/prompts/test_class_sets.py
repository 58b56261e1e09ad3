import json
from pathlib import Path

import pytest
from backgrounds import BACKGROUNDS
from hypothesis import given, strategies as st
from PIL import Image
from sprites import ICONS

from dataset_diffusion.errors import ConfigError
from dataset_diffusion.prompts.class_sets import ClassSet, backgrounds_of, class_set, is_own, resolve_classes
from dataset_diffusion.prompts.compose import build_prompts

DATA = Path(__file__).parents[4] / "shared/data"
COCO_INSTANCES = DATA / "coco/annotations/instances_train2017.json"
VOC_LABELS = DATA / "VOCdevkit/VOC2012/SegmentationClass"
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
        "draw_synonyms": False,
    }


def test_prompt_words_differ_from_names_where_the_names_are_no_words():
    voc = class_set("voc")
    assert [voc.word_of(voc.id_of(name)) for name in ("tvmonitor", "diningtable", "pottedplant")] == [
        "tv monitor",
        "dining table",
        "potted plant",
    ]
    assert class_set("celebamask-hq").word_of(6) == "left eyebrow"


def test_emoji_classes_are_in_the_order_that_the_embedded_model_is_taught_in():
    assert class_set("emoji").names == tuple(ICONS)


def test_emoji_backgrounds_are_those_that_the_embedded_model_is_taught():
    assert backgrounds_of(class_set("emoji")) == tuple(BACKGROUNDS)
    assert backgrounds_of(ClassSet.from_names(["dog", "cat"])) == tuple(BACKGROUNDS)
    assert backgrounds_of(ClassSet.from_names(["dog", "zebra"])) == backgrounds_of(class_set("coco")) == ()


def test_voc_colours_are_the_official_ones():
    palette = class_set("voc").palette
    assert palette[1] == (128, 0, 0)  # aeroplane
    assert palette[15] == (192, 128, 128)  # person
    assert palette[20] == (0, 64, 128)  # tv monitor
    assert palette[255] == (224, 224, 192)  # void


def test_the_whole_voc_palette_is_that_of_the_published_label_maps():
    if not VOC_LABELS.is_dir():
        pytest.skip("PASCAL VOC is not there")
    for label in sorted(VOC_LABELS.glob("*.png"))[:20]:
        with Image.open(label) as image:
            flat = image.getpalette()
        assert tuple(zip(flat[::3], flat[1::3], flat[2::3], strict=True)) == class_set("voc").palette


@pytest.mark.slow
def test_cityscapes_is_as_torchvision_knows_it():
    from torchvision.datasets import Cityscapes

    official = {row.train_id + 1: row for row in Cityscapes.classes if 0 <= row.train_id < 255}
    cityscapes = class_set("cityscapes")
    assert sorted(official) == list(cityscapes.ids)
    for class_id, row in official.items():
        assert (cityscapes.name_of(class_id), cityscapes.palette[class_id]) == (row.name, row.color)
    assert cityscapes.palette[20:] == class_set("voc").palette[20:]


def test_coco_is_as_its_instances_files_have_it():
    if not COCO_INSTANCES.is_file():
        pytest.skip("COCO is not there")
    categories = json.loads(COCO_INSTANCES.read_text())["categories"]
    in_order = sorted(categories, key=lambda category: category["id"])
    assert tuple(category["name"] for category in in_order) == class_set("coco").names


@pytest.mark.parametrize(
    ("name", "label", "color"),
    [
        ("coco", "person", (220, 20, 60)),
        ("coco", "hair drier", (246, 0, 122)),
        ("celebamask-hq", "skin", (204, 0, 0)),
        ("celebamask-hq", "r_brow", (255, 204, 204)),
        ("celebamask-hq", "cloth", (0, 204, 0)),
        ("dis5k", "object", (255, 255, 255)),
    ],
)
def test_benchmarks_with_colours_of_their_own_have_them(name, label, color):
    classes = class_set(name)
    assert classes.palette[classes.id_of(label)] == color
    assert len(classes.colors) == classes.num_classes


def test_celebamask_hq_is_in_the_order_of_its_mask_script():
    assert " ".join(class_set("celebamask-hq").names) == (
        "skin nose eye_g l_eye r_eye l_brow r_brow l_ear r_ear mouth u_lip l_lip hair hat ear_r neck_l neck cloth"
    )


def test_dis5k_is_one_class_that_prompts_call_by_what_it_shows():
    dis5k = class_set("dis5k")
    prompts = build_prompts(None, dis5k, 100, seed=0)
    words = {prompt.class_prompt for prompt in prompts}
    assert words <= set(dis5k.synonyms[0])
    assert len(words) > 50
    assert {prompt.classes for prompt in prompts} == {(1,)}
    # Others call a class by its own words, whichever the caption has.
    assert build_prompts(["a kitten"], ["cat"], 1)[0].class_prompt == "cat"


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


@pytest.mark.slow
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


@pytest.mark.parametrize("names", [["teddy-bear", "teddy bear"], ["traffic cone", "Traffic-Cone"], ["a b-c", "a-b c"]])
def test_own_names_that_differ_in_hyphens_alone_are_refused(names):
    with pytest.raises(
        ConfigError, match=f"two classes have the same words; got {names[0]}, {names[1]}; fix: drop one"
    ):
        ClassSet.from_names(names)


def test_own_names_are_composed():
    assert ClassSet.from_names(["cafe\u0301"]).names == ("caf\u00e9",)
    with pytest.raises(ConfigError, match="two classes have the same name"):
        ClassSet.from_names(["cafe\u0301", "caf\u00e9"])


def test_sets_of_other_names_are_own():
    assert is_own(ClassSet.from_names(["cat", "dog"]))
    assert not is_own(class_set("voc"))
    assert not is_own(ClassSet.from_names(class_set("voc").names))
