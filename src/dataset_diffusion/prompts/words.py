"""Other words for classes, and words for what only looks like them: a TOML file that a user edits. Imports no torch.

A table for each class: ``synonyms``, by which captions mention it, and ``look_alikes``, which no written caption uses.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from dataset_diffusion.disk.atomic import atomic_write, explained_write_errors, remove_leftovers
from dataset_diffusion.errors import ConfigError, first_problem
from dataset_diffusion.prompts.captions import clean_caption
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.prompts.mentions import find_classes
from dataset_diffusion.prompts.writers.chat import Ask
from dataset_diffusion.seeding import random_from

MAX_PROPOSED = 8
"""Words of a kind that are kept for a class."""
_MAX_WORDS = 3
_HEAD = """# Words for the classes; edit them, then pass the file as --words.
# synonyms: captions that use one of them show the class.
# look_alikes: things that look like the class and are none; no caption that is written uses them.
"""
_BEFORE_WORD = re.compile(r"^\s*(?:[-*•]|\d+[.)])?\s*")


class ClassWords(BaseModel):
    """The words of one class."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    synonyms: tuple[str, ...] = ()
    look_alikes: tuple[str, ...] = ()


@dataclass(frozen=True)
class WordList:
    """The words of some classes, by name."""

    words: Mapping[str, ClassWords]

    @classmethod
    def read(cls, file: Path) -> WordList:
        """Read a file; a ConfigError where that cannot be done or it says anything else."""
        try:
            values = tomllib.loads(file.read_text(encoding="utf-8-sig"))
            return cls(TypeAdapter(dict[str, ClassWords]).validate_python(values))
        except OSError as error:
            raise ConfigError("cannot read the words", got=f"{file}: {error.strerror}") from error
        except ValidationError as error:
            expected = "a table for each class with lists `synonyms` and `look_alikes`"
            raise ConfigError(f"{file} is no list of words", got=first_problem(error), expected=expected) from error
        except ValueError as error:
            raise ConfigError("the words are not TOML", got=f"{file}: {error}") from error

    def write(self, file: Path) -> None:
        """Write a file for a user to edit. Raises a DatasetError where it cannot be written."""
        # JSON's strings and lists are TOML as they are.
        tables = [
            "\n".join(
                [f"[{_as_toml(name)}]", *(f"{kind} = {_as_toml(list(words))}" for kind, words in row)],
            )
            for name, row in self.words.items()
        ]
        with explained_write_errors(file):
            file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(file, ("\n\n".join([_HEAD.rstrip(), *tables]) + "\n").encode())
        remove_leftovers(file)

    def added_to(self, classes: ClassSet) -> ClassSet:
        """The class set with these synonyms beside its own; a ConfigError where a class is none of it."""
        synonyms = list(classes.synonyms)
        for name, row in self.words.items():
            position = classes.id_of(name) - 1
            if position < 0:
                raise ConfigError("the background has no words", got=name, fix="drop its table")
            synonyms[position] = tuple(dict.fromkeys((*synonyms[position], *row.synonyms)))
        return replace(classes, synonyms=tuple(synonyms))

    @property
    def look_alikes(self) -> tuple[str, ...]:
        """Those of all classes."""
        return tuple(word for row in self.words.values() for word in row.look_alikes)


def propose_words(classes: ClassSet, ask: Ask, seed: int) -> Iterator[tuple[str, ClassWords]]:
    """What a chat model proposes for each class, by name. No word is of another class, or of two kinds."""
    for name, word in zip(classes.names, classes.words, strict=True):
        questions = [
            f'List up to {MAX_PROPOSED} other words by which people call a "{word}" in photo captions. One a line.',
            f'List up to {MAX_PROPOSED} things that look like a "{word}" in photos but are none. One a line.',
        ]
        answers = ask(questions, random_from(seed, "words", name).getrandbits(63))
        synonyms, look_alikes = (list(_proposed(answer, classes)) for answer in answers)
        yield (
            name,
            ClassWords(
                synonyms=tuple(synonyms),
                look_alikes=tuple(one for one in look_alikes if one not in synonyms),
            ),
        )


def _proposed(answer: str, classes: ClassSet) -> Iterator[str]:
    """The first words of an answer, a line each, that no class is called by yet."""
    lines = (clean_caption(_BEFORE_WORD.sub("", line)).strip("\"'“”*` .,").casefold() for line in answer.splitlines())
    fitting = (
        line
        for line in dict.fromkeys(lines)
        if 0 < len(line.split()) <= _MAX_WORDS and line.replace(" ", "").replace("-", "").isalpha()
    )
    new = [line for line in fitting if not find_classes(line, classes)]
    yield from new[:MAX_PROPOSED]


def _as_toml(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
