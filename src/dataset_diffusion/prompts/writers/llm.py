"""Captions by a chat model: every line is checked, and what does not pass is asked for again. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dataset_diffusion.config import config_hash
from dataset_diffusion.disk.atomic import read_json, write_json
from dataset_diffusion.errors import PromptError
from dataset_diffusion.prompts.captions import clean_caption
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.prompts.mentions import find_classes, gist, has_word
from dataset_diffusion.prompts.writers.chat import Ask
from dataset_diffusion.prompts.writers.scenes import Grammar
from dataset_diffusion.records import Scene
from dataset_diffusion.seeding import random_from

SHARD_SIZE = 16
"""Captions asked for at once, and kept in one file."""
MAX_ASKED = 6
"""Times that a caption is asked for before the grammar of `scenes` writes it."""
MIN_WORDS = 4

_BEFORE_TEXT = re.compile(r"^\s*(?:[-*•]|\d+[.)]|(?:sure|here|caption)\b[^:]*:)\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Request:
    """What captions are asked for.

    Attributes:
        llm: name of the chat model.
        class_set: the classes.
        seed: the run's seed.
        unwanted: words that no caption may have.
    """

    llm: str
    class_set: ClassSet
    seed: int
    unwanted: tuple[str, ...] = ()

    @property
    def identity(self) -> str:
        """What tells the captions from others."""
        asked = {"llm": self.llm, "classes": self.class_set.to_json(), "seed": self.seed, "unwanted": self.unwanted}
        return config_hash(asked)


@dataclass(frozen=True)
class Written:
    """A shard of captions.

    Attributes:
        scenes: captions and the classes that they mention.
        by_grammar: how many the chat model did not manage.
    """

    scenes: tuple[Scene, ...]
    by_grammar: int


def write_shards(
    request: Request,
    class_ids: Sequence[Sequence[int]],
    load: Callable[[], Ask],
    folder: Path,
    fits: Callable[[str, Sequence[int]], bool],
) -> Iterator[Written]:
    """Captions that mention given classes and no other, shard by shard; those in the folder are not asked for again.

    A shard follows from the request, its class ids and the shards before it. The chat model is loaded when a shard is
    missing.

    Args:
        request: what is asked for.
        class_ids: of every caption; a multiple of `SHARD_SIZE` of them.
        load: loads the chat model, and gives what answers.
        folder: where shards are kept, ``00000.json``, …
        fits: whether a caption and its classes can be drawn.

    Raises:
        PromptError: the folder holds captions of another request, or a file of it cannot be read.
        ModelError: the chat model cannot be loaded.
        DatasetError: a file cannot be written.
    """
    said, ask = set[str](), None
    for shard in range(len(class_ids) // SHARD_SIZE):
        wanted = [tuple(ids) for ids in class_ids[shard * SHARD_SIZE : (shard + 1) * SHARD_SIZE]]
        file = folder / f"{shard:05}.json"
        if not file.exists():
            ask = ask or load()
            made = _ask(ask, request, shard, wanted, said, fits=fits)
            write_json(file, {"request": request.identity, "by_grammar": made.by_grammar, "captions": made.scenes})
        written = _read(file, request, wanted)
        said.update(gist(caption) for caption, _ in written.scenes)
        yield written


def check_caption(caption: str, class_ids: Sequence[int], request: Request, said: set[str]) -> str | None:
    """Why a caption cannot be used; None where it can."""
    words = caption.split()
    if len(words) < MIN_WORDS:
        return "too short"
    if set(find_classes(caption, request.class_set)) != set(class_ids):
        return "other classes"
    if has_word(caption, request.unwanted):
        return "an unwanted word"
    return "said before" if gist(caption) in said else None


def first_caption(answer: str) -> str:
    """The first line of an answer, without what chat models put around it."""
    line = next((line for line in answer.splitlines() if line.strip()), "")
    return clean_caption(_BEFORE_TEXT.sub("", line)).strip("\"'“”*` ").rstrip(".")


def _ask(
    ask: Ask,
    request: Request,
    shard: int,
    wanted: Sequence[tuple[int, ...]],
    said: set[str],
    *,
    fits: Callable[[str, Sequence[int]], bool],
) -> Written:
    classes, said = request.class_set, set(said)
    grammar = Grammar(classes, random_from(request.seed, "llm settings", shard))
    found: dict[int, Scene] = {}
    for attempt in range(MAX_ASKED):
        missing = [number for number in range(len(wanted)) if number not in found]
        if not missing:
            break
        questions = [_question(classes, wanted[number], grammar.setting(wanted[number])) for number in missing]
        seed = random_from(request.seed, "llm", shard, attempt).getrandbits(63)
        for number, answer in zip(missing, ask(questions, seed), strict=True):
            caption, ids = first_caption(answer), wanted[number]
            if check_caption(caption, ids, request, said) is None and fits(caption, ids):
                found[number] = Scene(caption, find_classes(caption, classes))
                said.add(gist(caption))
    by_grammar = len(wanted) - len(found)
    for number, ids in enumerate(wanted):
        if number not in found:
            captions = grammar.captions(ids)
            last = next(captions)
            while check_caption(last, ids, request, said) is not None and (another := next(captions, None)):
                last = another
            found[number] = Scene(last, ids)
            said.add(gist(last))
    return Written(tuple(found[number] for number in range(len(wanted))), by_grammar)


def _question(classes: ClassSet, class_ids: Sequence[int], setting: str) -> str:
    words = [classes.word_of(class_id) for class_id in class_ids]
    named = " and ".join(f'"{word}"' for word in words)
    return (
        f"Write the caption of one photo that shows {named}, {setting}. "
        f"Use the word{'s' * (len(words) > 1)} {named}, name no other thing that could be searched for in the photo, "
        "and say how the scene looks. One sentence of 8 to 20 words and nothing else."
    )


def _read(file: Path, request: Request, wanted: Sequence[tuple[int, ...]]) -> Written:
    fix = "delete the folder, or use another --out"
    values = read_json(file, fix, PromptError)
    try:
        scenes = tuple(Scene(str(caption), tuple(map(int, ids))) for caption, ids in values["captions"])
        identity, by_grammar = values["request"], int(values["by_grammar"])
    except (KeyError, TypeError, ValueError) as error:
        raise PromptError(f"cannot read {file}", got=repr(error), fix=fix) from error
    if identity != request.identity or [set(ids) for _, ids in scenes] != [set(ids) for ids in wanted]:
        raise PromptError(f"{file.parent} holds captions of another request", fix=fix)
    return Written(scenes, by_grammar)
