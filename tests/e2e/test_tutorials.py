"""The tutorials, followed to the letter."""

import json
import re
import shlex
from pathlib import Path

import pytest
from tests.helpers.processes import succeed
from tests.helpers.tiny_models import thin_pipeline

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parents[2] / "docs" / "tutorials"
TUTORIALS = sorted(FOLDER.glob("*.md"))
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def save_model(folder):
    """In the place of what the hub would give: Stable Diffusion's blocks, thin, for pictures of 128 pixels."""
    pipeline = thin_pipeline("sd15")
    pipeline.unet.register_to_config(sample_size=16)
    pipeline.save_pretrained(folder)


@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda page: page.stem)
def test_every_command_of_a_tutorial_succeeds(tutorial, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = tutorial.read_text(encoding="utf-8")
    if "hf download" in text:
        save_model(Path("model"))
    for table in re.findall(r"```csv\n(.*?)```", text, re.DOTALL):
        Path("names.csv").write_text(table, encoding="utf-8")
    commands = re.findall(r"^ {4}dataset-diffusion (.+)$", text, re.MULTILINE)
    assert commands
    for command in commands:
        words = shlex.split(command)
        succeed(*words)
        if "--out" in words:
            assert Path(words[words.index("--out") + 1]).exists()
    for report in re.findall(r"`(\w+/report\.html)`", text):
        assert Path(report).exists()


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda file: file.stem)
def test_every_cell_of_a_notebook_runs(notebook, tmp_path, monkeypatch, capsys):
    """In order and in one namespace, as Jupyter does; its ``!`` lines are commands."""
    monkeypatch.chdir(tmp_path)
    names = {}
    cells = [cell for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert cells
    for cell in cells:
        code = "".join(cell["source"])
        for command in re.findall(r"^!dataset-diffusion (.+)$", code, re.MULTILINE):
            succeed(*shlex.split(command))
        exec(compile(re.sub(r"^!.*$", "", code, flags=re.MULTILINE), notebook.name, "exec"), names)
    assert names["seen"].shape == names["labels"].shape == (128, 128)
    assert capsys.readouterr().out.count("(128, 128, 3)") == 6
