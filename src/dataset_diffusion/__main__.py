"""The entry point: parse, run, and turn the user's mistakes into one line and an exit status."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dataset_diffusion.cli import COMMANDS
from dataset_diffusion.config import SettingsError, as_config_error
from dataset_diffusion.errors import QUIET, DatasetDiffusionError
from dataset_diffusion.parser import PROGRAM, WORDS_OF_ANY_COMMAND, parse
from dataset_diffusion.version import __version__

DONE, UNREAD, MISTAKE, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit: 0 done, 1 nobody reads the output, 2 the user's mistake, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    asked = {word for word in words if word in WORDS_OF_ANY_COMMAND}
    with _quiet("--quiet" in asked):
        sys.exit(_run([word for word in words if word not in asked], asked))


@contextmanager
def _quiet(asked: bool) -> Iterator[None]:
    before = os.environ.get(QUIET)
    if asked:
        os.environ[QUIET] = "1"
    try:
        yield
    finally:
        if asked:
            os.environ.pop(QUIET)
            os.environ.update({} if before is None else {QUIET: before})


def _call(command: Callable[[], Any], asked: set[str]) -> None:
    """Call a command; with ``--json`` what it gives is the only thing on stdout."""
    if "--json" not in asked:
        command()
        return
    with Path(os.devnull).open("w") as nothing, redirect_stdout(nothing if "--quiet" in asked else sys.stderr):
        result = command()
    if result is not None:
        _print_json(result)


def _print_json(result: dict[str, Any]) -> None:
    print(json.dumps(result, ensure_ascii=False, default=str))


def _run(words: list[str], asked: set[str]) -> int:
    try:
        if words == ["--version"]:
            print(PROGRAM, __version__)
        else:
            _call(parse(words or ["--help"], COMMANDS), asked)
        sys.stdout.flush()
    except BrokenPipeError:
        # As with `| head`. Python flushes once more at exit, which must not fail too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNREAD
    # An OSError that no command has words for: a name that is too long, a folder that may not be searched.
    except (DatasetDiffusionError, ValidationError, OSError) as error:
        if "--debug" in asked:
            traceback.print_exc()
        refused = error.__cause__ if isinstance(error, SettingsError) else error
        shown = as_config_error(refused) if isinstance(refused, ValidationError) else error
        print(f"error: {shown}", file=sys.stderr)
        if "--json" in asked:
            _print_json({"error": str(shown)} | (getattr(error, "result", None) or {}))
        return MISTAKE
    except KeyboardInterrupt:
        print("interrupted: the same command resumes", file=sys.stderr)
        return INTERRUPTED
    return DONE


if __name__ == "__main__":
    main()
