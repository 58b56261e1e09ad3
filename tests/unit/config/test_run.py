from pathlib import Path

import pytest

from dataset_diffusion.config import (
    RunConfig,
)
from dataset_diffusion.errors import ConfigError
from dataset_diffusion.recipe import load_recipe, recipe_names


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


@pytest.mark.parametrize("name", recipe_names())
def test_the_recipes_that_ship_can_be_loaded(name):
    assert isinstance(load_recipe(Path(name)), RunConfig)


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


def test_resolved_settings_read_back_as_they_were(write_recipe):
    config = load_recipe(write_recipe('[prompts]\nclasses = ["cat", "dog"]\ncaptions = "c.txt"\n[generate]\nsteps = 3'))
    assert RunConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "sed = 1",
            "unknown setting; got sed; expected one of "
            "seed, prompts, generate, label, calibrate, filter, train, redraw, evaluate; fix: did you mean seed?",
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


def test_files_that_are_no_recipe_are_refused(tmp_path):
    expected = (
        f"cannot read the recipe; got {tmp_path}; expected a TOML file (Is a directory), or one of celebamask-hq, "
    )
    assert refused(tmp_path).startswith(expected)
    (tmp_path / "photo.png").write_bytes(b"\x89PNG")
    assert refused(tmp_path / "photo.png").startswith(f"the recipe is not TOML; got {tmp_path / 'photo.png'}: 'utf-8'")
