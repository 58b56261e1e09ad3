import json
from pathlib import Path

import pytest
from tests.helpers.processes import refuse, succeed

from dataset_diffusion.config import (
    GenerateSettings,
    PromptSettings,
    RedrawSettings,
    RunConfig,
    TrainSettings,
    TurnSettings,
)
from dataset_diffusion.errors import ConfigError
from dataset_diffusion.stages.plan import Costs, estimate, plan, read_costs

pytestmark = pytest.mark.slow

CONFIG = RunConfig(
    prompts=PromptSettings(classes="voc", num_images=3600),
    generate=GenerateSettings(model="sd21-base", steps=50),
    train=TrainSettings(iterations=100, batch_size=8, crop_size=128),
)
COSTS = Costs(device="abacus", draw_tflops=50, train_tflops=2)


@pytest.mark.parametrize(
    ("options", "hours"),
    [
        # An image is 50 steps of 2 passes of 0.804 TFLOP: 1.608 s at 50 TFLOP/s, and 3,600 images 1.608 hours.
        ({}, 1.608),
        ({"guidance_scale": 1.0}, 0.804),
        ({"steps": None}, 3.216),  # the model's own 100
        ({"height": 256}, 0.804),
        ({"scheduler": "pndm"}, 1.608 * 51 / 50),  # which takes its second step twice
    ],
)
def test_generating_by_hand(options, hours):
    settings = {"model": "sd21-base", "steps": 50} | options
    config = CONFIG.model_copy(update={"generate": GenerateSettings(**settings)})
    assert estimate(config, COSTS).generate_hours == pytest.approx(hours)


def test_training_grows_with_what_is_trained():
    def hours(**changes):
        changed = CONFIG.model_copy(update={"train": CONFIG.train.model_copy(update=changes)})
        return estimate(changed, COSTS).train_hours

    once = hours()
    assert hours(crop_size=256) == pytest.approx(4 * once)
    assert hours(batch_size=16, iterations=50) == pytest.approx(once)
    # A round trains again and looks at 3,600 images of 512 x 512 pixels twice, without a backward pass.
    labelling = once / (100 * 8 * 128**2 * 3) * 3600 * 512**2 * 2
    assert hours(self_training=1) == pytest.approx(2 * once + labelling)
    published = hours(self_training=1, self_training_method="published")
    assert published == pytest.approx(2 * once + labelling / 2)


def test_rounds_of_redrawing_draw_and_train_more():
    more = CONFIG.model_copy(update={"redraw": RedrawSettings(rounds=2, num_images=1800)})
    once, thrice = estimate(CONFIG, COSTS), estimate(more, COSTS)
    assert thrice.generate_hours == pytest.approx(2 * once.generate_hours)
    assert thrice.train_hours > 3 * once.train_hours
    assert any(line.startswith("redraw    rounds: 2, each 1,800 more") for line in plan(more, Path("run"), COSTS))


def test_a_dataset_on_disk():
    with_png = estimate(CONFIG, COSTS).dataset_bytes
    jpeg = CONFIG.model_copy(update={"generate": GenerateSettings(model="sd21-base", image_format="jpeg")})
    assert with_png - estimate(jpeg, COSTS).dataset_bytes == pytest.approx(3600 * 512**2 * 1.1)


def test_the_plan_says_where_its_numbers_are_from(tmp_path):
    lines = list(plan(CONFIG, tmp_path, COSTS))
    assert [line.split()[0] for line in lines] == ["prompts", "generate", "train", "evaluate", "disk", "in", "at"]
    assert lines[0] == "prompts   3,600 prompts of 20 classes, from templates"
    assert lines[1].startswith("generate  sd21-base, 512 x 512 pixels, 50 steps: ")
    assert lines[-1].endswith("50 TFLOP/s drawing and 2 training on abacus (measured)")
    assert "assumed" in list(plan(CONFIG, tmp_path, Costs()))[-1]


def test_a_model_that_is_not_known_is_not_guessed(tmp_path):
    config = CONFIG.model_copy(update={"generate": GenerateSettings(model="embedded")})
    assert estimate(config, COSTS).generate_hours is None
    assert "unknown" in list(plan(config, tmp_path, COSTS))[1]


def test_a_dry_run_tells_what_is_missing_and_writes_nothing(tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('[prompts]\ncaptions = "captions.txt"\n')
    text = succeed("run", recipe, "--out", tmp_path / "run", "--dry-run")
    assert "missing   captions.txt" in text.splitlines()
    assert list(tmp_path.iterdir()) == [recipe]


def test_measured_costs_are_read(tmp_path):
    file = tmp_path / "costs.json"
    file.write_text(json.dumps(COSTS.model_dump() | {"seconds_per_training_step": 0.3}))
    assert read_costs(file) == COSTS


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"device": "x", "draw_tflops": 0, "train_tflops": 1}'])
def test_other_files_are_refused_in_one_line(tmp_path, text):
    file = tmp_path / "costs.json"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"costs\.json") as error:
        read_costs(file)
    assert "\n" not in str(error.value)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("")
    assert "costs.json" in refuse("run", recipe, "--out", tmp_path / "run", "--dry-run", "--costs", file)


def test_a_turn_of_learning_to_read_is_planned_and_costs_a_training():
    turns = CONFIG.model_copy(update={"calibrate": TurnSettings(turns=2)})
    assert estimate(turns, COSTS).train_hours == pytest.approx(3 * estimate(CONFIG, COSTS).train_hours)
    assert "calibrate turns: 2, each a segmenter, a reading and all labels anew" in plan(turns, Path("run"), COSTS)
    assert not any("turns" in line for line in plan(CONFIG, Path("run"), COSTS))
