"""Which classes a caption mentions: names, prompt words, synonyms and plurals; the longest match decides. No torch."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from dataset_diffusion.prompts.class_sets import ClassSet, is_own, load_toml

# Hyphens and underscores join words ("teddy-bear"); any other punctuation keeps them apart ("hot, dog").
_TOKEN = re.compile(r"[^\W_]+|[^\w\s\-]")
# Chinese, Japanese, Thai, Lao, Burmese and Khmer put no spaces between words: there every character is a token.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U000323af"
)
_TOKEN_ANYWHERE = re.compile(rf"[{_UNSPACED}]|(?:(?![{_UNSPACED}])[^\W_])+|[^\w\s\-]")
_NONE = 0
_ARTICLES = frozenset({"a", "an", "the"})
_IRREGULAR_PLURALS = {
    "cattle": "cattle",
    "child": "children",
    "goose": "geese",
    "mouse": "mice",
    "ox": "oxen",
    "person": "persons",
    "sheep": "sheep",
}
_WITHOUT_SINGULAR = frozenset(
    {"briefs", "canvas", "clothes", "gas", "glasses", "goods", "jeans", "lens", "news", "pants", "shorts", "tights"}
)
"""Nouns in -s of which the word without it is another one."""
_PLURAL_ENDINGS = {"man": "men", "fe": "ves", "f": "ves", "y": "ies"}

Phrase = tuple[str, ...]


def find_classes(caption: str, classes: ClassSet) -> tuple[int, ...]:
    """Ids of the classes that a caption mentions, in order of first mention.

    Words are matched whole and in any case, hyphens count as spaces, and a longer phrase hides the shorter ones in it:
    "hot dog" is no dog and "teddy bear" no bear, in whatever class set. Words that describe the noun after them are no
    mentions ("orange cat"), nor are looks and purposes ("bear shaped", "dog food"), nor animals' kin ("a mother and
    baby zebra" are no people).
    """
    return tuple(dict.fromkeys(class_id for class_id, _, _ in _mentions(split_words(caption), _lexicon(classes))))


def find_words(caption: str, classes: ClassSet) -> dict[int, str]:
    """The words by which a caption first mentions each class, by class id, in the order of ``find_classes``."""
    tokens = split_words(caption)
    words: dict[int, str] = {}
    for class_id, start, stop in _mentions(tokens, _lexicon(classes)):
        words.setdefault(class_id, " ".join(tokens[start:stop]))
    return words


def parse_class_prompt(class_prompt: str, classes: ClassSet) -> tuple[int, ...] | None:
    """Ids of the classes that a class prompt names one after another; None if it says anything else.

    Only names and prompt words count: "bus stop sign" is a bus and a stop sign.
    """
    tokens = split_words(class_prompt)
    ids, length = [], 0
    for class_id, start, stop in _mentions(tokens, _name_lexicon(classes)):
        ids.append(class_id)
        length += stop - start
    return tuple(dict.fromkeys(ids)) if ids and length == len(tokens) else None


def split_words(text: str) -> list[str]:
    """Words and punctuation of a text, case-folded: two texts that differ in case and spacing only split alike, and in
    whether their accents are composed.
    """
    if text.isascii():
        return _TOKEN.findall(text.casefold())
    return _TOKEN_ANYWHERE.findall(unicodedata.normalize("NFC", text.casefold()).replace("’", "'"))


def gist(text: str) -> str:
    """The same for near-duplicates: texts of the same words, whatever their order and number, articles not counted.

    One string, because the sets of a million captions would fill the memory.
    """
    words = {word for word in split_words(text) if word.isalnum()}
    return " ".join(sorted(words - _ARTICLES))


def has_word(text: str, words: Iterable[str]) -> bool:
    """Whether a text has one of some words or phrases, or its plural."""
    said = f" {' '.join(split_words(text))} "
    return any(f" {' '.join(form)} " in said for word in words for form in _forms(word))


@dataclass(frozen=True)
class _Lexicon:
    """What every phrase says: the phrases that start with a word, longest first, each with its class id (0: none)."""

    phrases: dict[str, list[tuple[Phrase, int]]]
    kin: frozenset[str] = frozenset()
    animals: frozenset[str] = frozenset()
    before: frozenset[str] = frozenset()
    attributive: frozenset[str] = frozenset()
    after_noun: frozenset[str] = frozenset()
    colors: frozenset[str] = frozenset()

    def longest_match(self, tokens: list[str], start: int) -> tuple[int, int]:
        """Class id and number of tokens of the longest phrase that starts here; (0, 1) if there is none."""
        for phrase, class_id in self.phrases.get(tokens[start], ()):
            if len(phrase) == 1 or tuple(tokens[start : start + len(phrase)]) == phrase:
                return class_id, len(phrase)
        return _NONE, 1

    def is_of_animals(self, tokens: list[str], start: int) -> bool:
        """Whether the match tokens[start:] is an animal's kin: "a mother and baby zebra"."""
        return tokens[start] in self.kin and not self.animals.isdisjoint(tokens)

    def describes_what_follows(self, tokens: list[str], start: int, stop: int) -> bool:
        """Whether the match tokens[start:stop] only tells the kind, look or purpose of the noun after it."""
        if stop == len(tokens):
            return False
        following = tokens[stop]
        if following in self.before:
            return tokens[stop + 1 : stop + 2] != ["like"]  # "a kite shaped like a fish" is a kite
        if tokens[start] not in self.attributive or stop - start > 1:
            return False
        if following in ("and", ",") and stop + 1 < len(tokens) and tokens[stop + 1] in self.colors:
            return True
        return following.isalnum() and following not in self.after_noun and not following.endswith("ing")


