import pytest
from hypothesis import given, strategies as st

from dataset_diffusion.prompts.class_sets import ClassSet, class_set
from dataset_diffusion.prompts.mentions import find_classes, find_words, gist, has_word, parse_class_prompt

COCO = class_set("coco")


def names(caption, classes=COCO):
    return [classes.name_of(class_id) for class_id in find_classes(caption, classes)]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("A cat on a couch next to a dog.", ["cat", "couch", "dog"]),
        ("A DOG chases another dog past a Cat", ["dog", "cat"]),
        ("Two buses and three benches", ["bus", "bench"]),
        ("women and children with knives", ["person", "knife"]),
        ("mice, geese and sheep", ["mouse", "bird", "sheep"]),
        ("ladies on ponies", ["person", "horse"]),
        ("glasses of wine on a sofa", ["wine glass", "couch"]),
        ("a motorbike, a telly and a fridge", ["motorcycle", "tv", "refrigerator"]),
        ("a teddy-bear and a traffic_light", ["teddy bear", "traffic light"]),
        ("the dog's bowl", ["dog", "bowl"]),
        ("a catcher’s mitt", ["baseball glove"]),
        ("", []),
        ("an empty field", []),
    ],
)
def test_names_words_synonyms_and_plurals_in_order_of_first_mention(caption, expected):
    assert names(caption) == expected


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a man eating a hot dog", ["person", "hot dog"]),
        ("a dog eating a hot dog", ["dog", "hot dog"]),
        ("a bear and a teddy bear", ["bear", "teddy bear"]),
        ("a tv remote", ["remote"]),
        ("a slice of carrot cake", ["cake"]),
        ("subway cars at a bus stop", ["train"]),
        ("a dirt bike", ["motorcycle"]),
        ("a toilet bowl", ["toilet"]),
        ("a woman in a bow tie by a chair lift", ["person", "tie"]),
        ("two hot dog stands", []),
        ("a hot dog vendor", ["person"]),
        ("ball players at bat", ["person", "baseball bat"]),
        ("a grandfather clock", ["clock"]),
        ("seals and sea horses", []),
        ("hot, dog-tired people", ["dog", "person"]),
    ],
)
def test_the_longest_match_hides_shorter_ones(caption, expected):
    assert names(caption) == expected


@pytest.mark.parametrize("caption", ["ball bearing", "a caterpillar", "scar", "catalog", "category", "carpet", "busy"])
def test_words_are_matched_whole(caption):
    assert "bear" not in names(caption)
    assert not {"cat", "car", "bus"} & set(names(caption))


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a red TV", ["tv"]),
        ("a t.v. on a stand", ["tv"]),
        ("a man on his cellphone", ["person", "cell phone"]),
        ("smart phones", ["cell phone"]),
        ("a bike", ["bicycle"]),
        ("a motor bike and a dirt bike", ["motorcycle"]),
        ("an orange bike", ["bicycle"]),
        ("people on skies", ["person", "skis"]),
        ("people under cloudy skies", ["person"]),
        ("he rides on horseback", ["horse"]),
        ("a mouse pad and a mouse", ["mouse"]),
        ("Mickey Mouse", []),
        ("a polar bear and a stuffed bear", ["bear", "teddy bear"]),
    ],
)
def test_variants_and_ambiguous_words(caption, expected):
    assert names(caption) == expected


def test_words_are_the_captions_own():
    assert find_words("Two Kittens and another cat chase a hot-dog", COCO) == {
        COCO.id_of("cat"): "kittens",
        COCO.id_of("hot dog"): "hot dog",
    }
    assert find_words("an empty field", COCO) == {}


def test_a_phrase_hides_its_words_in_class_sets_that_lack_it():
    voc = class_set("voc")
    assert names("a hot dog", voc) == []
    assert names("people at a train station with a coffee table", voc) == ["person"]
    assert names("a teddy bear", ClassSet.from_names(["bear"])) == []


def test_a_class_of_the_set_is_found_whatever_else_its_name_may_be():
    own = ClassSet.from_names(["bus stop", "bus", "coffee table"])
    assert names("a bus at a bus stop behind coffee tables", own) == ["bus", "bus stop", "coffee table"]


def test_a_name_beats_the_synonym_of_another_class():
    assert names("a man and a woman", ClassSet.from_names(["person", "man"])) == ["man", "person"]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("an orange and an apple", ["orange", "apple"]),
        ("an orange on a table", ["orange", "dining table"]),
        ("a bowl of oranges", ["bowl", "orange"]),
        ("an orange cat", ["cat"]),
        ("an orange and white cat", ["cat"]),
        ("an orange, black and white cat", ["cat"]),
        ("a baby sleeping", ["person"]),
        ("a baby elephant", ["elephant"]),
        ("a couple on a bench", ["person", "bench"]),
        ("a couple of dogs", ["dog"]),
        ("a cat shaped clock", ["clock"]),
        ("a kite shaped like a fish", ["kite"]),
        ("a bag of dog food", []),
        ("a passenger train and its passengers", ["train", "person"]),
        ("a boy in an elephant hat", ["person"]),
        ("a toothbrush holder", []),
        ("a mother and baby zebra", ["zebra"]),
        ("an elephant family", ["elephant"]),
        ("a mother and her baby on a bench", ["person", "bench"]),
        ("children watch an elephant and its baby", ["person", "elephant"]),
    ],
)
def test_words_that_describe_another_noun_are_no_mentions(caption, expected):
    assert names(caption) == expected


