import inspect
import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from tests.helpers.factories import make_sample, write_dataset
from tests.helpers.processes import Outcome, help_entries, refuse, run_command, succeed

from dataset_diffusion.cli import COMMANDS
from dataset_diffusion.errors import QUIET
from dataset_diffusion.parser import SHELLS, WORDS_OF_ANY_COMMAND

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


def test_with_json_the_result_is_all_there_is_on_stdout(tmp_path):
    words = ("prompts", "--num-images", 3, "--classes", "forklift,hand truck", "--out", tmp_path / "p.jsonl")
    told, as_json = run_command(*words), run_command("--json", *words)
    made = json.loads(as_json.out)
    assert (made["out"], made["prompts"], list(made["classes"])) == (
        str(tmp_path / "p.jsonl"),
        3,
        ["forklift", "hand truck"],
    )
    assert as_json.err == told.out
    assert run_command(*words, "--json", "--quiet") == Outcome(0, as_json.out, "")


def test_with_json_a_mistake_is_an_object_too():
    outcome = run_command("report", "--json")
    assert outcome.status == 2
    assert outcome.err == "error: missing RUN; fix: see dataset-diffusion report --help\n"
    assert json.loads(outcome.out) == {"error": "missing RUN; fix: see dataset-diffusion report --help"}


def test_json_of_a_dataset_with_problems_lists_them(tmp_path):
    write_dataset(tmp_path, make_sample, num_samples=3, shard_size=2)
    whole = json.loads(succeed("verify", tmp_path, "--json"))
    assert whole == {
        "dataset": str(tmp_path),
        "samples": 3,
        "shards": 2,
        "corrected": 0,
        "repaired": [],
        "problems": [],
    }
    (tmp_path / "shards" / "00001.parquet").unlink()
    outcome = run_command("verify", tmp_path, "--json")
    assert outcome.status == 2
    assert [problem for problem in json.loads(outcome.out)["problems"] if "00001" in problem]


def test_quiet_says_the_result_and_no_progress(tmp_path):
    write_dataset(tmp_path, make_sample, num_samples=3, shard_size=2)
    told, quiet = run_command("verify", tmp_path), run_command("verify", tmp_path, "--quiet")
    assert "Check every picture and label map: 3/3 images" in told.err
    assert quiet == Outcome(0, told.out, "")
    assert QUIET not in os.environ


def test_the_help_says_what_any_command_takes():
    text = " ".join(succeed("--help").split())
    for word, what in WORDS_OF_ANY_COMMAND.items():
        assert f"{word} ({what})" in text


COMPLETE = """
complete_words() {
  COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}; COMPREPLY=()
  $(complete -p dataset-diffusion | sed 's/.*-F \\([^ ]*\\).*/\\1/') dataset-diffusion "${!#}" dataset-diffusion
  echo "${COMPREPLY[*]}"
}
complete_words dataset-diffusion ""
complete_words dataset-diffusion gen
complete_words dataset-diffusion export data --form
complete_words dataset-diffusion export data --format yolo-
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_commands_options_and_choices(tmp_path):
    (tmp_path / "script").write_text(succeed("--completion", "bash") + COMPLETE)
    ended = subprocess.run(["bash", tmp_path / "script"], capture_output=True, text=True, check=True)
    commands, generate, option, choice = ended.stdout.splitlines()
    assert set(COMMANDS) <= set(commands.split())
    assert (generate, option, choice) == ("generate", "--format", "yolo-semantic")


@pytest.mark.parametrize("shell", SHELLS)
def test_a_completion_script_names_every_command(shell):
    script = succeed("--completion", shell)
    assert [name for name in COMMANDS if name not in script] == []


@pytest.mark.parametrize(("words", "got"), [([], "none"), (["tcsh"], "tcsh"), (["bash", "zsh"], "bash zsh")])
def test_a_shell_that_cannot_be_completed_in(words, got):
    assert refuse("--completion", *words) == f"no such shell; got {got}; expected one of bash, zsh, fish"
