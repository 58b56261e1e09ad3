"""Which classes given photos show, by what their user says of them: captions, a table, or their folders. No torch."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from dataset_diffusion.errors import ConfigError, PromptError, Skipped, leave_out
from dataset_diffusion.prompts.captions import clean_caption, read_text, remove_class_prompt
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.prompts.mentions import find_classes
from dataset_diffusion.records import Prompt, Scene

NAME_COLUMNS = ("file_name", "filename", "photo", "image", "file")
CAPTION_COLUMNS = ("caption", "comment")
CLASS_COLUMNS = ("classes", "class")

Named = tuple[str, str]
"""The name of a photo, and what a file says of it."""

_TOKEN_LINE = re.compile(r"(?P<name>.+)#\d+\t(?P<said>.*)")
_SEPARATORS = re.compile(r"[;|,]")
_FIX = "correct it, or leave out what is bad with --skip-bad"


def read_captioned_classes(file: Path, classes: ClassSet, skip_bad: Skipped | None = None) -> dict[str, Scene]:
    """By the name of each photo its caption, and the classes that its captions mention.

    Reads COCO captions (JSON with ``images`` and ``annotations``), JSON lists and lines of objects and tables (CSV,
    TSV) with a column of ``NAME_COLUMNS`` and one of ``CAPTION_COLUMNS``, and Flickr8k and Flickr30k token files. Of
    several captions of a photo the one that mentions most classes is taken, the first of those that do.

    Args:
        file: the captions.
        classes: what is looked for.
        skip_bad: takes entries without a name or a caption; None refuses them.

    Raises:
        PromptError: the file cannot be read, or names no photo.
    """
    said: dict[str, list[Scene]] = {}
    for name, text in _read_named(file, CAPTION_COLUMNS, skip_bad):
        caption = clean_caption(text)
        said.setdefault(name, []).append(Scene(caption, find_classes(caption, classes)))
    return {
        name: Scene(
            max(scenes, key=lambda scene: len(scene.classes)).caption,
            tuple(dict.fromkeys(class_id for scene in scenes for class_id in scene.classes)),
        )
        for name, scenes in said.items()
    }


def read_class_table(file: Path, classes: ClassSet, skip_bad: Skipped | None = None) -> dict[str, Scene]:
    """By the name of each photo the classes that a table (CSV, TSV, JSON lines) lists, ``;`` between them; no caption.

    Raises:
        PromptError: the file cannot be read, or names no photo.
        ConfigError: it names a class that the set does not have, and nothing is to be skipped.
    """
    found: dict[str, Scene] = {}
    for name, listed in _read_named(file, CLASS_COLUMNS, skip_bad):
        try:
            ids = [classes.id_of(one) for one in _SEPARATORS.split(listed) if one.strip()]
        except ConfigError as error:
            leave_out(name, ConfigError(f"{file}, of the photo {name}: {error}"), skip_bad)
        else:
            found[name] = Scene("", tuple(dict.fromkeys(class_id for class_id in ids if class_id)))
    return found


def write_class_table(photos: Iterable[tuple[str, Prompt]], classes: ClassSet) -> bytes:
    """A CSV file of the names of photos with their classes and captions: what the readers of this module read."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow((NAME_COLUMNS[0], CLASS_COLUMNS[0], CAPTION_COLUMNS[0]))
    for name, prompt in photos:
        caption = remove_class_prompt(prompt.text, prompt.class_prompt)
        rows.writerow((name, ";".join(map(classes.name_of, prompt.classes)), caption))
    return text.getvalue().encode(errors="surrogateescape")


def scenes_of_folders(photos: Sequence[Path], classes: ClassSet) -> list[Scene | None]:
    """Of each photo the class that its folder is named after; None where that is no class."""
    return [_scene_of_folder(photo.absolute().parent.name, classes) for photo in photos]


def _scene_of_folder(folder: str, classes: ClassSet) -> Scene | None:
    try:
        class_id = classes.id_of(folder)
    except ConfigError:
        return None
    return Scene("", (class_id,)) if class_id else None


