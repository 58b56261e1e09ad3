from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from dataset_diffusion.config import (
    STORED_EXPONENTS,
    ExecutorSettings,
    GenerateSettings,
    LabelOptions,
    LabelSettings,
    PromptSettings,
    RunConfig,
    config_hash,
    make_settings,
)
from dataset_diffusion.errors import ConfigError
from dataset_diffusion.recipe import load_recipe

RECIPES = sorted((Path(__file__).parents[2] / "configs").glob("*.toml"))
FRACTIONS = st.floats(0, 1)


@pytest.fixture
def write_recipe(tmp_path):
    def write(text):
        path = tmp_path / "recipe.toml"
        path.write_text(text)
        return path

    return write


def refused(path):
    with pytest.raises(ConfigError) as error:
        load_recipe(path)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_the_recipes_that_ship_can_be_loaded(path):
    assert isinstance(load_recipe(path), RunConfig)


def test_an_empty_recipe_takes_every_default(write_recipe):
    assert load_recipe(write_recipe("")) == RunConfig()


def test_settings_of_every_stage_can_be_given(write_recipe):
    config = load_recipe(
        write_recipe("""
        seed = 7
        [prompts]
        classes = ["forklift", "hand truck"]
        [generate.capture]
        cross_attention_layers = ["up_blocks"]
        [label]
        exponent = 0
        """)
    )
    assert config.seed == 7
    assert config.prompts.classes == ("forklift", "hand truck")
    assert config.generate.capture.cross_attention_layers == ("up_blocks",)
    assert config.label.exponent == 0


def test_paths_are_relative_to_the_recipe(write_recipe, tmp_path):
    config = load_recipe(write_recipe('[prompts]\ncaptions = "captions.txt"\n[evaluate]\nroot = "/data/voc"'))
    assert config.prompts.captions == tmp_path / "captions.txt"
    assert config.evaluate.root == Path("/data/voc")


def test_a_recipe_can_do_without_a_benchmark(write_recipe):
    config = load_recipe(write_recipe('[evaluate]\nbenchmark = "none"'))
    assert config.evaluate.benchmark == "none"
    assert RunConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stride = 100", "got 100; expected at most the --sliding-window, which is not given"),
        ("sliding_window = 64\nstride = 65", "got 65; expected at most the --sliding-window, 64"),
    ],
)
def test_windows_that_leave_gaps(write_recipe, text, message):
    path = write_recipe(f"[evaluate]\n{text}")
    assert refused(path) == f"bad value of `evaluate.stride`; {message}"


def test_resolved_settings_read_back_as_they_were(write_recipe):
    config = load_recipe(write_recipe('[prompts]\nclasses = ["cat", "dog"]\ncaptions = "c.txt"\n[generate]\nsteps = 3'))
    assert RunConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "sed = 1",
            "unknown setting; got sed; expected one of "
            "seed, prompts, generate, label, calibrate, filter, train, evaluate",
        ),
        (
            "[generate.capture]\nlayers = 3",
            "unknown setting; got generate.capture.layers; expected one of cross_attention_resolution, "
            "self_attention_resolution, cross_attention_layers, self_attention_layers, prompt, steps, every",
        ),
        ("seed = 1.5", "bad value of `seed`; got 1.5; expected a valid integer, got a number with a fractional part"),
        ("generate = 3", "bad value of `generate`; got 3; expected a valid dictionary or instance of GenerateSettings"),
        (
            '[generate]\ndtype = "int8"',
            "bad value of `generate.dtype`; got int8; expected 'float32', 'float16' or 'bfloat16'",
        ),
        ("[train]\nlearning_rate = 0", "bad value of `train.learning_rate`; got 0; expected greater than 0"),
        ("[train]\nlearning_rate = inf", "bad value of `train.learning_rate`; got inf; expected a finite number"),
        ("[label]\nexponent = 3", "bad value of `label.exponent`; got 3; expected one of 0, 1, 2, 4, 8"),
        (
            "[label]\nthreshold = 0.3\nuncertainty_threshold = 0.4",
            "bad value of `label.uncertainty_threshold`; got 0.4; expected at most the threshold, 0.3",
        ),
        (
            '[train]\nreal_root = "photos"',
            "bad value of `train.real_root`; got photos; expected the benchmark's name in --real too",
        ),
        (
            "[train]\niterations = 0\nbatch_size = 0",
            "bad value of `train.iterations` (the first of 2 mistakes); got 0; expected greater than or equal to 1",
        ),
    ],
)
def test_a_recipe_with_a_mistake_is_refused(write_recipe, text, message):
    assert refused(write_recipe(text)) == message