def _mentions(tokens: list[str], lexicon: _Lexicon) -> Iterator[tuple[int, int, int]]:
    """Class id, first token and the token after the last one of each mention, left to right."""
    start = 0
    while start < len(tokens):
        class_id, length = lexicon.longest_match(tokens, start)
        stop = start + length
        if class_id and not (
            lexicon.is_of_animals(tokens, start) or lexicon.describes_what_follows(tokens, start, stop)
        ):
            yield class_id, start, stop
        start = stop


@lru_cache(maxsize=16)
def _lexicon(classes: ClassSet) -> _Lexicon:
    not_mentions = load_toml("lexicon.toml")["not_mentions"]
    meanings = {form: _NONE for phrase in not_mentions["phrases"] for form in _forms(phrase)}
    if is_own(classes):
        for class_id, words in enumerate(classes.words, start=1):
            meanings.update(dict.fromkeys(_singulars(words), class_id))
    for class_id, synonyms in enumerate(classes.synonyms, start=1):
        meanings.update({form: class_id for term in synonyms for form in _forms(term)})
    # Last, so that a class's own name beats another's synonym and every phrase that is no mention elsewhere.
    meanings.update(_name_meanings(classes))
    others = {key: frozenset(value) for key, value in not_mentions.items() if key != "phrases"}
    return _Lexicon(_by_first_word(meanings), **others)


@lru_cache(maxsize=16)
def _name_lexicon(classes: ClassSet) -> _Lexicon:
    return _Lexicon(_by_first_word(_name_meanings(classes)))


def _name_meanings(classes: ClassSet) -> dict[Phrase, int]:
    """What names and prompt words say, and their plurals, where these are no name or words of another class."""
    own: dict[Phrase, int] = {}
    plurals: dict[Phrase, int] = {}
    for class_id, terms in enumerate(zip(classes.names, classes.words, strict=True), start=1):
        for term in terms:
            itself, *others = _forms(term)
            own[itself] = class_id
            plurals.update(dict.fromkeys(others, class_id))
    return plurals | own


def _by_first_word(meanings: dict[Phrase, int]) -> dict[str, list[tuple[Phrase, int]]]:
    phrases: dict[str, list[tuple[Phrase, int]]] = {}
    for phrase in sorted(meanings, key=len, reverse=True):
        phrases.setdefault(phrase[0], []).append((phrase, meanings[phrase]))
    return phrases


def _forms(term: str) -> Iterator[Phrase]:
    """A term and its plurals. The head of "glass of wine" is its first word, of "potted plant" its last."""
    words = split_words(term)
    head = 0 if {"of", "in"} & set(words[1:]) else len(words) - 1
    for form in (words[head], *_plurals(words[head])):
        yield (*words[:head], form, *words[head + 1 :])


def _singulars(term: str) -> Iterator[Phrase]:
    """The singular spellings of a term that may be a plural. Unused ones do no harm: no caption holds them."""
    *before, word = split_words(term)
    if word in _WITHOUT_SINGULAR or not word.endswith(("s", "men")) or word.endswith(("ss", "us", "is")):
        return
    for ending, plural in {**_PLURAL_ENDINGS, "": "es"}.items():
        if word.endswith(plural):
            yield (*before, word.removesuffix(plural) + ending)
    if word.endswith("s"):
        yield (*before, word.removesuffix("s"))


def _plurals(word: str) -> Iterator[str]:
    """Plural spellings of a noun. Unused ones do no harm: no caption holds them."""
    if word in _IRREGULAR_PLURALS:
        yield _IRREGULAR_PLURALS[word]
    for ending, plural in _PLURAL_ENDINGS.items():
        if word.endswith(ending):
            yield word.removesuffix(ending) + plural
    if word.endswith(("s", "x", "z", "ch", "sh", "o")):
        yield word + "es"
    yield word + "s"
