"""Captions from templates, for class sets that come without captions. Imports no torch."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from dataset_diffusion.prompts.balance import CLASSES_PER_CAPTION, EVEN, Balance, Emphasis
from dataset_diffusion.prompts.class_sets import ClassSet, backgrounds_of
from dataset_diffusion.records import Scene
from dataset_diffusion.seeding import random_from

_OPENINGS = ("a photo of ", "a picture of ", "")
_BACKGROUND_SHARE = 0.75

# Nouns that take no "a": those in -s are plural unless they end in -ss or -us, and these.
_NO_ARTICLE = frozenset({"broccoli", "cattle", "clothing", "hair", "people", "sheep", "sky", "terrain", "vegetation"})
_SINGULAR_ENDINGS = ("ss", "us", "lis", "tis")
_CONSONANT_SOUNDS = ("eu", "one", "uni", "use", "uti")


def template_scenes(classes: ClassSet, num: int, seed: int, emphasis: Emphasis = EVEN) -> Iterator[Scene]:
    """Captions made from templates, such as "a photo of a cat and a bus on the grass".

    Each names 1, 2 or 3 classes (50, 40, 10 %), always those named least so far, so that the counts of two classes
    never differ by more than one; with an emphasis, as often as it says. A larger ``num`` adds captions and changes
    none.
    """
    generator = random_from(seed, "templates")
    if emphasis != EVEN:
        balance = Balance(classes, generator, emphasis)
        for _ in range(num):
            class_ids = balance.draw()
            yield Scene(template_caption(classes, class_ids, generator), class_ids)
        return
    counts = dict.fromkeys(classes.ids, 0)
    for _ in range(num):
        (wanted,) = generator.choices(tuple(CLASSES_PER_CAPTION), tuple(CLASSES_PER_CAPTION.values()))
        shuffled = generator.sample(tuple(counts), len(counts))
        class_ids = tuple(sorted(shuffled, key=counts.__getitem__)[:wanted])
        for class_id in class_ids:
            counts[class_id] += 1
        yield Scene(template_caption(classes, class_ids, generator), class_ids)


def template_caption(classes: ClassSet, class_ids: Sequence[int], generator: random.Random) -> str:
    """One caption that names the given classes in their order."""
    nouns = [_with_article(word_for(classes, class_id, generator)) for class_id in class_ids]
    listed = " and ".join(filter(None, (", ".join(nouns[:-1]), nouns[-1])))
    caption = generator.choice(_OPENINGS) + listed
    backgrounds = backgrounds_of(classes)
    if backgrounds and generator.random() < _BACKGROUND_SHARE:
        caption += " " + generator.choice(backgrounds)
    return caption


def word_for(classes: ClassSet, class_id: int, generator: random.Random) -> str:
    """The word that a caption calls a class by."""
    return generator.choice(classes.synonyms[class_id - 1]) if classes.draw_synonyms else classes.word_of(class_id)


def is_uncounted(words: str) -> bool:
    """Whether a noun takes no "a": a plural, or one that is not counted."""
    noun = words.lower()
    return noun in _NO_ARTICLE or (noun.endswith("s") and not noun.endswith(_SINGULAR_ENDINGS))


def _with_article(words: str) -> str:
    noun = words.lower()
    if is_uncounted(words):
        return words
    starts_with_vowel = noun.startswith(tuple("aeiou")) and not noun.startswith(_CONSONANT_SOUNDS)
    return f"{'an' if starts_with_vowel else 'a'} {words}"
