import re
from collections import Counter

import pytest

from dataset_diffusion.prompts.class_sets import ClassSet, backgrounds_of, class_set
from dataset_diffusion.prompts.mentions import find_classes
from dataset_diffusion.prompts.writers.templates import template_scenes

EMOJI = class_set("emoji")
BACKGROUNDS = backgrounds_of(EMOJI)


def template_captions(classes, num, seed):
    return [caption for caption, _ in template_scenes(classes, num, seed)]


def test_captions_are_worded_as_the_embedded_model_knows_them():
    background = "|".join(BACKGROUNDS)
    noun = f"an? (?:{'|'.join(EMOJI.words)})"
    pattern = re.compile(f"(a photo of |a picture of )?{noun}(?:(?:, {noun})? and {noun})?(?: (?:{background}))?")
    for caption in template_captions(EMOJI, 300, seed=0):
        assert pattern.fullmatch(caption), caption


def test_every_background_and_no_background_occur():
    captions = template_captions(EMOJI, 300, seed=0)
    for background in BACKGROUNDS:
        assert any(caption.endswith(background) for caption in captions)
    assert any(caption.endswith(EMOJI.words) for caption in captions)


def test_own_classes_of_the_embedded_model_keep_its_backgrounds_and_others_have_none():
    assert any(caption.endswith(BACKGROUNDS) for caption in template_captions(EMOJI.from_names(["cat"]), 20, 0))
    assert not any(caption.endswith(BACKGROUNDS) for caption in template_captions(class_set("voc"), 200, 0))


@pytest.mark.parametrize("name", ["voc", "coco", "cityscapes", "emoji", "dis5k"])
def test_captions_mention_the_classes_they_were_made_for(name):
    classes = class_set(name)
    for caption, class_ids in template_scenes(classes, 200, seed=3):
        assert find_classes(caption, classes) == class_ids


@pytest.mark.parametrize("num", [1, 7, 100, 1001])
def test_classes_are_balanced_to_one(num):
    counts = Counter(class_id for _, ids in template_scenes(EMOJI, num, seed=1) for class_id in ids)
    counts.update(dict.fromkeys(range(1, EMOJI.num_classes + 1), 0))
    assert max(counts.values()) - min(counts.values()) <= 1


def test_one_two_or_three_classes_half_the_time_one():
    sizes = Counter(len(ids) for _, ids in template_scenes(EMOJI, 2000, seed=0))
    assert set(sizes) == {1, 2, 3}
    assert sizes[1] / 2000 == pytest.approx(0.5, abs=0.05)
    assert sizes[2] / 2000 == pytest.approx(0.4, abs=0.05)


def test_the_seed_decides_and_the_number_only_lengthens():
    captions = template_captions(EMOJI, 50, seed=0)
    assert captions == template_captions(EMOJI, 50, seed=0)
    assert captions == template_captions(EMOJI, 90, seed=0)[:50]
    assert captions != template_captions(EMOJI, 50, seed=1)


@pytest.mark.parametrize(
    ("word", "noun_phrase"),
    [
        ("umbrella", "an umbrella"),
        ("unicycle", "a unicycle"),
        ("bus", "a bus"),
        ("wine glass", "a wine glass"),
        ("scissors", "scissors"),
        ("broccoli", "broccoli"),
        ("praying mantis", "a praying mantis"),
        ("compass", "a compass"),
    ],
)
def test_articles(word, noun_phrase):
    for caption in template_captions(ClassSet.from_names([word]), 10, seed=0):
        assert re.fullmatch(f"(a photo of |a picture of )?{noun_phrase}( .*)?", caption)
