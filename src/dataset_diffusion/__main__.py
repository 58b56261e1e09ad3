"""The entry point: parse, run, and turn the user's mistakes into one line and an exit status."""

from __future__ import annotations

import contextlib
import functools
import io
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

import tyro
from pydantic import ValidationError

from dataset_diffusion.cli import COMMANDS
from dataset_diffusion.config import as_config_error
from dataset_diffusion.errors import DatasetDiffusionError

DONE, MISTAKE, INTERRUPTED = 0, 2, 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit: 0 done, 2 the user's mistake, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    sys.exit(_run([word for word in words if word != "--debug"], debug))


def _run(words: list[str], debug: bool) -> int:
    try:
        _parse(words or ["--help"])()
    except (DatasetDiffusionError, ValidationError) as error:
        if debug:
            raise
        shown = as_config_error(error, "command line") if isinstance(error, ValidationError) else error
        print(f"error: {shown}", file=sys.stderr)  # noqa: T201
        return MISTAKE
    except KeyboardInterrupt:
        print("interrupted: the same command resumes", file=sys.stderr)  # noqa: T201
        return INTERRUPTED
    return DONE


def _parse(words: list[str]) -> Callable[[], Any]:
    """The command with its arguments bound, so that what the parser prints can be told from what the command does."""
    complaints = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaints):
            bound: Callable[[], Any] = tyro.extras.subcommand_cli_from_dict(
                {name: _bind(command) for name, command in COMMANDS.items()},
                args=words,
                prog="dataset-diffusion",
                description="Type class names, get a segmentation dataset and a trained segmenter, with no annotation. "
                "Add --debug to any command for the traceback of an error.",
                config=(tyro.conf.FlagConversionOff,),
            )
    except SystemExit as end:
        if end.code not in (None, DONE):
            raise DatasetDiffusionError(_one_line(complaints.getvalue())) from None
        raise
    return bound


def _bind(command: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(command)
    def bound(*args: Any, **kwargs: Any) -> Callable[[], Any]:
        return functools.partial(command, *args, **kwargs)

    return bound


def _one_line(complaint: str) -> str:
    """The parser's framed complaint without its frame."""
    lines = [re.sub(r"[─│╭╮╰╯]+", " ", line).strip() for line in complaint.splitlines()]
    return "; ".join(line for line in lines[1:] if line).replace(":;", ":")


if __name__ == "__main__":
    main()
