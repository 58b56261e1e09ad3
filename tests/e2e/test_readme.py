"""What the README shows works."""

import re
import shlex
import subprocess
import sys
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


def python_examples(page):
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def test_the_python_examples_run(capsys):
    for example in python_examples(ROOT / "README.md"):
        exec(compile(example, "README.md", "exec"), {})
    assert capsys.readouterr().out.count("(128, 128, 3)") == 1 + 2


@pytest.mark.slow
def test_the_python_examples_type_check(tmp_path):
    """Strictly, in one call, with what `make lint` has cached."""
    files = []
    for page in PAGES:
        for number, example in enumerate(python_examples(page)):
            files.append(tmp_path / f"{page.stem.lower()}_{number}.py")
            files[-1].write_text(example, encoding="utf-8")
    assert len(files) >= 2
    (tmp_path / "wrong.py").write_text("from dataset_diffusion import load_model\nload_model(3)\n")
    options = ["--config-file", "pyproject.toml", "--cache-dir", ".mypy_cache", "--no-error-summary"]
    command = [sys.executable, "-m", "mypy", *options, *files, tmp_path / "wrong.py"]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    complaints = checked.stdout.splitlines()
    assert [line for line in complaints if "wrong.py:2: error" not in line] == []
    assert len(complaints) == 1, checked.stderr
