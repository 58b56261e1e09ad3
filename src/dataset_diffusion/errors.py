"""The errors a user can cause. Each prints as one line: what, got, expected, fix."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class DatasetDiffusionError(Exception):
    """A mistake in what the user asked for, told in one line.

    Args:
        what: what is wrong, in a few words.
        got: the offending value.
        expected: what would have been accepted.
        fix: what to do about it.
    """

    def __init__(self, what: str, *, got: object = None, expected: object = None, fix: str | None = None) -> None:
        parts = [what]
        if got is not None:
            parts.append(f"got {_shorten(got)}")
        if expected is not None:
            parts.append(f"expected {expected}")
        if fix is not None:
            parts.append(f"fix: {fix}")
        # A single positional argument keeps the error picklable across worker processes.
        line = _shorten(" ".join("; ".join(parts).split()), limit=2000)
        # The name of a file may hold what no output can print.
        super().__init__(line.encode(errors="backslashreplace").decode())


class ConfigError(DatasetDiffusionError):
    """A setting, recipe or run folder that cannot be used."""


class PromptError(DatasetDiffusionError):
    """A caption, class name or class prompt that cannot be used."""


class ModelError(DatasetDiffusionError):
    """A diffusion model or segmenter that cannot be loaded or run."""


class DatasetError(DatasetDiffusionError):
    """A dataset, benchmark or image file that cannot be read or written."""


class Skipped:
    """What ``--skip-bad`` left out, and why.

    Pass one to have bad entries left out; where None is passed instead, the first bad entry raises its error.

    Attributes:
        reasons: what was wrong with each entry, by name, in the order in which they were met.
    """

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}


def leave_out(name: str, error: DatasetDiffusionError, skipped: Skipped | None) -> None:
    """Note that an entry is left out, or refuse it.

    Raises:
        DatasetDiffusionError: ``error``, where nothing is to be skipped.
    """
    if skipped is None:
        raise error
    skipped.reasons[name] = str(error)


def tell(line: str) -> None:
    """Say on stderr what is no error, but what nobody would see otherwise."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201


def first_line(error: BaseException) -> str:
    """What another library's error says, as far as it fits into one of ours; its type where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def first_problem(error: ValidationError) -> str:
    """The first thing that pydantic refused, as ``where: message``; the message alone where it is about the whole."""
    first = error.errors()[0]
    return ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))


def _shorten(value: object, limit: int = 200) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
