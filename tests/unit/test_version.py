import tomllib
from pathlib import Path

from tests.helpers.processes import succeed

from dataset_diffusion.version import __version__

ROOT = Path(__file__).parents[2]


def test_the_version_is_said_and_nothing_else():
    assert succeed("--version") == f"dataset-diffusion {__version__}\n"


def test_the_package_is_built_with_the_version_that_the_program_says():
    built = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["version"]["path"]
    assert f'__version__ = "{__version__}"' in (ROOT / built).read_text()
