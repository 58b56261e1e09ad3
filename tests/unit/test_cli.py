import inspect
import re
import subprocess
import sys

import pytest
from tests.helpers.processes import help_entries, run_command, succeed

from dataset_diffusion.cli import COMMANDS

PROGRAM = [sys.executable, "-m", "dataset_diffusion"]


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_explains_itself_and_its_default(command):
    for name, text in help_entries(command).items():
        if name != "-h":
            assert re.search(r" [A-Za-z].{9,}\. \((default: \S.*|required)\)", text), text


@pytest.mark.parametrize("command", COMMANDS)
def test_every_argument_of_a_command_is_an_entry_of_its_help(command):
    for name, parameter in inspect.signature(COMMANDS[command]).parameters.items():
        annotation = str(parameter.annotation)
        other = re.search(r"arg\(name='(\w+)'", annotation)
        if "Flat" not in annotation and "Positional" not in annotation:
            assert f"--{(other[1] if other else name).replace('_', '-')}" in help_entries(command)


def test_help_lists_every_command_with_what_it_does():
    text = " ".join(succeed("--help").split())
    for name, command in COMMANDS.items():
        first_words = " ".join(command.__doc__.split()[:3])
        assert f"• {name} {first_words}" in text


def test_no_words_ask_for_help():
    assert succeed() == succeed("--help")


@pytest.mark.slow
def test_help_and_prompts_import_nothing_heavy(tmp_path):
    program = f"""
import sys
from dataset_diffusion.__main__ import main
for words in [["--version"], ["--help"], ["train", "--help"], ["prompts", "--out", {str(tmp_path)!r} + "/p"]]:
    try:
        main(words)
    except SystemExit as end:
        assert end.code == 0
print(*sys.modules)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    modules = ended.stdout.splitlines()[-1].split()
    assert "dataset_diffusion.cli" in modules
    assert {"torch", "numpy", "diffusers", "transformers", "lightning", "pyarrow"}.isdisjoint(modules)


def test_debug_shows_where_a_mistake_was_found_and_ends_alike():
    outcome = run_command("report", "--debug")
    assert outcome.status == 2
    assert outcome.err.startswith("Traceback (most recent call last):\n")
    assert outcome.err.splitlines()[-1] == "error: missing RUN; fix: see dataset-diffusion report --help"


@pytest.mark.slow
def test_a_program_of_its_own_exits_with_2_and_one_line():
    words = ["generate", "--prompts", "p", "--out", "d", "--threshold", "2"]
    ended = subprocess.run([*PROGRAM, *words], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr == "error: bad value of --threshold; got 2.0; expected less than or equal to 1\n"


@pytest.mark.slow
def test_a_reader_that_goes_away_leaves_no_traceback():
    program = subprocess.Popen([*PROGRAM, "generate", "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    program.stdout.close()
    assert program.stderr.read() == b""
    assert program.wait() == 1


def test_what_a_command_prints_is_not_taken_for_a_complaint(tmp_path):
    outcome = run_command(
        "prompts", "--num-images", 3, "--classes", "forklift,hand truck", "--out", tmp_path / "p.jsonl"
    )
    assert f"3 prompts in {tmp_path / 'p.jsonl'}" in outcome.out
    assert outcome.err == ""
