import os

import pytest
from commands import refuse, succeed, times_of

from dataset_diffusion.config import RunConfig
from dataset_diffusion.errors import ConfigError
from dataset_diffusion.runtime.stages import run_all


def test_a_damaged_run_folder_is_told(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConfigError) as error:
        run_all(RunConfig(), tmp_path)
    assert str(error.value).startswith(f"cannot read {tmp_path / 'config.json'}; got Expecting property name")
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


RECIPE = """
[prompts]
classes = ["cat", "hand truck"]
num_images = 2
[generate]
steps = 1
height = 32
width = 32
device = "cpu"
[train]
iterations = 1
batch_size = 2
[evaluate]
benchmark = "none"
"""


def test_a_recipe_without_a_benchmark_ends_with_training_and_a_page(tmp_path):
    recipe, out = tmp_path / "recipe.toml", tmp_path / "run"
    recipe.write_text(RECIPE)
    first, last = succeed("run", recipe, "--out", out).splitlines()
    assert first == f"2 images and 1 training steps into {out}; the same command resumes"
    assert last == f"report: {out / 'report.html'}"
    assert (out / "model" / "model.json").exists()
    assert not (out / "results.json").exists()
    before = times_of(out)
    succeed("run", recipe, "--out", out)
    assert times_of(out) == before
    # A page from before the model was finished is about an unfinished run.
    os.utime(out / "report.html", ns=(0, 0))
    succeed("run", recipe, "--out", out)
    assert times_of(out)["report.html"] > 0


def test_a_run_is_resumed_on_another_machine_and_not_with_other_settings(tmp_path):
    recipe, out = tmp_path / "recipe.toml", tmp_path / "run"
    recipe.write_text(RECIPE)
    succeed("run", recipe, "--out", out)
    (out / "dataset" / "shards" / "00000.parquet").unlink()
    recipe.write_text(RECIPE.replace('device = "cpu"', "batch_size = 1\nvae_slicing = true"))
    succeed("run", recipe, "--out", out)
    recipe.write_text(RECIPE.replace("steps = 1", "steps = 2"))
    assert refuse("run", recipe, "--out", out) == (
        f"{out} holds a run of another configuration; got generate.steps = 2; expected generate.steps = 1; "
        "fix: use another --out, or delete the folder"
    )


def test_a_recipe_for_own_classes_is_told_how_to_go_without_a_benchmark(tmp_path):
    (tmp_path / "recipe.toml").write_text(RECIPE.replace('"none"', '"scenes"'))
    message = refuse("run", tmp_path / "recipe.toml", "--out", tmp_path / "run")
    assert message.startswith("the segmenter and the benchmark scenes have different classes; got cat, hand truck; ")
    assert message.endswith('or in a recipe "none"')
    assert not (tmp_path / "run").exists()
