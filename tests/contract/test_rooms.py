"""The rooms of the package are what its contracts and its documentation say."""

import re
import tomllib
from pathlib import Path

from dataset_diffusion.cli import COMMANDS

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "dataset_diffusion"


def rooms_in_order():
    """The rooms of the layers contract, from the top; those of one layer stand together."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (one["layers"] for one in contracts if one.get("containers") == ["dataset_diffusion"])
    return [layer.split(" | ") for layer in layers]


def rooms_of_the_documentation():
    """First column of the first table that lists rooms, as ``prompts`` for ``prompts/`` or ``prompts.py``."""
    tables = re.findall(r"(?:^\|.*\n)+", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE)
    listed = ([re.sub(r"/$|\.py$", "", room) for room in rooms_named_in(table)] for table in tables)
    return next(filter(None, listed))


def rooms_named_in(table):
    first_column = [row.split("|")[1] for row in table.splitlines()]
    return [name for cell in first_column for name in re.findall(r"`(\w+(?:/|\.py))`", cell)]


def test_every_command_has_the_stage_of_its_name():
    stages = {file.stem for file in (PACKAGE / "stages").glob("*.py")} - {"__init__", "plan"}
    assert stages == {name.replace("-", "_") for name in COMMANDS} - {"demo", "doctor"}


def test_the_documentation_lists_the_rooms_in_the_order_of_the_contract():
    layers = {room: number for number, layer in enumerate(rooms_in_order()) for room in layer}
    listed = [room for room in rooms_of_the_documentation() if room in layers]
    order = [layers[room] for room in listed]
    assert order in (sorted(order), sorted(order, reverse=True))
    folders = {folder.name for folder in PACKAGE.iterdir() if (folder / "__init__.py").exists()}
    assert folders <= set(listed)


def test_every_module_has_its_unit_tests():
    modules = (file.relative_to(PACKAGE) for file in PACKAGE.rglob("*.py") if not file.stem.startswith("__"))
    mirrors = {module: ROOT / "tests" / "unit" / module.with_name(f"test_{module.name}") for module in modules}
    assert mirrors
    assert [str(module) for module, mirror in mirrors.items() if not mirror.exists()] == []
