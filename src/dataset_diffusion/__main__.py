"""The entry point: parse, run, and turn the user's mistakes into one line and an exit status."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

from pydantic import ValidationError

from dataset_diffusion.cli import COMMANDS
from dataset_diffusion.config import as_config_error
from dataset_diffusion.errors import DatasetDiffusionError
from dataset_diffusion.parser import PROGRAM, parse
from dataset_diffusion.version import __version__

DONE, UNREAD, MISTAKE, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit: 0 done, 1 nobody reads the output, 2 the user's mistake, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    sys.exit(_run([word for word in words if word != "--debug"], debug))


def _run(words: list[str], debug: bool) -> int:
    try:
        if words == ["--version"]:
            print(PROGRAM, __version__)
        else:
            parse(words or ["--help"], COMMANDS)()
        sys.stdout.flush()
    except BrokenPipeError:
        # As with `| head`. Python flushes once more at exit, which must not fail too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNREAD
    # An OSError that no command has words for: a name that is too long, a folder that may not be searched.
    except (DatasetDiffusionError, ValidationError, OSError) as error:
        if debug:
            traceback.print_exc()
        shown = as_config_error(error) if isinstance(error, ValidationError) else error
        print(f"error: {shown}", file=sys.stderr)
        return MISTAKE
    except KeyboardInterrupt:
        print("interrupted: the same command resumes", file=sys.stderr)
        return INTERRUPTED
    return DONE


if __name__ == "__main__":
    main()
