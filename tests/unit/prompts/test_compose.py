from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from dataset_diffusion.errors import ConfigError, PromptError
from dataset_diffusion.prompts.captions import read_captions
from dataset_diffusion.prompts.class_sets import ClassSet, class_set
from dataset_diffusion.prompts.compose import build_prompts, compose_prompt, draw_prompts, find_scenes, may_fit
from dataset_diffusion.prompts.mentions import find_classes
from dataset_diffusion.records import Prompt

EMOJI = class_set("emoji")
CAPTIONS = ["A cat and a dog.", "a dog", "two buses", "a street", "A CAT, and a dog!", "an elephant with an umbrella"]
COCO_CAPTIONS = Path(__file__).parents[4] / "shared/data/coco/annotations/captions_val2017.json"


def counts_of(prompts, classes):
    counts = Counter(classes.name_of(class_id) for prompt in prompts for class_id in prompt.classes)
    return {name: counts[name] for name in classes.names}


class TestComposePrompt:
    def test_class_words_are_appended(self):
        voc = class_set("voc")
        caption = "a television sitting on top of a wooden table"
        prompt = compose_prompt(4, caption, [voc.id_of("tvmonitor"), voc.id_of("diningtable")], voc)
        assert prompt == Prompt(
            index=4,
            text="a television sitting on top of a wooden table; tv monitor dining table",
            class_prompt="tv monitor dining table",
            classes=(20, 11),
            class_words=("tv monitor", "dining table"),
        )

    def test_the_end_of_a_sentence_gives_way(self):
        assert compose_prompt(0, "A cat sits . ", [5], EMOJI).text == "A cat sits; cat"

    @pytest.mark.parametrize("class_ids", [[], [5, 5], [0], [13], [255]])
    def test_ids_that_cannot_be_named_are_refused(self, class_ids):
        with pytest.raises(PromptError, match="a prompt names classes of its class set, each once"):
            compose_prompt(0, "a cat", class_ids, EMOJI)

    def test_a_class_whose_name_draws_nothing_is_called_what_the_caption_calls_it(self):
        prompt = compose_prompt(0, "Two bicycles lean on a windmill.", (1,), class_set("dis5k"))
        assert prompt.text == "Two bicycles lean on a windmill; bicycles"
        assert (prompt.class_prompt, prompt.class_words, prompt.classes) == ("bicycles", ("bicycles",), (1,))

    def test_templates_name_such_classes_by_their_synonyms(self):
        dis5k = class_set("dis5k")
        prompts = build_prompts(None, dis5k, 60, seed=0)
        assert {prompt.class_prompt for prompt in prompts} <= set(dis5k.synonyms[0])
        assert len({prompt.class_prompt for prompt in prompts}) > 30
        assert all(prompt.class_prompt in prompt.text.partition(";")[0] for prompt in prompts)


class TestFindScenes:
    def test_captions_are_counted_and_kept_in_order(self):
        found = find_scenes(iter(CAPTIONS), ClassSet.from_names(["dog", "cat"]))
        assert found.scenes == (("A cat and a dog.", (2, 1)), ("a dog", (1,)))
        assert (found.num_captions, found.num_without_class, found.num_repeated) == (6, 3, 1)

    @pytest.mark.parametrize(
        "other",
        [
            "A CAT ON A MAT.",
            "The cat on the mat",
            "a cat, on a mat",
            "cat on mat",
            "On a mat: a cat",
            "a cat on a cat mat",
        ],
    )
    def test_the_same_words_are_near_duplicates(self, other):
        assert find_scenes(["a cat on a mat", other], EMOJI).scenes == (("a cat on a mat", (5,)),)

    @pytest.mark.parametrize("other", ["a cat in a mat", "a cat on a red mat", "cats on a mat", "a cat"])
    def test_other_words_are_none(self, other):
        assert find_scenes(["a cat on a mat", other], EMOJI).num_repeated == 0


