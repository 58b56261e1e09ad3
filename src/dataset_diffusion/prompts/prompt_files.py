"""Prompts on disk: ``prompts.jsonl``, and reading the published JSON format. Imports no torch.

The first line of ``prompts.jsonl`` is ``{"schema_version": 1, "class_set": {…}}``; every other line is one prompt with
the keys ``index``, ``text``, ``class_prompt``, ``classes`` and ``class_words``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from dataset_diffusion.disk.atomic import atomic_write, explained_write_errors, remove_leftovers
from dataset_diffusion.errors import ConfigError, PromptError, first_problem
from dataset_diffusion.prompts.captions import clean_caption, read_text, remove_class_prompt
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.prompts.compose import check_class_ids, compose_prompt
from dataset_diffusion.prompts.mentions import parse_class_prompt
from dataset_diffusion.records import Prompt

MAX_INDEX = 2**31 - 1
MAX_TEXT_LENGTH = 10_000
"""Characters; no text encoder reads as much."""

Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT_LENGTH)]


class _Header(BaseModel):
    schema_version: Literal[1]
    class_set: dict[str, object]


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    index: Annotated[int, Field(ge=0, le=MAX_INDEX)]
    text: Text
    class_prompt: Text
    classes: tuple[int, ...]
    class_words: tuple[Text, ...] = ()


class _PublishedEntry(BaseModel):
    caption: Text
    class_prompt: str
    filename: str = ""


Parsed = TypeVar("Parsed")


def write_prompts(path: Path | str, prompts: Iterable[Prompt], classes: ClassSet) -> None:
    """Write prompts and their class set, whole or not at all.

    Raises:
        DatasetError: the file cannot be written.
        PromptError: a prompt is no Unicode text.
    """
    path = Path(path)
    header = _Header(schema_version=1, class_set=classes.to_json())
    lines = [json.dumps(line, ensure_ascii=False) for line in (header.model_dump(), *map(asdict, prompts))]
    try:
        data = ("\n".join(lines) + "\n").encode()
    except UnicodeEncodeError as error:
        raise PromptError("a prompt cannot be written", got=str(error), fix="pass it through clean_caption") from error
    with explained_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, data)
    remove_leftovers(path)


def read_prompts(path: Path | str, classes: ClassSet | None = None) -> tuple[list[Prompt], ClassSet]:
    """Read prompts and the class set that their ids belong to.

    Args:
        path: ``prompts.jsonl``, or the published format: a JSON list of ``{"filename", "caption", "class_prompt"}``.
            Entries of the latter without a class are left out and the rest numbered from 0.
        classes: the class set. Needed where the file does not say it; where it does, the two must agree.

    Raises:
        PromptError: the file is missing, not UTF-8, holds no prompts, or holds one that is malformed, repeats an
            index or names a class outside the set.
    """
    path = Path(path)
    text = read_text(path)
    published = text.lstrip().startswith("[")
    lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    if not published and lines and '"class_set"' in lines[0][1]:
        classes = _read_header(path, lines.pop(0)[1], classes)
    if classes is None:
        raise PromptError("the prompts file does not say its class set", got=str(path), fix="name it with --classes")
    prompts = _read_published(path, text, classes) if published else _read_lines(path, lines, classes)
    if not prompts:
        raise PromptError("no prompts in the file", got=str(path), expected="at least one prompt with a class")
    return prompts, classes


def _read_lines(path: Path, lines: Iterable[tuple[int, str]], classes: ClassSet) -> list[Prompt]:
    prompts: dict[int, Prompt] = {}
    for number, line in lines:
        where = f"{path}, line {number}"
        prompt = _to_prompt(where, _parse(where, _Line.model_validate_json, line), classes)
        if prompt.index in prompts:
            raise PromptError("two prompts have the same index", got=f"{prompt.index} in {where}")
        prompts[prompt.index] = prompt
    return list(prompts.values())


def _read_header(path: Path, line: str, expected: ClassSet | None) -> ClassSet:
    where = f"{path}, line 1"
    try:
        classes = ClassSet.from_json(_parse(where, _Header.model_validate_json, line).class_set)
    except ConfigError as error:
        raise PromptError(f"{where}: {error}") from error
    if expected and (classes.names, classes.words) != (expected.names, expected.words):
        raise PromptError(
            "the prompts are for another class set", got=f"{classes.name} in {path}", expected=expected.name
        )
    return classes


def _to_prompt(where: str, line: _Line, classes: ClassSet) -> Prompt:
    check_class_ids(line.classes, classes, where)
    try:
        return Prompt(**line.model_dump())
    except PromptError as error:
        raise PromptError(f"{where}: {error}") from error


def _read_published(path: Path, text: str, classes: ClassSet) -> list[Prompt]:
    entries = _parse(str(path), TypeAdapter(list[_PublishedEntry]).validate_json, text)
    prompts: list[Prompt] = []
    for position, entry in enumerate(entries):
        if not entry.class_prompt.strip():
            continue
        class_ids = parse_class_prompt(entry.class_prompt, classes)
        if class_ids is None:
            raise PromptError(
                f"a class prompt that is not made of the classes of {classes.name!r}",
                got=f"{entry.class_prompt!r} in {path}, entry {position} {entry.filename}",
                fix="give --classes the class set that the prompts were made for",
            )
        caption = remove_class_prompt(clean_caption(entry.caption), clean_caption(entry.class_prompt))
        prompts.append(compose_prompt(len(prompts), caption, class_ids, classes))
    return prompts


def _parse(where: str, validate: Callable[[str], Parsed], text: str) -> Parsed:
    try:
        return validate(text)
    except ValidationError as error:
        raise PromptError(
            "not a prompts file",
            got=f"{where}: {first_problem(error)}",
            expected="what `dataset-diffusion prompts` writes",
        ) from error
