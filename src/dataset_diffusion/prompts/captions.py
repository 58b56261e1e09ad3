"""Captions from files of the usual formats. Imports no torch."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Hashable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from dataset_diffusion.disk.photos import SUFFIXES
from dataset_diffusion.errors import PromptError, Skipped, leave_out

MAX_CAPTION_LENGTH = 10_000
"""Characters. Anything longer is no caption but a file of another format."""

MAX_LINES_OF_A_ROW = 20
"""A row of CSV that goes on for longer has a quote that nobody closed."""

_CAPTION_COLUMNS = ("caption", "comment")
_TOKEN_LINE = re.compile(r"\S+#\d+\t(?P<caption>.*)")
_PHOTO_FIRST = re.compile(
    rf"[^\t,;|]+({'|'.join(map(re.escape, SUFFIXES))})\s*[\t,;|]\s*(\d+\s*[\t,;|])?(?P<caption>.*)", re.IGNORECASE
)
_LINE_END = re.compile(r"\r\n|\r|\n")  # unlike str.splitlines, which knows separators that captions may hold
_FIX = "correct it, or leave out what is bad with --skip-bad"
_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


class Caption(NamedTuple):
    """A caption of a file, and what the file says beside it.

    Attributes:
        text: the caption, on one line.
        image: the id of its image in COCO's files; None where there is none.
        class_prompt: the class words of the published prompts format; None in the others.
    """

    text: str
    image: Hashable | None = None
    class_prompt: str | None = None


def read_captions(path: Path | str, skip_bad: Skipped | None = None) -> list[str]:
    """The texts of `read_captioned`."""
    return [caption.text for caption in read_captioned(path, skip_bad)]


def read_captioned(path: Path | str, skip_bad: Skipped | None = None) -> list[Caption]:
    """Captions of a file, in its order, whitespace tidied and empty ones left out.

    Reads COCO captions (JSON), the published prompts format (JSON; appended class words are taken off again), Flickr8k
    and Flickr30k token files, CSV, TSV and JSON lines with a ``caption`` column, and text with one caption a line, that
    the name of a photo may precede.

    Args:
        path: the file.
        skip_bad: takes entries and lines without a caption, and lines that are not UTF-8; None refuses them.

    Raises:
        PromptError: the file is missing, holds no captions, or is JSON or CSV of another kind; an entry is bad.
    """
    path = Path(path)
    parsed = _parse(path, read_text(path, skip_bad), skip_bad)
    cleaned = (caption._replace(text=clean_caption(caption.text)) for caption in parsed)
    captions = [caption for caption in cleaned if caption.text]
    if not captions:
        raise PromptError("no captions in the file", got=str(path), expected="at least one caption")
    longest = max(len(caption.text) for caption in captions)
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


def _parse(path: Path, text: str, skip_bad: Skipped | None) -> Iterable[Caption]:
    """Captions in the format that the extension names or, where it names none, the content shows."""
    suffix = path.suffix.lower()
    if suffix == ".jsonl" or _is_json_lines(text):
        return _parse_json_lines(path, text, skip_bad)
    if suffix == ".json" or (text.lstrip().startswith(("{", "[")) and _is_json(text)):
        return _parse_json(path, text, skip_bad)
    lines = _LINE_END.split(text)
    first_line = next((line for line in lines if line.strip()), "")
    if _TOKEN_LINE.fullmatch(first_line):
        return map(Caption, _parse_token_lines(path, lines, skip_bad))
    if suffix in (".csv", ".tsv") or _caption_column(_split_header(first_line)) is not None:
        return map(Caption, _parse_table(path, lines, skip_bad))
    return (Caption(match["caption"] if (match := _PHOTO_FIRST.fullmatch(line)) else line) for line in lines)


def _parse_json(path: Path, text: str, skip_bad: Skipped | None) -> Iterator[Caption]:
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
        yield from (Caption(row),) if isinstance(row, str) else _caption_of(row, f"{path}, entry {number}", skip_bad)


def _parse_json_lines(path: Path, text: str, skip_bad: Skipped | None) -> Iterator[Caption]:
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


def _caption_of(row: object, where: str, skip_bad: Skipped | None) -> Iterator[Caption]:
    if isinstance(row, dict) and isinstance(row.get("caption"), str):
        class_prompt, image = row.get("class_prompt"), row.get("image_id")
        yield Caption(
            remove_class_prompt(row["caption"], str(class_prompt or "")),
            image if isinstance(image, int | str) else None,
            class_prompt if isinstance(class_prompt, str) else None,
        )
    else:
        leave_out(where, _another_schema(f"{where}: no caption"), skip_bad)


def _parse_token_lines(path: Path, lines: Sequence[str], skip_bad: Skipped | None) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
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


def _parse_table(path: Path, lines: Sequence[str], skip_bad: Skipped | None) -> Iterator[str]:
    start = next((number for number, line in enumerate(lines) if line.strip()), 0)
    names = _split_header(lines[start])
    delimiter, column = _delimiter(lines[start]), _caption_column(names)
    if column is None:
        raise PromptError("no caption column", got=f"{path}: {', '.join(names)}", fix="name one column `caption`")
    number = start + 1
    while number < len(lines):
        where = f"{path}, line {number + 1}"
        try:
            row, length = _read_row(lines, number, delimiter)
        except csv.Error as error:
            leave_out(where, PromptError("the file is not CSV", got=f"{where}: {error}", fix=_FIX), skip_bad)
            number += 1
            continue
        if len(row) > len(names) and column == len(names) - 1 and '"' not in lines[number]:
            row = lines[number].split(delimiter, maxsplit=column)  # what the last column has of delimiters is its own
        number += length
        if column < len(row) <= len(names):
            yield row[column]
        elif any(map(str.strip, row)):
            what = f"{where}: {len(row)} columns"
            leave_out(where, _no_caption(what, f"{len(names)} columns: {', '.join(names)}"), skip_bad)


def _read_row(lines: Sequence[str], start: int, delimiter: str) -> tuple[list[str], int]:
    """The row of a table that begins in a line, and how many lines it has; a csv.Error where it is none."""
    if delimiter in "|\t":  # in whose files quotes are part of the text
        return [_unquote(field.strip()) for field in lines[start].split(delimiter)], 1
    stop = min(start + MAX_LINES_OF_A_ROW, len(lines))
    rows = csv.reader(
        (f"{lines[number]}\n" for number in range(start, stop)), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    row = next(rows, [])
    if any(delimiter in line for line in lines[start + 1 : start + rows.line_num]):
        raise csv.Error("a quote that is not closed in its line")
    return row, rows.line_num


def _unquote(field: str) -> str:
    return field[1:-1].replace('""', '"') if len(field) > 1 and field[0] == field[-1] == '"' else field


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