@pytest.mark.parametrize("name", ["voc", "coco", "cityscapes", "celebamask-hq", "dis5k", "emoji"])
def test_every_class_is_found_by_its_name_words_and_synonyms(name):
    classes = class_set(name)
    for class_id in range(1, classes.num_classes + 1):
        for term in (classes.name_of(class_id), classes.word_of(class_id)):
            assert find_classes(f"there is a {term}.", classes) == (class_id,)
        for synonym in classes.synonyms[class_id - 1]:
            assert len(find_classes(f"the {synonym}.", classes)) == 1


@pytest.mark.slow
@given(st.text(max_size=60), st.sampled_from(["zebra", "hot dog", "orange", "table", ""]), st.text(max_size=60))
def test_spacing_changes_nothing_in_any_text(before, word, after):
    caption = f"{before} {word} {after}"
    found = find_classes(caption, COCO)
    assert len(set(found)) == len(found)
    assert found == find_classes("  ".join(caption.split()), COCO)


@pytest.mark.parametrize(
    ("class_prompt", "expected"),
    [
        ("tv dining table", ["tv", "dining table"]),
        ("bus stop sign", ["bus", "stop sign"]),
        ("train car", ["train", "car"]),
        ("toilet bowl", ["toilet", "bowl"]),
        ("dog hot dog", ["dog", "hot dog"]),
        ("orange cat", ["orange", "cat"]),
    ],
)
def test_class_prompts_are_read_word_by_word(class_prompt, expected):
    assert parse_class_prompt(class_prompt, COCO) == tuple(COCO.id_of(name) for name in expected)


@pytest.mark.parametrize("class_prompt", ["", "a photo of a cat", "cat forklift", "man"])
def test_a_class_prompt_that_says_anything_else_is_none(class_prompt):
    assert parse_class_prompt(class_prompt, COCO) is None


@pytest.mark.parametrize("own", [["glasses", "glass"], ["glass", "glasses"]])
def test_a_name_beats_the_plural_of_another_class(own):
    classes = ClassSet.from_names(own)
    assert names("a woman wearing glasses reads", classes) == ["glasses"]
    assert names("a glass of water on a table", classes) == ["glass"]
    assert parse_class_prompt("glasses", classes) == (classes.id_of("glasses"),)


@pytest.mark.parametrize(
    ("own", "caption"),
    [
        ("apples", "an apple on a table"),
        ("traffic cones", "one traffic cone"),
        ("berries", "a red berry"),
        ("knives", "a knife"),
        ("boxes", "a box"),
        ("firemen", "a fireman"),
    ],
)
def test_own_classes_in_the_plural_find_the_singular(own, caption):
    assert names(caption, ClassSet.from_names([own])) == [own]


@pytest.mark.parametrize(
    ("own", "caption"),
    [
        ("glasses", "a glass of water"),
        ("bus", "a bu"),
        ("shorts", "a short man"),
        ("grass", "a gras"),
        ("tennis", "a tenni"),
    ],
)
def test_what_is_no_plural_has_no_singular(own, caption):
    assert names(caption, ClassSet.from_names([own])) == []


def test_composed_and_decomposed_accents_are_the_same():
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    for own, caption in ((composed, decomposed), (decomposed, composed)):
        assert names(f"a {caption} by the sea", ClassSet.from_names([own])) == [composed]


@pytest.mark.parametrize(
    ("own", "caption", "found"),
    [
        (["猫", "狗"], "一只猫和一只狗在草地上", ["猫", "狗"]),
        (["熊猫", "猫"], "竹林里的熊猫", ["熊猫"]),
        (["自転車", "犬"], "犬が自転車のそばにいる", ["犬", "自転車"]),
        (["แมว", "หมา"], "หมานอนข้างแมว", ["หมา", "แมว"]),
    ],
)
def test_languages_without_spaces_find_their_classes(own, caption, found):
    classes = ClassSet.from_names(own)
    assert names(caption, classes) == found
    assert parse_class_prompt(" ".join(found), classes) == find_classes(caption, classes)


def test_words_of_a_list_are_found_whole_and_in_the_plural():
    assert has_word("Two pallet jacks, parked.", ["pallet jack"])
    assert not has_word("a pallet, jack is there", ["pallet jack"])
    assert not has_word("a jackpot", ["jack"])


def test_near_duplicates_have_one_gist():
    assert gist("A man sits on the bench.") == gist("on a bench a man sits") != gist("a man on a bench")