def match_photos(names: Sequence[str], said: dict[str, Scene], file: Path) -> list[Scene | None]:
    """What a file says of each photo: by its path below the folder, else by its name where one photo has it; or None.

    Raises:
        PromptError: it says nothing of any of them.
    """
    uses = Counter(PurePosixPath(name).name for name in said)
    by_name = {last: scene for name, scene in said.items() if uses[last := PurePosixPath(name).name] == 1}
    matched = [said.get(name) or by_name.get(PurePosixPath(name).name) for name in names]
    if not any(matched):
        raise PromptError(
            "the file names none of the photos",
            got=f"{next(iter(said), 'no name')} in {file}",
            expected=f"names such as {names[0]}",
        )
    return matched


def _read_named(file: Path, columns: Sequence[str], skip_bad: Skipped | None) -> list[Named]:
    text = read_text(file, skip_bad)
    named = list(_parse(file, text, columns, skip_bad))
    if not named:
        raise _nameless(f"{file}: nothing", columns)
    return named


def _parse(file: Path, text: str, columns: Sequence[str], skip_bad: Skipped | None) -> Iterator[Named]:
    start = text.lstrip()[:1]
    first_line, _, others = text.strip().partition("\n")
    if start == "{" and (file.suffix.lower() == ".jsonl" or (first_line.endswith("}") and others)):
        lines = ((number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip())
        rows = [(number, _load(f"{file}, line {number}", line)) for number, line in lines]
        return _named_rows(rows, file, "line", columns, skip_bad)
    if start in ("{", "["):
        return _named_rows(list(enumerate(_coco_rows(_load(file, text)), start=1)), file, "entry", columns, skip_bad)
    if _TOKEN_LINE.fullmatch(first_line.rstrip("\r")):
        matches = filter(None, (_TOKEN_LINE.fullmatch(line.rstrip("\r")) for line in text.split("\n")))
        return ((match["name"], match["said"]) for match in matches)
    return _table_rows(file, text.strip(), first_line, columns, skip_bad)


def _load(where: object, text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PromptError("the file is not JSON", got=f"{where}: {error}") from error


def _coco_rows(content: object) -> Sequence[object]:
    """The annotations of a COCO file, each with the name of its image; a list as it is."""
    if not isinstance(content, dict):
        return content if isinstance(content, list) else []
    images, annotations = content.get("images"), content.get("annotations")
    rows = annotations if isinstance(annotations, list) else []
    # As text, since some tools write ids as numbers in one list and as strings in the other.
    names = {
        str(image.get("id")): image.get("file_name")
        for image in (images if isinstance(images, list) else ())
        if isinstance(image, dict)
    }
    return [{"file_name": names.get(str(row.get("image_id")))} | row if isinstance(row, dict) else row for row in rows]


def _named_rows(
    rows: Iterable[tuple[int, object]], file: Path, unit: str, columns: Sequence[str], skip_bad: Skipped | None
) -> Iterator[Named]:
    for number, row in rows:
        values = row if isinstance(row, dict) else {}
        name, said = (next(filter(None, map(values.get, keys)), None) for keys in (NAME_COLUMNS, columns))
        said = ";".join(map(str, said)) if isinstance(said, list) else said
        if isinstance(name, str) and isinstance(said, str):
            yield name, said
        else:
            where = f"{file}, {unit} {number}"
            leave_out(where, _nameless(where, columns), skip_bad)


def _table_rows(
    file: Path, text: str, header: str, columns: Sequence[str], skip_bad: Skipped | None
) -> Iterator[Named]:
    delimiter = max(",\t;|", key=header.count)
    rows = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True)
    names = [name.strip().lower() for name in next(rows, [])]
    name_column, said_column = (
        next((names.index(one) for one in kind if one in names), None) for kind in (NAME_COLUMNS, columns)
    )
    if name_column is None or said_column is None:
        raise _nameless(f"{file}: {', '.join(names)}", columns)
    try:
        for row in rows:
            if len(row) > max(name_column, said_column) and row[name_column].strip():
                yield row[name_column].strip(), row[said_column]
            elif any(map(str.strip, row)):
                where = f"{file}, line {rows.line_num}"
                leave_out(where, _nameless(where, columns), skip_bad)
    except csv.Error as error:
        raise PromptError("the file is not CSV", got=f"{file}, line {rows.line_num}: {error}") from error


def _nameless(got: str, columns: Sequence[str]) -> PromptError:
    return PromptError(
        "the file does not say it of photos by their names",
        got=got,
        expected=f"{NAME_COLUMNS[0]} and {columns[0]}",
        fix=_FIX,
    )
