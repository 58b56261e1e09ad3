"""What the README shows works."""

import re
import shlex
from pathlib import Path

import pytest

from dataset_diffusion.cli import COMMANDS
from dataset_diffusion.parser import parse

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def shown_commands():
    for page in PAGES:
        text = re.sub(r"\\\n *", "", page.read_text(encoding="utf-8"))
        for line in re.findall(r"(?:^ {4}|`)(dataset-diffusion [^`\n]+)", text, re.MULTILINE):
            yield pytest.param(line, id=f"{page.name}: {line}")


@pytest.mark.parametrize("line", shown_commands())
def test_shown_commands_exist(line):
    words = shlex.split(re.sub(r"\$\w+", "1", line), comments=True)[1:]  # shell variables are numbers of tasks
    if {"COMMAND", "CONFIG.toml"}.isdisjoint(words):
        parse(words, COMMANDS)


def test_the_python_examples_run(capsys):
    for example in re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(example, "README.md", "exec"), {})
    assert capsys.readouterr().out.count("(128, 128, 3)") == 1 + 2
