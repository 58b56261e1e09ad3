"""Captions from a grammar of places, light, viewpoint, distance, number, relation and style. Imports no torch."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, lru_cache

import inflect

from dataset_diffusion.prompts.balance import EVEN, Balance, Emphasis
from dataset_diffusion.prompts.class_sets import ClassSet, backgrounds_of, load_toml
from dataset_diffusion.prompts.mentions import find_classes, gist
from dataset_diffusion.prompts.writers.templates import is_uncounted, template_caption, word_for
from dataset_diffusion.records import Scene
from dataset_diffusion.seeding import random_from

_NUMBERS = ("two", "three", "several")
_PLURAL_SHARE = 0.2
_TRIES = 20
"""Captions made before one that repeats another, or that is read otherwise than it was meant, is taken."""


def scene_captions(
    classes: ClassSet,
    num: int,
    seed: int,
    emphasis: Emphasis = EVEN,
    unwanted: Callable[[str], bool] = lambda caption: False,
) -> Iterator[Scene]:
    """Captions such as "a wide-angle photo of two forklifts next to a pallet in a warehouse at dusk, seen from above".

    Each names 1, 2 or 3 classes, those most behind first; classes of one place come together more often. No phrase
    names a class of the set, and every caption mentions its classes and no other, as `find_classes` reads it. A class
    set that says what its pictures show behind the objects gets no other words. A larger ``num`` adds captions and
    changes none.

    Args:
        classes: the class set.
        num: captions to make.
        seed: the run's seed.
        emphasis: how often each class and pair is to be named.
        unwanted: tells captions that must not be made.
    """
    generator = random_from(seed, "scenes")
    balance = Balance(classes, generator, emphasis, lambda one, other: bool(_shared_places(classes, (one, other))))
    grammar, said = Grammar(classes, generator), set[str]()
    for _ in range(num):
        class_ids = balance.draw()
        for caption in grammar.captions(class_ids):
            if gist(caption) not in said and not unwanted(caption):
                break
        said.add(gist(caption))
        yield Scene(caption, class_ids)


class Grammar:
    """Makes captions of given classes; every list of phrases is used up before any of it is used again."""

    def __init__(self, classes: ClassSet, generator: random.Random) -> None:
        self._classes, self._generator = classes, generator
        self._decks: dict[tuple[str, ...], list[str]] = {}

    def captions(self, class_ids: Sequence[int]) -> Iterator[str]:
        """Some captions that mention these classes in this order, and no other. The last is of a template, without
        any other word.
        """
        for _ in range(_TRIES):
            caption = self._caption(class_ids)
            if find_classes(caption, self._classes) == tuple(class_ids) or self._classes.draw_synonyms:
                yield caption
        yield template_caption(self._classes, class_ids, self._generator)

    def setting(self, class_ids: Sequence[int]) -> str:
        """Where these classes may be, and in what light."""
        return " ".join(filter(None, (self._place(class_ids), self._pick("lights"))))

    def _caption(self, class_ids: Sequence[int]) -> str:
        if backgrounds_of(self._classes):  # of a model that knows few words
            return template_caption(self._classes, class_ids, self._generator)
        kind = " ".join(filter(None, (self._pick("distances"), self._pick("styles"))))
        things = [self._thing(class_id) for class_id in class_ids]
        for position in range(1, len(things)):
            things[position] = f"{self._pick('relations')} {things[position]}"
        view = self._pick("viewpoints")
        return f"{_words().a(kind)} of {' '.join(things)} {self.setting(class_ids)}".strip() + (
            f", {view}" if view else ""
        )

    def _thing(self, class_id: int) -> str:
        word = word_for(self._classes, class_id, self._generator)
        look = self._pick("looks")
        named = f"{look} {word}".strip()
        if is_uncounted(word) or _is_plural(word):
            return named
        if self._generator.random() < _PLURAL_SHARE:
            plural = _words().plural_noun(word)
            # A plural that is not understood would leave the class out.
            if find_classes(plural, self._classes) == (class_id,):
                return f"{self._generator.choice(_NUMBERS)} {f'{look} {plural}'.strip()}"
        return str(_words().a(named))

    def _place(self, class_ids: Sequence[int]) -> str:
        table = load_toml("writers/scenes.toml")
        places = _shared_places(self._classes, class_ids) or _places_of(self._classes)[class_ids[0] - 1]
        return self._deal(
            tuple(phrase for place in sorted(places) for phrase in table["places"][place]["phrases"])
            or tuple(table["anywhere"]["phrases"])
        )

    def _pick(self, kind: str) -> str:
        return self._deal(tuple(load_toml("writers/scenes.toml")[kind]))

    def _deal(self, phrases: tuple[str, ...]) -> str:
        """One of the phrases that mention no class; "" where all do."""
        deck = self._decks.setdefault(phrases, [])
        if not deck:
            allowed = [phrase for phrase in phrases if not find_classes(phrase, self._classes)]
            deck += self._generator.sample(allowed, len(allowed))
        return deck.pop() if deck else ""


def _shared_places(classes: ClassSet, class_ids: Iterable[int]) -> frozenset[str]:
    known = _places_of(classes)
    return frozenset.intersection(*(known[class_id - 1] for class_id in class_ids))


@lru_cache(maxsize=16)
def _places_of(classes: ClassSet) -> tuple[frozenset[str], ...]:
    """The places that name each class, in the order of the ids."""
    places = load_toml("writers/scenes.toml")["places"]
    terms = [
        {term.casefold() for term in (name, words, *synonyms)}
        for name, words, synonyms in zip(classes.names, classes.words, classes.synonyms, strict=True)
    ]
    return tuple(frozenset(name for name, row in places.items() if one & set(row["things"])) for one in terms)


def _is_plural(word: str) -> bool:
    return _words().singular_noun(word) is not False and word.endswith("s") and not word.endswith("ss")


@cache
def _words() -> inflect.engine:
    """The library of articles and plurals; it takes a moment to build."""
    return inflect.engine()
