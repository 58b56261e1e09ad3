import io
import sys

import pytest
from tests.helpers.processes import refuse

from dataset_diffusion.__main__ import main
from dataset_diffusion.cli import COMMANDS

NAMES = ", ".join(COMMANDS)


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("genrate --out d", f"no such command; got genrate; expected one of {NAMES}; fix: did you mean generate?"),
        ("colour --out d", f"no such command; got colour; expected one of {NAMES}"),
        ("--seed 3 generate", f"no such command; got --seed; expected one of {NAMES}"),
        ("generate", "missing --prompts and --out; fix: see dataset-diffusion generate --help"),
        ("run", "missing CONFIG.toml|NAME and --out; fix: see dataset-diffusion run --help"),
        ("run a.toml", "missing --out; fix: see dataset-diffusion run --help"),
        ("report", "missing RUN; fix: see dataset-diffusion report --help"),
        ("generate --prompts p --out d --step 3", "no such option; got --step; fix: did you mean --steps?"),
        ("run a.toml --out d --dry-rn", "no such option; got --dry-rn; fix: did you mean --dry-run?"),
        ("run a.toml --uot=d", "no such option; got --uot=d; fix: did you mean --out?"),
        (
            "generate --prompts p --out d --colour red --size 3",
            "no such option; got --colour; fix: see dataset-diffusion generate --help",
        ),
        (
            "export d --out e --format voc --threshold 0.4",
            "no such option; got --threshold; fix: see dataset-diffusion export --help",
        ),
        ("report a b", "no such argument; got b; fix: see dataset-diffusion report --help"),
        (
            "generate --prompts p --out s3://bucket/d",
            "out is on this machine; got s3://bucket/d; expected a local path; fix: copy it from or to that storage",
        ),
        (
            "relabel gs://bucket/d",
            "dataset is on this machine; got gs://bucket/d; expected a local path; "
            "fix: copy it from or to that storage",
        ),
        ("generate --prompts p --out d --steps", "--steps has no value; fix: see dataset-diffusion generate --help"),
        ("generate --prompts p --out d --steps many", "bad value of --steps; got many; expected a whole number"),
        ("generate --prompts p --out d --steps 1.5", "bad value of --steps; got 1.5; expected a whole number"),
        ("generate --prompts p --out d --steps=many", "bad value of --steps; got many; expected a whole number"),
        ("prompts --out p --num_images x", "bad value of --num-images; got x; expected a whole number"),
        ("prompts --out p --num-images x", "bad value of --num-images; got x; expected a whole number"),
        ("generate --prompts p --out d --threshold high", "bad value of --threshold; got high; expected a number"),
        ("generate --prompts p --out d --guidance-scale x", "bad value of --guidance-scale; got x; expected a number"),
        (
            "generate --prompts p --out d --image-format gif",
            "bad value of --image-format; got gif; expected one of jpeg, png",
        ),
        (
            "generate --prompts p --out d --capture.prompt both",
            "bad value of --capture.prompt; got both; expected one of class, text",
        ),
        (
            "generate --prompts p --out d --capture.self-attention-resolution -8",
            "bad value of --capture.self-attention-resolution; got -8; expected greater than or equal to 1",
        ),
        (
            "train --out m --weight-decay -1 d",
            "bad value of --weight-decay; got -1.0; expected greater than or equal to 0",
        ),
        ("train --out m --ema-decay inf d", "bad value of --ema-decay; got inf; expected a finite number"),
    ],
)
def test_what_the_parser_refuses_is_told_in_one_line(line, message):
    assert refuse(*line.split()) == message


class _Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.mark.parametrize("columns", ["30", "200"])
def test_complaints_are_plain_on_a_colour_terminal_of_any_width(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", _Terminal())
    for line, message in [
        ("generate --prompts p --out d --steps many", "bad value of --steps; got many; expected a whole number"),
        ("generate", "missing --prompts and --out; fix: see dataset-diffusion generate --help"),
        ("generate --prompts p --out d --step 3", "no such option; got --step; fix: did you mean --steps?"),
    ]:
        errors = io.StringIO()
        monkeypatch.setattr(sys, "stderr", errors)
        with pytest.raises(SystemExit, match="2"):
            main(line.split())
        assert errors.getvalue() == f"error: {message}\n"
