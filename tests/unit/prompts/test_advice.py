import pytest
from tests.helpers.processes import run_command

from dataset_diffusion.config import GenerateSettings
from dataset_diffusion.prompts.advice import advise
from dataset_diffusion.prompts.class_sets import ClassSet, class_set
from dataset_diffusion.prompts.compose import compose_prompt
from dataset_diffusion.prompts.prompt_files import write_prompts


@pytest.fixture
def own(tmp_path):
    """A prompts file of classes that the embedded model does not know."""
    classes = ClassSet.from_names(["forklift", "Cat"])
    write_prompts(tmp_path / "own.jsonl", [compose_prompt(0, "a forklift", [1], classes)], classes)
    return tmp_path / "own.jsonl"


@pytest.mark.parametrize("classes", ["emoji", "cat,dog,", ("Teddy bear",)])
def test_classes_that_the_model_draws_need_no_word(classes):
    assert list(advise(classes, GenerateSettings(device="cpu"))) == []


def test_classes_that_the_model_does_not_draw_are_named():
    (line,) = advise("forklift,cat,pallet", GenerateSettings(device="cpu"))
    names = ", ".join(class_set("emoji").names)
    assert line == (
        f"the model embedded draws {names} and nothing else; got forklift, pallet; "
        "its images of them show something else; fix: --model sd21-base"
    )
    assert list(advise("forklift,", GenerateSettings(model="sd21-base", device="cpu"))) == []


def test_half_precision_on_a_cpu_gets_a_word():
    assert list(advise("cat,", GenerateSettings(dtype="float32", device="cpu"))) == []
    (line,) = advise("cat,", GenerateSettings(dtype="float16", device="cpu"))
    assert line.startswith("float16 is slow on a CPU; fix: leave out --dtype")


@pytest.mark.slow
def test_generate_says_it_before_anything_is_drawn(own, tmp_path):
    outcome = run_command("generate", "--prompts", own, "--out", tmp_path / "d", "--steps", 1, "--device", "cpu")
    assert (outcome.status, outcome.out) == (0, f"1 labelled images in {tmp_path / 'd'}\n")
    assert outcome.err.startswith("the model embedded draws airplane, ")
