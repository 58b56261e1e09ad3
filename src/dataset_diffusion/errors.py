"""The errors a user can cause. Each prints as one line: what, got, expected, fix."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from difflib import get_close_matches
from numbers import Real
from operator import index
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError


QUIET = "DATASET_DIFFUSION_QUIET"
"""Environment variable of ``--quiet``, which workers take over: no notes and no progress."""


class DatasetDiffusionError(Exception):
    """A mistake in what the user asked for, told in one line.

    Args:
        what: what is wrong, in a few words.
        got: the offending value.
        expected: what would have been accepted.
        fix: what to do about it.
    """

    result: dict[str, Any] | None = None
    """What a command found before it was refused, for ``--json``."""

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


def did_you_mean(word: str, known: Iterable[str], *, likeness: float = 0.6) -> str | None:
    """A fix for a misspelt name: the known one that it begins, or is most like, if any is by this much (0 to 1)."""
    names = list(known)
    begun = [name for name in names if len(word) > 1 and name.startswith(word)]
    meant = begun or get_close_matches(word, names, n=1, cutoff=likeness)
    return f"did you mean {meant[0]}?" if meant else None


def check_kind(
    value: object,
    kinds: type | tuple[type, ...],
    what: str,
    *,
    fix: str | None = None,
    error: type[DatasetDiffusionError] = ConfigError,
) -> None:
    """Refuse an argument that is of none of the kinds; ``what`` it is stands in the message."""
    if not isinstance(value, kinds):
        known = {type(None): "None", Real: "a number"}
        names = [known.get(kind, kind.__name__) for kind in (kinds if isinstance(kinds, tuple) else (kinds,))]
        got = "None" if value is None else f"{type(value).__name__} {value!r}"
        raise error(f"bad {what}", got=got, expected=" or ".join(names), fix=fix)


def whole_number(value: Any, what: str, *, at_least: int | None = None) -> int:
    """A whole number of Python, NumPy or torch.

    Raises:
        ConfigError: it is something else, or too small.
    """
    expected = "a whole number" if at_least is None else f"a whole number of at least {at_least}"
    try:
        number = index(value)
    except TypeError:
        raise ConfigError(f"bad {what}", got=repr(value), expected=expected) from None
    if at_least is not None and number < at_least:
        raise ConfigError(f"bad {what}", got=number, expected=expected)
    return number


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


def is_quiet() -> bool:
    """Whether only results and errors are to be said."""
    return bool(os.environ.get(QUIET))


def tell(line: str) -> None:
    """Say on stderr what is no error, but what nobody would see otherwise."""
    if not is_quiet():
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