def test_a_threshold_below_the_readings_other_one_is_refused():
    with pytest.raises(ConfigError) as error:
        LabelOptions(threshold=0.01).resolve(LabelSettings())
    assert str(error.value) == (
        "the threshold is below the uncertainty threshold that fits the reading; got 0.01 and 0.5; fix: give both"
    )


def test_what_is_not_asked_of_labels_is_the_readings_own():
    own = LabelSettings(exponent=1, threshold=0.4, uncertainty_threshold=0.3, refine="pamr")
    assert LabelOptions().resolve(own) == own
    assert LabelOptions(exponent=0, refine="none").resolve(own) == LabelSettings(
        exponent=0, threshold=0.4, uncertainty_threshold=0.3, refine="none"
    )


def test_files_that_are_no_recipe_are_refused(tmp_path):
    assert refused(tmp_path) == f"cannot read the recipe; got {tmp_path}; expected a TOML file (Is a directory)"
    (tmp_path / "photo.png").write_bytes(b"\x89PNG")
    assert refused(tmp_path / "photo.png").startswith(f"the recipe is not TOML; got {tmp_path / 'photo.png'}: 'utf-8'")


def test_options_are_named_as_they_are_typed():
    with pytest.raises(ConfigError, match=r"^bad value of --num-images; got 0; expected greater than or equal to 1$"):
        make_settings(PromptSettings, num_images=0)


@given(FRACTIONS, FRACTIONS)
def test_thresholds_are_accepted_in_their_order_only(threshold, uncertainty_threshold):
    if uncertainty_threshold <= threshold:
        LabelSettings(threshold=threshold, uncertainty_threshold=uncertainty_threshold)
    else:
        with pytest.raises(ValidationError):
            LabelSettings(threshold=threshold, uncertainty_threshold=uncertainty_threshold)


@given(st.integers(-1, 20))
def test_exponents_are_those_whose_heatmaps_are_stored(exponent):
    if exponent in STORED_EXPONENTS:
        assert LabelSettings(exponent=exponent).exponent == exponent
    else:
        with pytest.raises(ValidationError):
            LabelSettings(exponent=exponent)


def test_settings_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        GenerateSettings().steps = 3


def test_a_hash_follows_from_the_settings():
    assert config_hash(GenerateSettings(steps=3)) == config_hash(GenerateSettings(steps=3, model="embedded"))
    assert config_hash(GenerateSettings(steps=3)) != config_hash(GenerateSettings(steps=4))
    assert config_hash(LabelSettings(exponent=4, threshold=0.6, uncertainty_threshold=0.5)) == "f0b2cacfb7a6844d"


def test_parts_share_the_shards_between_them():
    assert list(ExecutorSettings().shards_of(5)) == [0, 1, 2, 3, 4]
    assert list(ExecutorSettings(part="1/3").shards_of(5)) == [0, 3]
    assert list(ExecutorSettings(part="2/3").shards_of(5)) == [1, 4]
    assert list(ExecutorSettings(part="3/3").shards_of(2)) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"part": "0/3"}, "bad value of --part; got 0/3; expected K/N with K from 1 to N"),
        ({"part": "4/3"}, "bad value of --part; got 4/3; expected K/N with K from 1 to N"),
        ({"part": "3"}, "bad value of --part; got 3; expected K/N with K from 1 to N"),
        ({"part": "a/b"}, "bad value of --part; got a/b; expected K/N with K from 1 to N"),
        ({"num_workers": 2}, "bad value of --num-workers; got 2; expected --executor ray, the only one that takes it"),
        ({"address": "auto"}, "bad value of --address; got auto; expected --executor ray, the only one that takes it"),
        (
            {"executor": "ray", "num_workers": 0},
            "bad value of --num-workers; got 0; expected greater than or equal to 1",
        ),
    ],
)
def test_executor_settings_that_make_no_sense(options, message):
    with pytest.raises(ConfigError) as error:
        make_settings(ExecutorSettings, **options)
    assert str(error.value) == message
