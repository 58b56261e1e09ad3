"""Class sets: names, ids, prompt words, synonyms and colours. Imports no torch."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

from pydantic import TypeAdapter, ValidationError

from dataset_diffusion.errors import ConfigError, did_you_mean, first_problem

MAX_CLASSES = 254
"""A label map is uint8: 0 is the background and 255 is ignored."""
MAX_NAME_LENGTH = 100

BACKGROUND = "background"

Color = tuple[int, int, int]

_NOT_IN_NAMES = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff/\\]")


@dataclass(frozen=True)
class ClassSet:
    """The classes a dataset labels. Ids are 1..K in the order of ``names``; 0 is the background.

    Attributes:
        name: the set's name.
        names: the classes' names in the field's spelling (``tvmonitor``); they name files and table rows.
        words: the words that stand for each class in a prompt (``tv monitor``). Left out, they are the names.
        synonyms: other words by which captions mention each class, without plurals.
        colors: the benchmark's own RGB colours, 0..255. Left out, ``palette`` is PASCAL VOC's.
        draw_synonyms: prompts call a class by a synonym, because its own words draw nothing (dis5k's ``object``).

    Raises:
        ConfigError: no class, too many, two with one name or the same words, a name without a letter or digit, or one
            that cannot name a file.
    """

    name: str
    names: tuple[str, ...]
    words: tuple[str, ...] = ()
    # Left out of the hash only: finders are cached by class set, and hashing a thousand synonyms a caption is slow.
    synonyms: tuple[tuple[str, ...], ...] = field(default=(), hash=False)
    colors: tuple[Color, ...] = field(default=(), hash=False)
    draw_synonyms: bool = False

    ignore_index: ClassVar[int] = 255

    def __post_init__(self) -> None:
        object.__setattr__(self, "words", self.words or tuple(_as_words(name) for name in self.names))
        object.__setattr__(self, "synonyms", self.synonyms or ((),) * len(self.names))
        _check_names(self)
        if not len(self.names) == len(self.words) == len(self.synonyms) == (len(self.colors) or len(self.names)):
            raise ConfigError(
                f"class set {self.name!r} does not say the same number of classes everywhere",
                got=f"{len(self.names)} names, {len(self.words)} words, {len(self.synonyms)} synonyms, "
                f"{len(self.colors)} colors",
                expected="one entry per class",
            )

    @classmethod
    def from_names(cls, names: Sequence[str], name: str = "custom") -> ClassSet:
        """A class set of your own, in the order given.

        Names that a caption calls by other words too (person, tv, motorbike, ...) get those synonyms.

        Raises:
            ConfigError: as for the class itself.
        """
        if isinstance(names, str) or not isinstance(names, Sequence) or not all(isinstance(one, str) for one in names):
            raise ConfigError(
                "class names must be a list of strings", got=repr(names), fix='write ["forklift", "pallet"]'
            )
        names = [" ".join(unicodedata.normalize("NFC", one).split()) for one in names]
        _check_same_words(names)
        return cls(name, tuple(names))._with_synonyms()

    @property
    def num_classes(self) -> int:
        """K, the number of classes; the background is not counted."""
        return len(self.names)

    @property
    def ids(self) -> range:
        """1..K, the label ids of the classes."""
        return range(1, len(self.names) + 1)

    @property
    def label_ids(self) -> range:
        """0..K, the ids of a label map: the background and the classes. ``len`` of it is a segmenter's channels."""
        return range(len(self.names) + 1)

    @property
    def label_names(self) -> tuple[str, ...]:
        """The name of every label id: ``background``, then the classes."""
        return (BACKGROUND, *self.names)

    @property
    def palette(self) -> tuple[Color, ...]:
        """256 RGB colours, 0..255, indexed by label id, for palette PNGs."""
        palette = _voc_palette()
        return (palette[0], *self.colors, *palette[len(self.colors) + 1 :])

    def name_of(self, class_id: int) -> str:
        """Name of a label id; 0 is ``background``."""
        return BACKGROUND if class_id == 0 else self.names[self._position(class_id)]

    def word_of(self, class_id: int) -> str:
        """Prompt words of a class, by its id (1..K)."""
        return self.words[self._position(class_id)]

    def id_of(self, name: str) -> int:
        """Id of a class, by its name or its prompt words in any case; 0 for ``background``.

        Raises:
            ConfigError: the set has no such class.
        """
        wanted = _as_words(name).casefold()
        if wanted == BACKGROUND:
            return 0
        for class_id, (one, words) in enumerate(zip(self.names, self.words, strict=True), start=1):
            if wanted in (_as_words(one).casefold(), words.casefold()):
                return class_id
        raise ConfigError(f"class set {self.name!r} has no such class", got=name, expected=", ".join(self.names))

    def to_json(self) -> dict[str, Any]:
        """Plain lists and strings, for ``dataset.json`` and ``prompts.jsonl``."""
        values: dict[str, Any] = TypeAdapter(ClassSet).dump_python(self, mode="json")
        return values

    @classmethod
    def from_json(cls, values: object) -> ClassSet:
        """The class set that ``to_json`` wrote.

        Raises:
            ConfigError: not a class set.
        """
        try:
            return TypeAdapter(cls).validate_python(values)
        except ValidationError as error:
            raise ConfigError("not a class set", got=first_problem(error)) from error

    def _position(self, class_id: int) -> int:
        if not 1 <= class_id <= len(self.names):
            raise ConfigError(
                f"class set {self.name!r} has no such class id", got=class_id, expected=f"1..{len(self.names)}"
            )
        return class_id - 1

    def _with_synonyms(self) -> ClassSet:
        """Synonyms of every class that the lexicon knows by its name or its prompt words, beside those it has."""
        known = map(_synonyms_of, self.names, self.words)
        return replace(self, synonyms=tuple(own + more for own, more in zip(self.synonyms, known, strict=True)))


def class_set(name: str | Sequence[str]) -> ClassSet:
    """One of the known class sets, or one of your own class names.

    Args:
        name: ``voc``, ``coco``, ``cityscapes``, ``celebamask-hq``, ``dis5k``, or ``emoji`` (the embedded model's); or
            class names, in a list or with commas between.

    Raises:
        ConfigError: unknown name, or class names that cannot be used.

    Example:
        >>> class_set("forklift,pallet") == class_set(["forklift", "pallet"])
        True
    """
    if not isinstance(name, str) or "," in name:
        return resolve_classes(name)
    sets = _load_class_sets()
    if name not in sets:
        own = f'for classes of your own separate their names by commas, such as "forklift,pallet" or "{name},"'
        meant = did_you_mean(name, sets)
        raise ConfigError(
            "unknown class set", got=repr(name), expected=", ".join(sets), fix=f"{meant} {own}" if meant else own
        )
    return sets[name]


def resolve_classes(classes: ClassSet | str | Sequence[str]) -> ClassSet:
    """The class set that a setting names: a known set, or class names of your own, in a list or with commas between.

    Raises:
        ConfigError: unknown set, or class names that cannot be used.
    """
    if isinstance(classes, ClassSet):
        return classes
    if not isinstance(classes, str):
        return ClassSet.from_names(classes)
    if "," not in classes:
        return class_set(classes.strip())
    return ClassSet.from_names(classes.strip().removesuffix(",").split(","))


@cache
def load_toml(filename: str) -> dict[str, Any]:
    """One of the literal tables of this folder, read once; not to be changed."""
    return tomllib.loads((Path(__file__).parent / filename).read_text(encoding="utf-8"))


def is_own(classes: ClassSet) -> bool:
    """Whether a class set is a user's own, not one of the known."""
    return all(classes.names != known.names for known in _load_class_sets().values())


def backgrounds_of(classes: ClassSet) -> tuple[str, ...]:
    """Words for what is behind the objects, as in ``on the grass``: those of the known set that has all the classes.

    Most sets have none, since a model may not draw them.
    """
    for name, row in load_toml("class_sets.toml")["sets"].items():
        if "backgrounds" in row and set(classes.words) <= set(class_set(name).words):
            return tuple(row["backgrounds"])
    return ()


@cache
def _load_class_sets() -> dict[str, ClassSet]:
    sets = {}
    for name, row in load_toml("class_sets.toml")["sets"].items():
        words, synonyms = row.get("words", {}), row.get("synonyms", {})
        sets[name] = ClassSet(
            name,
            names=tuple(row["names"]),
            words=tuple(words.get(one, one) for one in row["names"]),
            synonyms=tuple(tuple(synonyms.get(one, ())) for one in row["names"]),
            colors=tuple((red, green, blue) for red, green, blue in row.get("colors", ())),
            draw_synonyms=row.get("draw_synonyms", False),
        )._with_synonyms()
    return sets


@cache
def _load_concepts() -> dict[str, tuple[str, ...]]:
    """All terms of a concept, by each of its interchangeable names."""
    concepts = load_toml("lexicon.toml")["concepts"]
    return {name: (*names.split(", "), *kinds) for names, kinds in concepts.items() for name in names.split(", ")}


def _synonyms_of(name: str, words: str) -> tuple[str, ...]:
    concepts = _load_concepts()
    terms = concepts.get(name.casefold()) or concepts.get(words.casefold(), ())
    return tuple(term for term in terms if term not in (name.casefold(), words.casefold()))


@cache
def _voc_palette() -> tuple[Color, ...]:
    """PASCAL VOC's colour map: the id's bits, lowest first, go to red, green, blue in turn, highest place first."""

    def channel(label: int, offset: int) -> int:
        return sum((label >> (3 * bit + offset) & 1) << (7 - bit) for bit in range(8))

    return tuple((channel(label, 0), channel(label, 1), channel(label, 2)) for label in range(256))


def _as_words(name: str) -> str:
    return " ".join(name.replace("_", " ").split())


def _check_names(classes: ClassSet) -> None:
    if not classes.names:
        raise ConfigError("a class set needs at least one class", got="none", fix="name the classes to draw")
    if len(classes.names) > MAX_CLASSES:
        raise ConfigError("too many classes", got=len(classes.names), expected=f"at most {MAX_CLASSES}")
    for name in chain([classes.name], classes.names, classes.words, *classes.synonyms):
        _check_name(name)
    for what, values in (("name", classes.names), ("prompt words", classes.words)):
        seen: set[str] = {BACKGROUND}
        for value in values:
            folded = _as_words(value).casefold()
            if folded in seen:
                why = "0 is the background already" if folded == BACKGROUND else f"two classes have the same {what}"
                raise ConfigError(why, got=value, fix="drop one of them")
            seen.add(folded)


def _check_same_words(names: Sequence[str]) -> None:
    """Refuse two names that differ in hyphens and spaces alone: captions mention both or none."""
    seen: dict[str, str] = {}
    for name in names:
        words = _as_words(name.replace("-", " ")).casefold()
        if words in seen and _as_words(name).casefold() != _as_words(seen[words]).casefold():
            raise ConfigError("two classes have the same words", got=f"{seen[words]}, {name}", fix="drop one of them")
        seen[words] = name


def _check_name(name: str) -> None:
    if not any(character.isalnum() for character in name):
        raise ConfigError("a class without prompt words", got=repr(name), expected="a name with a letter or a digit")
    if len(name) > MAX_NAME_LENGTH:
        raise ConfigError(
            "class name too long", got=f"{len(name)} characters: {name[:40]}…", expected=f"at most {MAX_NAME_LENGTH}"
        )
    if _NOT_IN_NAMES.search(name):
        raise ConfigError(
            "class name that cannot name a file", got=ascii(name), expected="no slashes and no control characters"
        )
