import pytest
from tests.helpers.processes import refuse, succeed

from dataset_diffusion.recipe import recipe_names


@pytest.mark.parametrize("name", recipe_names())
def test_help_names_the_recipes_that_ship(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert f" {name}" in succeed("run", "--help")


def test_a_recipe_that_does_not_exist_names_those_that_ship(tmp_path):
    message = refuse("run", "vocc", "--out", tmp_path / "run")
    expected = "a TOML file (No such file or directory), or one of celebamask-hq, cityscapes, coco, demo, dis5k, voc"
    assert message == f"cannot read the recipe; got vocc; expected {expected}"


def test_numbers_of_the_demo_that_make_no_sense(tmp_path):
    message = refuse("demo", "--num-images", 0, "--out", tmp_path / "run")
    assert "bad value of `prompts.num_images`; got 0; expected greater than or equal to 1" in message