class TestBuildPrompts:
    def test_captions_without_a_class_are_left_out_and_repetitions_too(self):
        prompts = build_prompts(CAPTIONS, ClassSet.from_names(["cat", "dog"]), 6, seed=0)
        assert {prompt.text for prompt in prompts} == {"A cat and a dog; cat dog", "a dog; dog"}
        assert [prompt.index for prompt in prompts] == [0, 1, 2, 3, 4, 5]

    def test_every_prompt_names_what_its_caption_mentions_in_that_order(self):
        for prompt in build_prompts(CAPTIONS, EMOJI, 40, seed=0):
            caption, _, appended = prompt.text.rpartition("; ")
            assert appended == prompt.class_prompt == " ".join(prompt.class_words)
            assert prompt.classes == find_classes(caption, EMOJI)

    def test_captions_are_used_again_in_turn(self):
        prompts = build_prompts(["a cat", "two cats", "one cat"], ["cat"], 9, seed=0)
        texts = [prompt.text for prompt in prompts]
        assert sorted(texts[:3]) == ["a cat; cat", "one cat; cat", "two cats; cat"]
        assert texts[:3] == texts[3:6] == texts[6:]

    def test_classes_that_no_caption_mentions_get_templates(self):
        prompts = build_prompts(["a cat in a hat"], ["cat", "forklift"], 10, seed=0)
        counts = counts_of(prompts, ClassSet.from_names(["cat", "forklift"]))
        assert counts == {"cat": 5, "forklift": 5}
        assert all("a forklift; forklift" in prompt.text for prompt in prompts if prompt.classes == (2,))

    def test_rare_classes_are_drawn_as_often_as_common_ones(self):
        captions = [f"cat number {number}" for number in range(500)] + ["a lone dog"]
        prompts = build_prompts(captions, ["cat", "dog"], 100, seed=0)
        assert counts_of(prompts, ClassSet.from_names(["cat", "dog"])) == {"cat": 50, "dog": 50}

    def test_the_arguments_decide_and_the_number_only_lengthens(self):
        prompts = build_prompts(CAPTIONS, EMOJI, 30, seed=0)
        assert prompts == build_prompts(CAPTIONS, EMOJI, 30, seed=0)
        assert prompts == build_prompts(CAPTIONS, EMOJI, 60, seed=0)[:30]
        assert prompts != build_prompts(CAPTIONS, EMOJI, 30, seed=1)

    def test_templates_stand_in_for_captions(self):
        prompts = build_prompts(None, "emoji", 240, seed=0)
        counts = counts_of(prompts, EMOJI)
        assert list(counts) == list(EMOJI.names)
        assert max(counts.values()) - min(counts.values()) <= 1

    @pytest.mark.slow
    @pytest.mark.skipif(not COCO_CAPTIONS.is_file(), reason="COCO captions are not there")
    @pytest.mark.parametrize("name", ["voc", "coco"])
    def test_real_captions_are_balanced(self, name):
        classes = class_set(name)
        captions = read_captions(COCO_CAPTIONS)[::5]
        counts = counts_of(build_prompts(captions, classes, 2000, seed=0), classes)
        # Companions such as people come along with others; every class is drawn at least its share.
        assert min(counts.values()) >= 2000 / classes.num_classes
        assert sorted(counts.values())[-5] <= 1.5 * min(counts.values())

    @settings(max_examples=30)
    @given(st.lists(st.sampled_from(CAPTIONS), min_size=1), st.integers(1, 30), st.integers())
    def test_any_captions_give_as_many_prompts_as_asked(self, captions, num_images, seed):
        captions = [*captions, "a clock"]
        prompts = build_prompts(captions, EMOJI, num_images, seed)
        assert [prompt.index for prompt in prompts] == list(range(num_images))

    @pytest.mark.parametrize("num_images", [0, -1])
    def test_no_images_are_refused(self, num_images):
        with pytest.raises(PromptError, match=r"must be positive; got -?\d; expected at least 1"):
            build_prompts(CAPTIONS, EMOJI, num_images, seed=0)

    @pytest.mark.parametrize("captions", [[], ["a street", "a lamp"]])
    def test_captions_that_mention_no_class_are_refused(self, captions):
        with pytest.raises(PromptError) as error:
            build_prompts(captions, EMOJI, 4, seed=0)
        message = str(error.value)
        assert "\n" not in message
        assert f"no caption mentions a class of 'emoji'; got {len(captions)} captions" in message
        assert "fix: choose other captions or classes" in message

    def test_one_string_is_no_list_of_captions(self):
        with pytest.raises(PromptError, match="captions must be a list of strings"):
            build_prompts("a cat", EMOJI, 4, seed=0)

    def test_unknown_class_sets_are_refused(self):
        with pytest.raises(ConfigError, match="unknown class set"):
            build_prompts(None, "vok", 4, seed=0)


def test_captions_that_are_too_long_are_kept_aside():
    found = find_scenes(["a cat " * 40, "a cat on a mat", "a bus"], ClassSet.from_names(["cat", "bus"]))
    assert found.too_long == {0}
    drawn = draw_prompts(found, ClassSet.from_names(["cat", "bus"]), 20)
    assert {prompt.text for prompt in drawn} == {"a cat on a mat; cat", "a bus; bus"}
    with pytest.raises(
        PromptError, match="every caption with a class is too long for a text encoder; got 1, the first"
    ):
        find_scenes(["a cat " * 40], ClassSet.from_names(["cat"]))


def test_a_caption_that_is_too_long_takes_no_others_place():
    classes = ClassSet.from_names(["cat"])
    captions = [f"a cat and {number} mats" for number in range(9)]
    drawn = [
        draw_prompts(find_scenes(captions, classes, fits=fits), classes, 4) for fits in (may_fit, lambda text: True)
    ]
    assert drawn[0] == drawn[1]
    limited = find_scenes(captions, classes, fits=lambda text: text != drawn[0][0].text)
    assert draw_prompts(limited, classes, 3) == [
        replace(prompt, index=index) for index, prompt in enumerate(drawn[0][1:])
    ]


def test_known_classes_are_named_those_that_the_caption_mentions_first():
    classes = ClassSet.from_names(["cat", "dog", "bus"])
    captions = ["a bus and a cat", "a street", "a dog", "a dog", "a cat"]
    found = find_scenes(captions, classes, given=[(1, 2, 3), (2,), (), None, (3,)])
    assert [scene.classes for scene in found.scenes] == [(3, 1, 2), (2,), (2,), (3,)]
    assert (found.num_captions, found.num_without_class, found.num_repeated) == (5, 1, 0)


def test_a_given_caption_comes_before_templates():
    first, second = build_prompts(["a cat and a bus in the snow"], "emoji", num_images=2)
    assert first.text == "a cat and a bus in the snow; cat bus"
    assert set(second.classes).isdisjoint(first.classes)
