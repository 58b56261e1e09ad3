"""The tutorials, followed to the letter."""

import re
import shlex
from pathlib import Path

import pytest
from tests.helpers.processes import succeed

pytestmark = pytest.mark.slow

TUTORIALS = sorted((Path(__file__).parents[2] / "docs" / "tutorials").glob("*.md"))


@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda page: page.stem)
def test_every_command_of_a_tutorial_succeeds(tutorial, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = tutorial.read_text(encoding="utf-8")
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
