"""Captions from files of the usual formats. Imports no torch."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from dataset_diffusion.errors import PromptError

MAX_CAPTION_LENGTH = 10_000
"""Characters. Anything longer is no caption but a file of another format."""

_CAPTION_COLUMNS = ("caption", "comment")
_TOKEN_LINE = re.compile(r"\S+#\d+\t(?P<caption>.*)")
_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def read_captions(path: Path | str) -> list[str]:
    """Captions of a file, in its order, whitespace tidied and empty ones left out.

    Reads COCO captions (JSON), the published prompts format (JSON; appended class words are taken off again), Flickr8k
    and Flickr30k token files, CSV, TSV and JSON lines with a ``caption`` column, and text with one caption a line.

    Raises:
        PromptError: the file is missing, holds no captions, is not UTF-8, or is JSON or CSV of another kind.
    """
    path = Path(path)
    captions = [caption for caption in map(clean_caption, _parse(path, read_text(path))) if caption]
    if not captions:
        raise PromptError("no captions in the file", got=str(path), expected="at least one caption")
    longest = max(map(len, captions))
    if longest > MAX_CAPTION_LENGTH:
        raise PromptError(
            "the file does not look like captions",
            got=f"{path}: one of {longest} characters",
            expected=f"at most {MAX_CAPTION_LENGTH}",
        )
    return captions


def read_text(path: Path) -> str:
    """A text file's content, without a byte-order mark.

    Raises:
        PromptError: it is missing, a folder, unreadable or not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise PromptError("cannot read the file", got=str(path), expected=f"a text file ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise PromptError("the file is not UTF-8 text", got=str(path), fix="save it as UTF-8") from error


def clean_caption(caption: str) -> str:
    """A caption on one line, without control characters or the halves of broken characters."""
    return " ".join(_UNWRITABLE.sub(" ", caption).split())


def remove_class_prompt(text: str, class_prompt: str) -> str:
    """The caption of a text prompt: what stands before the appended ``"; <class prompt>"``."""
    caption, separator, appended = text.rpartition(";")
    return caption.rstrip() if separator and appended.strip() == class_prompt.strip() else text


def _parse(path: Path, text: str) -> Iterable[str]:
    """Captions in the format that the extension names or, where it names none, the content shows."""
    suffix = path.suffix.lower()
    if suffix == ".jsonl" or _is_json_lines(text):
        return _parse_json_lines(path, text)
    if suffix == ".json" or (text.lstrip().startswith(("{", "[")) and _is_json(text)):
        return _parse_json(path, text)
    first_line = next((line for line in text.splitlines() if line.strip()), "")
    if _TOKEN_LINE.fullmatch(first_line):
        return (match["caption"] for match in map(_TOKEN_LINE.fullmatch, text.splitlines()) if match)
    if suffix in (".csv", ".tsv") or _caption_column(_split_header(first_line)) is not None:
        return _parse_table(path, text, first_line)
    return text.splitlines()


def _parse_json(path: Path, text: str) -> Iterator[str]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PromptError("the file is not JSON", got=f"{path}: {error}") from error
    rows = content.get("annotations") if isinstance(content, dict) else content
    if not isinstance(rows, list):
        raise _another_schema(path, "no list of captions or annotations")
    return (row if isinstance(row, str) else _caption_of(path, row) for row in rows)


def _parse_json_lines(path: Path, text: str) -> Iterator[str]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise PromptError(f"line {number} is not JSON", got=f"{path}: {error}") from error
            yield _caption_of(path, row)


def _caption_of(path: Path, row: object) -> str:
    if not isinstance(row, dict) or not isinstance(row.get("caption"), str):
        raise _another_schema(path, "an entry without a caption")
    return remove_class_prompt(row["caption"], str(row.get("class_prompt") or ""))


def _another_schema(path: Path, got: str) -> PromptError:
    return PromptError(
        "JSON of an unknown kind",
        got=f"{path}: {got}",
        expected='COCO captions, a list of {"caption": …}, or one such object a line',
    )


def _parse_table(path: Path, text: str, header: str) -> Iterator[str]:
    names = _split_header(header)
    column = _caption_column(names)
    if column is None:
        raise PromptError("no caption column", got=f"{path}: {', '.join(names)}", fix="name one column `caption`")
    rows = csv.reader(io.StringIO(text), delimiter=_delimiter(header), skipinitialspace=True)
    try:
        next(rows)
        for row in rows:
            if len(row) > column:
                yield row[column]
    except csv.Error as error:
        raise PromptError("the file is not CSV", got=f"{path}, line {rows.line_num}: {error}") from error


def _delimiter(header: str) -> str:
    return max(",\t;|", key=header.count)


def _split_header(header: str) -> list[str]:
    return [name.strip().strip('"').lower() for name in header.split(_delimiter(header))]


def _caption_column(names: Sequence[str]) -> int | None:
    return next((names.index(name) for name in _CAPTION_COLUMNS if name in names), None)


def _is_json_lines(text: str) -> bool:
    first_line, _, rest = text.strip().partition("\n")
    return bool(rest) and first_line.startswith("{") and _is_json(first_line)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
