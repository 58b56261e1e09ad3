from pathlib import Path

from dataset_diffusion.cli.run import DEMO
from dataset_diffusion.recipe import load_recipe


def test_the_demo_is_the_recipe_in_configs():
    assert load_recipe(Path(__file__).parents[3] / "configs" / "demo.toml") == DEMO
