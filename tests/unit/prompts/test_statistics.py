from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.prompts.compose import compose_prompt, draw_prompts, find_scenes
from dataset_diffusion.prompts.statistics import describe_prompts, format_table, prompt_quality

CLASSES = ClassSet.from_names(["cat", "dog", "bus"], name="own")
CAPTIONS = ["a cat and a dog", "a dog on a cat", "the cat and the dog", "a cat", "a street"]


def test_captions_prompts_and_companions_are_counted():
    found = find_scenes(CAPTIONS, CLASSES)
    report = describe_prompts(draw_prompts(found, CLASSES, 4), found, CLASSES)
    drawn = {name: row.pop("prompts") for name, row in report["classes"].items()}
    assert report == {
        "class_set": "own",
        "prompts": 4,
        "quality": prompt_quality(draw_prompts(found, CLASSES, 4), CLASSES),
        "captions": {"read": 5, "without a class": 1, "repeated": 1, "too long": 0, "usable": 3},
        "classes": {
            "cat": {"captions": 3, "with": {"dog": 2}},
            "dog": {"captions": 2, "with": {"cat": 2}},
            "bus": {"captions": 0, "with": {}},
        },
    }
    assert min(drawn.values()) >= 1


def test_quality_by_hand():
    captions = [("a cat and a dog", (1, 2)), ("the dog and a cat.", (2, 1)), ("two dogs run", (2,))]
    prompts = [compose_prompt(index, caption, ids, CLASSES) for index, (caption, ids) in enumerate(captions)]
    assert prompt_quality(prompts, CLASSES) == {
        "distinct scenes": 2,
        "words a caption": 4.33,
        "classes a caption": 1.67,
        "balance": 0.0,
    }
    prompts.append(compose_prompt(3, "a bus", (3,), CLASSES))
    assert prompt_quality(prompts, CLASSES)["balance"] == 0.333


def test_prompts_from_templates_have_no_captions():
    report = describe_prompts(draw_prompts(None, CLASSES, 30), None, CLASSES)
    assert report["captions"] is None
    assert {row["captions"] for row in report["classes"].values()} == {0}
    assert sum(sum(row["with"].values()) for row in report["classes"].values()) > 0


def test_the_table_is_aligned_and_ends_with_the_captions():
    found = find_scenes(CAPTIONS, CLASSES)
    lines = list(format_table(describe_prompts(draw_prompts(found, CLASSES, 3), found, CLASSES)))
    assert lines[:2] == ["  class  captions  prompts  most often with", "  cat           3        2  dog 2"]
    assert lines[3] == "  bus           0        1"
    assert lines[-1] == "5 captions: 1 mention no class, 1 repeat another, 3 used"
