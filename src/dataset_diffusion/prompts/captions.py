"""Captions from files of the usual formats. Imports no torch."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from dataset_diffusion.errors import PromptError, Skipped, leave_out

MAX_CAPTION_LENGTH = 10_000
"""Characters. Anything longer is no caption but a file of another format."""

_CAPTION_COLUMNS = ("caption", "comment")
_TOKEN_LINE = re.compile(r"\S+#\d+\t(?P<caption>.*)")
_FIX = "correct it, or leave out what is bad with --skip-bad"
_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def read_captions(path: Path | str, skip_bad: Skipped | None = None) -> list[str]:
    """Captions of a file, in its order, whitespace tidied and empty ones left out.

    Reads COCO captions (JSON), the published prompts format (JSON; appended class words are taken off again), Flickr8k
    and Flickr30k token files, CSV, TSV and JSON lines with a ``caption`` column, and text with one caption a line.

    Args:
        path: the file.
        skip_bad: takes entries and lines without a caption, and lines that are not UTF-8; None refuses them.

    Raises:
        PromptError: the file is missing, holds no captions, or is JSON or CSV of another kind; an entry is bad.
    """
    path = Path(path)
    captions = [caption for caption in map(clean_caption, _parse(path, read_text(path, skip_bad), skip_bad)) if caption]
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


def read_text(path: Path, skip_bad: Skipped | None = None) -> str:
    """A text file's content, without a byte-order mark.

    Args:
        path: the file.
        skip_bad: takes lines that are not UTF-8, each of which then reads as an empty one; None refuses them.

    Raises:
        PromptError: it is missing, a folder, unreadable or not UTF-8.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PromptError("cannot read the file", got=str(path), expected=f"a text file ({error.strerror})") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return "\n".join(_decodable(path, content.split(b"\n"), skip_bad))


def _decodable(path: Path, lines: Sequence[bytes], skip_bad: Skipped | None) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        try:
            yield line.decode("utf-8-sig")
        except UnicodeDecodeError:
            where = f"{path}, line {number}"
            error = PromptError("the file is not UTF-8 text", got=where, fix="save it as UTF-8")
            leave_out(where, error, skip_bad)
            yield ""  # so that the lines after it keep their numbers


def clean_caption(caption: str) -> str:
    """A caption on one line, without control characters or the halves of broken characters."""
    return " ".join(_UNWRITABLE.sub(" ", caption).split())


def remove_class_prompt(text: str, class_prompt: str) -> str:
    """The caption of a text prompt: what stands before the appended ``"; <class prompt>"``."""
    caption, separator, appended = text.rpartition(";")
    return caption.rstrip() if separator and appended.strip() == class_prompt.strip() else text


def _parse(path: Path, text: str, skip_bad: Skipped | None) -> Iterable[str]:
    """Captions in the format that the extension names or, where it names none, the content shows."""
    suffix = path.suffix.lower()
    if suffix == ".jsonl" or _is_json_lines(text):
        return _parse_json_lines(path, text, skip_bad)
    if suffix == ".json" or (text.lstrip().startswith(("{", "[")) and _is_json(text)):
        return _parse_json(path, text, skip_bad)
    first_line = next((line for line in text.splitlines() if line.strip()), "")
    if _TOKEN_LINE.fullmatch(first_line):
        return _parse_token_lines(path, text, skip_bad)
    if suffix in (".csv", ".tsv") or _caption_column(_split_header(first_line)) is not None:
        return _parse_table(path, text, first_line, skip_bad)
    return text.splitlines()


def _parse_json(path: Path, text: str, skip_bad: Skipped | None) -> Iterator[str]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PromptError(
            "the file is not JSON", got=f"{path}: {error}", fix="if it is cut short, get it again"
        ) from error
    rows = content.get("annotations") if isinstance(content, dict) else content
    if not isinstance(rows, list):
        raise _another_schema(f"{path}: no list of captions or annotations")
    for number, row in enumerate(rows, start=1):
        yield from (row,) if isinstance(row, str) else _caption_of(row, f"{path}, entry {number}", skip_bad)


def _parse_json_lines(path: Path, text: str, skip_bad: Skipped | None) -> Iterator[str]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            where = f"{path}, line {number}"
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                bad = PromptError(f"line {number} is not JSON", got=f"{path}: {error}", fix=_FIX)
                leave_out(where, bad, skip_bad)
            else:
                yield from _caption_of(row, where, skip_bad)


def _caption_of(row: object, where: str, skip_bad: Skipped | None) -> Iterator[str]:
    if isinstance(row, dict) and isinstance(row.get("caption"), str):
        yield remove_class_prompt(row["caption"], str(row.get("class_prompt") or ""))
    else:
        leave_out(where, _another_schema(f"{where}: no caption"), skip_bad)


def _parse_token_lines(path: Path, text: str, skip_bad: Skipped | None) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), start=1):
        if match := _TOKEN_LINE.fullmatch(line):
            yield match["caption"]
        elif line.strip():
            where = f"{path}, line {number}"
            leave_out(where, _no_caption(where, "<photo>#<number><tab><caption>"), skip_bad)


def _no_caption(where: str, expected: str) -> PromptError:
    return PromptError("a line without a caption", got=where, expected=expected, fix=_FIX)


def _another_schema(got: str) -> PromptError:
    return PromptError(
        "JSON of an unknown kind",
        got=got,
        expected='COCO captions, a list of {"caption": …}, or one such object a line',
    )


def _parse_table(path: Path, text: str, header: str, skip_bad: Skipped | None) -> Iterator[str]:
    names = _split_header(header)
    column = _caption_column(names)
    if column is None:
        raise PromptError("no caption column", got=f"{path}: {', '.join(names)}", fix="name one column `caption`")
    rows = csv.reader(io.StringIO(text), delimiter=_delimiter(header), skipinitialspace=True)
    try:
        next(row for row in rows if any(map(str.strip, row)))  # the header, which blank lines may precede
        for row in rows:
            if len(row) > column:
                yield row[column]
            elif any(row):
                where = f"{path}, line {rows.line_num}"
                bad = _no_caption(f"{where}: {len(row)} columns", f"{len(names)} columns: {', '.join(names)}")
                leave_out(where, bad, skip_bad)
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
