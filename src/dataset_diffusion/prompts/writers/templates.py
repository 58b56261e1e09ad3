"""Captions from templates, for class sets that come without captions. Imports no torch."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from dataset_diffusion.prompts.class_sets import ClassSet, backgrounds_of
from dataset_diffusion.records import Scene
from dataset_diffusion.seeding import random_from

_OPENINGS = ("a photo of ", "a picture of ", "")
_CLASSES_PER_CAPTION = {1: 0.5, 2: 0.4, 3: 0.1}
_BACKGROUND_SHARE = 0.75

# Nouns that take no "a": those in -s are plural unless they end in -ss or -us, and these.
_NO_ARTICLE = frozenset({"broccoli", "cattle", "clothing", "hair", "people", "sheep", "sky", "terrain", "vegetation"})
_SINGULAR_ENDINGS = ("ss", "us", "lis", "tis")
_CONSONANT_SOUNDS = ("eu", "one", "uni", "use", "uti")


def template_scenes(classes: ClassSet, num: int, seed: int) -> Iterator[Scene]:
    """Captions made from templates, such as "a photo of a cat and a bus on the grass".

    Each names 1, 2 or 3 classes (50, 40, 10 %), always those named least so far, so that the counts of two classes
    never differ by more than one. A larger ``num`` adds captions and changes none.
    """
    generator = random_from(seed, "templates")
    counts = dict.fromkeys(classes.ids, 0)
    for _ in range(num):
        (wanted,) = generator.choices(tuple(_CLASSES_PER_CAPTION), tuple(_CLASSES_PER_CAPTION.values()))
        shuffled = generator.sample(tuple(counts), len(counts))
        class_ids = tuple(sorted(shuffled, key=counts.__getitem__)[:wanted])
        for class_id in class_ids:
            counts[class_id] += 1
        yield Scene(template_caption(classes, class_ids, generator), class_ids)


def template_caption(classes: ClassSet, class_ids: Sequence[int], generator: random.Random) -> str:
    """One caption that names the given classes in their order."""
    nouns = [_with_article(_word_for(classes, class_id, generator)) for class_id in class_ids]
    listed = " and ".join(filter(None, (", ".join(nouns[:-1]), nouns[-1])))
    caption = generator.choice(_OPENINGS) + listed
    backgrounds = backgrounds_of(classes)
    if backgrounds and generator.random() < _BACKGROUND_SHARE:
        caption += " " + generator.choice(backgrounds)
    return caption


def _word_for(classes: ClassSet, class_id: int, generator: random.Random) -> str:
    return generator.choice(classes.synonyms[class_id - 1]) if classes.draw_synonyms else classes.word_of(class_id)


def _with_article(words: str) -> str:
    noun = words.lower()
    if noun in _NO_ARTICLE or (noun.endswith("s") and not noun.endswith(_SINGULAR_ENDINGS)):
        return words
    starts_with_vowel = noun.startswith(tuple("aeiou")) and not noun.startswith(_CONSONANT_SOUNDS)
    return f"{'an' if starts_with_vowel else 'a'} {words}"
