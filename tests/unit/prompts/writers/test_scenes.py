import re
from collections import Counter
from itertools import combinations

import pytest

from dataset_diffusion.prompts.balance import Emphasis
from dataset_diffusion.prompts.class_sets import ClassSet, backgrounds_of, class_set
from dataset_diffusion.prompts.mentions import find_classes, gist
from dataset_diffusion.prompts.writers.scenes import scene_captions

pytestmark = pytest.mark.slow

OWN = ClassSet.from_names(["forklift", "pallet", "hourglass", "unicorn", "scissors", "goose", "sheep", "elephant"])


def captions(classes, num=150, seed=0, **options):
    return [caption for caption, _ in scene_captions(classes, num, seed, **options)]


@pytest.mark.parametrize("classes", [OWN, *map(class_set, ("voc", "coco", "cityscapes"))], ids=lambda one: one.name)
def test_captions_mention_their_classes_and_no_other(classes):
    for caption, class_ids in scene_captions(classes, 150, seed=3):
        assert find_classes(caption, classes) == class_ids, caption


def test_every_part_of_the_grammar_occurs():
    text = "\n".join(captions(OWN, 300))
    for part in ("close-up", "snapshot", "seen from above", "at dusk", "next to", "two ", "in a warehouse", "old "):
        assert part in text, part


def test_articles_and_plurals():
    text = " ".join(captions(OWN, 600))
    for right in ("an elephant", "a unicorn", "an hourglass", "an old", "geese", "forklifts"):
        assert re.search(rf"\b{right}\b", text), right
    for wrong in ("a elephant", "an unicorn", "a hourglass", "a old", "gooses", "sheeps", "scissorss", "a scissors"):
        assert not re.search(rf"\b{wrong}\b", text), wrong


def test_no_phrase_names_another_class():
    classes = ClassSet.from_names(["cat", "table", "desk", "street", "sky"])
    for caption, class_ids in scene_captions(classes, 200, seed=0):
        if 4 not in class_ids:
            assert "street" not in caption
        if 5 not in class_ids:
            assert "sky" not in caption


def test_captions_differ_and_classes_are_balanced():
    scenes = list(scene_captions(class_set("voc"), 500, seed=0))
    counts = Counter(class_id for _, ids in scenes for class_id in ids)
    assert len({gist(caption) for caption, _ in scenes}) == 500
    assert max(counts.values()) - min(counts.values()) <= 4


def test_classes_of_one_place_come_together_more_often():
    voc = class_set("voc")
    pairs = Counter(
        frozenset(map(voc.name_of, pair))
        for _, ids in scene_captions(voc, 3000, seed=0)
        for pair in combinations(ids, 2)
    )
    assert pairs[frozenset({"cow", "sheep"})] > 1.5 * pairs[frozenset({"cow", "tvmonitor"})]


def test_the_seed_decides_and_the_number_only_lengthens():
    assert captions(OWN, 40) == captions(OWN, 90)[:40]
    assert captions(OWN, 40) != captions(OWN, 40, seed=1)


def test_the_embedded_model_gets_no_word_that_it_does_not_know():
    emoji = class_set("emoji")
    known = set(" ".join((*emoji.words, *backgrounds_of(emoji), "a an and photo picture of")).split())
    assert set(" ".join(captions(emoji, 300)).replace(",", "").split()) <= known


def test_what_is_unwanted_is_not_said_and_weak_classes_are_said_more_often():
    assert not any("warehouse" in one for one in captions(OWN, 200, unwanted=lambda caption: "warehouse" in caption))
    counts = Counter(class_id for _, ids in scene_captions(OWN, 400, 0, Emphasis({2: 3.0})) for class_id in ids)
    assert counts[2] > 2.5 * counts[1]
