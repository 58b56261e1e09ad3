import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel
from tests.helpers.processes import refuse, succeed

from dataset_diffusion.config import NameOrFolder, RecipePath, RunConfig
from dataset_diffusion.errors import ConfigError
from dataset_diffusion.recipe import DESCRIPTIONS, Recipe, load_recipe

PATHS = ["prompts.captions", "prompts.instances", "prompts.words", "evaluate.root", "train.real_root"]
NAMES_OR_FOLDERS = [
    "prompts.captioner",
    "prompts.llm",
    "generate.model",
    "generate.tiny_decoder",
    "label.segments",
    "filter.image_text",
    "train.real",
    "evaluate.benchmark",
]


def fields(model=RunConfig, prefix=""):
    """Every setting of a run with its annotation, the metadata that pydantic has moved out of it included."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from fields(field.annotation, f"{prefix}{name}.")
        else:
            kinds = get_args(field.annotation) or (field.annotation,)
            yield f"{prefix}{name}", kinds, [*field.metadata, *(one for kind in kinds for one in metadata(kind))]


def metadata(kind):
    return getattr(kind, "__metadata__", ())


def settings_of(kind):
    (validator,) = metadata(kind)
    return [name for name, _, found in fields() if validator in found]


def value_of(config, name):
    for part in name.split("."):
        config = getattr(config, part)
    return config


@pytest.fixture
def folder(tmp_path):
    """A folder of recipes that is not the current one."""
    folder = tmp_path / "recipes"
    folder.mkdir()
    return folder


def write(folder, text):
    recipe = folder / "recipe.toml"
    recipe.write_text(text, encoding="utf-8")
    return recipe


def load_with(folder, name, value):
    table, key = name.split(".")
    needed = {"real_root": 'real = "voc2012"\n', "segments": 'refine = "sam2"\n'}.get(key, "")
    return value_of(load_recipe(write(folder, f'[{table}]\n{needed}{key} = "{value}"')), name)


def test_no_setting_is_a_path_that_would_not_be_resolved():
    plain = [name for name, kinds, found in fields() if Path in kinds and not found]
    assert plain == []
    assert sorted(settings_of(RecipePath)) == sorted(PATHS)
    assert sorted(settings_of(NameOrFolder)) == sorted(NAMES_OR_FOLDERS)


@pytest.mark.parametrize("name", PATHS)
def test_a_path_is_relative_to_the_recipe(folder, name):
    assert load_with(folder, name, "photos") == folder / "photos"
    assert str(load_with(folder, name, "../data/./photos")) == f"{folder}/../data/photos"
    assert load_with(folder, name, "/data/photos") == Path("/data/photos")


@pytest.mark.parametrize("description", DESCRIPTIONS)
@pytest.mark.parametrize("name", NAMES_OR_FOLDERS)
def test_a_folder_in_the_place_of_a_name_is_relative_to_the_recipe(folder, name, description):
    for one in (folder / "mine", folder / "mine" / "own"):
        one.mkdir()
        (one / description).touch()
    assert load_with(folder, name, "mine") == f"{folder}/mine"
    assert load_with(folder, name, "mine/own") == f"{folder}/mine/own"
    assert load_with(folder, name, "./not-there") == f"{folder}/not-there"
    assert load_with(folder, name, "../not-there") == f"{folder}/../not-there"
    assert load_with(folder, name, "/data/mine") == "/data/mine"


@pytest.mark.parametrize("name", NAMES_OR_FOLDERS)
@pytest.mark.parametrize("value", ["voc2012", "sd21-base", "none", "owner/name", "owner/name@abc", "not-there"])
def test_a_name_stays_a_name(folder, name, value):
    for known in ("voc2012", "sd21-base", "none"):
        (folder / known).mkdir()
        (folder / known / "photo.jpg").touch()
    assert load_with(folder, name, value) == value
    assert load_with(folder, name, f"./{value}") == f"{folder}/{value}"


@pytest.mark.parametrize(
    ("written", "resolved"),
    [
        ("style.safetensors", "{}/style.safetensors"),
        ("style.safetensors:0.8", "{}/style.safetensors:0.8"),
        ("../style.safetensors:1", "{}/../style.safetensors:1"),
        ("/data/style.safetensors", "/data/style.safetensors"),
        ("owner/name", "owner/name"),
        ("owner/name-v1.5:0.8", "owner/name-v1.5:0.8"),
    ],
)
def test_the_file_of_an_adapter_is_relative_to_the_recipe(folder, written, resolved):
    config = load_recipe(write(folder, f'[generate]\nlora = ["{written}"]'))
    assert config.generate.lora == (resolved.format(folder),)


def test_settings_from_elsewhere_stay_as_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    config = RunConfig.model_validate({"prompts": {"captions": "c.txt"}, "generate": {"model": "mine"}})
    assert (config.prompts.captions, config.generate.model) == (Path("c.txt"), "mine")


def test_a_recipe_with_a_byte_order_mark_is_read(folder):
    assert load_recipe(write(folder, "\ufeffseed = 3")).seed == 3


@pytest.mark.slow
def test_a_recipe_imports_nothing_heavy(folder):
    recipe = write(folder, '[prompts]\ncaptions = "c.txt"\n[generate]\nmodel = "./sd"')
    program = f"""
