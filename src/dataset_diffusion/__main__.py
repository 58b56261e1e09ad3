"""The entry point: parse, run, and turn the user's mistakes into one line and an exit status."""

from __future__ import annotations

import contextlib
import difflib
import functools
import inspect
import io
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tyro
from pydantic import ValidationError

from dataset_diffusion.cli import COMMANDS
from dataset_diffusion.config import as_config_error
from dataset_diffusion.errors import ConfigError, DatasetDiffusionError

DONE, UNREAD, MISTAKE, INTERRUPTED = 0, 1, 2, 130

_COLOR = re.compile(r"\x1b\[[0-9;]*m")
_FRAME = re.compile(r"[─│╭╮╰╯]|-{3,}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit: 0 done, 1 nobody reads the output, 2 the user's mistake, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    sys.exit(_run([word for word in words if word != "--debug"], debug))


def _run(words: list[str], debug: bool) -> int:
    try:
        parse(words or ["--help"])()
        sys.stdout.flush()
    except BrokenPipeError:
        # As with `| head`. Python flushes once more at exit, which must not fail too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNREAD
    # An OSError that no command has words for: a name that is too long, a folder that may not be searched.
    except (DatasetDiffusionError, ValidationError, OSError) as error:
        if debug:
            raise
        shown = as_config_error(error) if isinstance(error, ValidationError) else error
        print(f"error: {shown}", file=sys.stderr)  # noqa: T201
        return MISTAKE
    except KeyboardInterrupt:
        print("interrupted: the same command resumes", file=sys.stderr)  # noqa: T201
        return INTERRUPTED
    return DONE


def parse(words: list[str]) -> Callable[[], Any]:
    """The command with its arguments bound, so that what the parser prints can be told from what the command does."""
    if words[0] not in (*COMMANDS, "-h", "--help"):
        raise ConfigError("no such command", got=words[0], expected=f"one of {', '.join(COMMANDS)}")
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            bound: Callable[[], Any] = tyro.extras.subcommand_cli_from_dict(
                {name: _bind(command) for name, command in COMMANDS.items()},
                args=words,
                prog="dataset-diffusion",
                description="Type class names, get a segmentation dataset and a trained segmenter, with no annotation. "
                "Add --debug to any command for the traceback of an error.",
            )
    except SystemExit as end:
        if end.code not in (None, DONE):
            raise _explain(complaint.getvalue(), words[0]) from None
        return lambda: None  # the help is printed
    return bound


def _bind(command: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(command)
    def bound(*args: Any, **kwargs: Any) -> Callable[[], Any]:
        _check_local(inspect.signature(command).bind(*args, **kwargs).arguments)
        return functools.partial(command, *args, **kwargs)

    return bound


def _check_local(arguments: dict[str, Any]) -> None:
    """Refuse a URL where a path is asked for: it would be taken for a folder named `s3:`."""
    for name, value in arguments.items():
        if isinstance(value, Path) and re.match(r"[a-z][a-z0-9+.-]+:/", str(value)):
            raise ConfigError(
                f"{name} is on this machine",
                got=str(value).replace(":/", "://", 1),
                expected="a local path",
                fix="copy it from or to that storage",
            )


def _explain(complaint: str, command: str) -> ConfigError:
    """The parser's complaint, framed, coloured and wrapped to the terminal, as what, got, expected, fix."""
    _, _, body = _COLOR.sub("", complaint).partition("\n")  # below its title
    text = " ".join(_FRAME.sub(" ", body).split()).partition(" For full helptext")[0]
    fix = f"see dataset-diffusion {command} --help"
    if bad_value := _explain_value(text):
        return bad_value
    if found := re.search(r"Missing value for argument '(\S+)'", text):
        return ConfigError(f"{found[1]} has no value", fix=fix)
    if found := re.search(r"Missing from dataset-diffusion \w+: (.*)", text):
        missing = re.findall(r"(?:^|\(required\) )(--\S+|[A-Z]+\b\S*) ", found[1])
        return ConfigError(f"missing {' and '.join(missing)}", fix=fix)
    if found := re.search(r"Unrecognized (?:or misplaced )?options: ([^\s,]+)", text):
        options = re.findall(r"--[\w.-]+", text.partition("Perhaps you meant:")[2])
        # An option that is there is another command's.
        meant = [] if found[1] in options else difflib.get_close_matches(found[1], options, n=1, cutoff=0.0)
        kind = "option" if found[1].startswith("-") else "argument"
        return ConfigError(f"no such {kind}", got=found[1], fix=f"did you mean {meant[0]}?" if meant else fix)
    return ConfigError(text, fix=fix)


def _explain_value(text: str) -> ConfigError | None:
    """A value that the parser refused, or that pydantic refused inside it."""
    if found := re.search(r"parsing \S+\.(\w+): 1 validation error for \w+ (\w+) (.*?) \[.*?input_value=(.*?),", text):
        option = f"--{found[1]}.{found[2].replace('_', '-')}"
        return ConfigError(f"bad value of {option}", got=found[4], expected=found[3].removeprefix("Input should be "))
    if found := re.search(r"Error parsing (\S+): .*?'(.*?)'", text):
        number = "a number" if "FLOAT" in text else "a whole number"
        return ConfigError(f"bad value of {found[1]}", got=found[2], expected=number)
    if found := re.search(r"invalid choice '(.*?)' for argument '(\S+)'\. Expected one of \((.*?),?\)\.", text):
        choices = ", ".join(sorted(found[3].replace("'", "").split(", ")))
        return ConfigError(f"bad value of {found[2]}", got=found[1], expected=f"one of {choices}")
    return None


if __name__ == "__main__":
    main()