import sys
from pathlib import Path
from dataset_diffusion.recipe import load_recipe
load_recipe(Path({str(recipe)!r}))
print(*sys.modules)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert {"torch", "numpy", "diffusers"}.isdisjoint(ended.stdout.split())


def test_a_path_is_told_as_the_recipe_has_it(folder):
    recipe = Recipe(write(folder, '[prompts]\ncaptions = "../data/c.txt"\n[evaluate]\nroot = "../data"'))
    told = recipe.as_written(f"{recipe.config.prompts.captions}, {recipe.config.evaluate.root}/1.png and {folder}/x")
    assert told == f"../data/c.txt, ../data/1.png and {folder}/x"


@pytest.mark.slow
def test_run_names_captions_that_are_missing_as_the_recipe_does(folder, tmp_path):
    recipe = write(folder, '[prompts]\nclasses = "voc"\ncaptions = "../data/captions.txt"')
    message = "cannot read the file; got ../data/captions.txt; expected a text file (No such file or directory)"
    assert refuse("run", recipe, "--out", tmp_path / "run") == message
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_plan_names_paths_as_the_recipe_does(folder, tmp_path):
    recipe = write(folder, '[prompts]\ncaptions = "../c.txt"\n[generate]\nmodel = "./sd"\n[train]\niterations = 1')
    printed = succeed("run", recipe, "--out", tmp_path / "run", "--dry-run").splitlines()
    assert printed[0].endswith(", from ../c.txt")
    assert printed[1].startswith("draw      ./sd, ") or printed[1].startswith("generate  ./sd, ")
    assert printed[-1] == "missing   ../c.txt"


def test_changes_stand_in_the_place_of_the_recipes_settings(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("[train]\niterations = 5\n[generate]\nsteps = 3")
    changes = ["train.iterations=100", "filter.rules=['presence >= 0.4']", "generate.model = sd15", "seed=4"]
    config = Recipe(file, changes).config
    assert (config.train.iterations, config.filter.rules, config.seed) == (100, ("presence >= 0.4",), 4)
    assert (config.generate.model, config.generate.steps) == ("sd15", 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("train.iterations", "bad value of --set; got train.iterations; expected a setting and its value, train.ite"),
        (".=3", "bad value of --set; got .=3; expected a setting and its value"),
        ("seed.x=3", "bad value of --set; got seed.x=3; expected a setting; seed has none inside"),
        ("train.steps=3", "demo: unknown setting; got train.steps; expected one of segmenter, iterations"),
        ("train.iterations=0", "demo: bad value of `train.iterations`; got 0; expected greater than or equal to 1"),
    ],
)
def test_a_change_that_makes_no_sense(change, message):
    with pytest.raises(ConfigError) as error:
        Recipe(Path("demo"), ["seed=1", change])
    assert str(error.value).startswith(message)


def test_paths_of_a_recipe_that_ships_are_relative_to_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = Path("data") / "VOCdevkit" / "VOC2012"
    assert Recipe(Path("voc")).config.evaluate.root == tmp_path / root
    (tmp_path / "voc").write_text("[evaluate]\nroot = '/mine'")  # a file of the name comes first
    assert Recipe(Path("voc")).config.evaluate.root == Path("/mine")
