"""From captions to prompts: class-prompt appending, as in the paper, and balancing. Imports no torch."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from dataset_diffusion.errors import PromptError, check_kind, whole_number
from dataset_diffusion.prompts.balance import EVEN, Emphasis
from dataset_diffusion.prompts.captions import clean_caption
from dataset_diffusion.prompts.class_sets import ClassSet, resolve_classes
from dataset_diffusion.prompts.mentions import find_classes, find_words, gist
from dataset_diffusion.prompts.writers.templates import template_caption, template_scenes
from dataset_diffusion.records import Prompt, Scene
from dataset_diffusion.seeding import random_from

MAX_WORDS = 75
"""Of a text prompt: CLIP's text encoders take 77 tokens, the start and the end among them."""


WriteScenes = Callable[[ClassSet, int, int, Emphasis], Iterable[Scene]]
"""Writes captions of a class set: how many, from which seed, with which emphasis."""


@dataclass(frozen=True)
class FoundScenes:
    """What captions say about the classes of a set.

    Attributes:
        scenes: the captions that mention a class, near-duplicates left out, in their order.
        num_captions: captions read.
        num_without_class: those that mention no class.
        num_repeated: those left out because an earlier one says the same.
        too_long: positions of the scenes whose prompt is too long to be generated; no prompt is made from them.
    """

    scenes: tuple[Scene, ...]
    num_captions: int
    num_without_class: int
    num_repeated: int
    too_long: frozenset[int] = frozenset()


def compose_prompt(index: int, caption: str, class_ids: Sequence[int], classes: ClassSet) -> Prompt:
    """Class-prompt appending: the text prompt is ``"<caption>; <class words>"``, the words in the order of the ids.

    Raises:
        PromptError: no class, the same class twice, or an id outside the set.
    """
    check_class_ids(class_ids, classes, repr(caption))
    mentioned = find_words(caption, classes) if classes.draw_synonyms else {}
    words = tuple(mentioned.get(class_id) or classes.word_of(class_id) for class_id in class_ids)
    class_prompt = " ".join(words)
    text = f"{caption.rstrip(' .;,')}; {class_prompt}"
    return Prompt(index=index, text=text, class_prompt=class_prompt, classes=tuple(class_ids), class_words=words)


def check_class_ids(class_ids: Sequence[int], classes: ClassSet, where: str) -> None:
    """Refuse a prompt, told by ``where``, of no class, the same class twice, or an id outside the set."""
    if not class_ids or len(set(class_ids)) < len(class_ids) or not set(class_ids) <= set(classes.ids):
        raise PromptError(
            "a prompt names classes of its class set, each once",
            got=f"ids {list(class_ids)} in {where}",
            expected=f"ids in 1..{classes.num_classes}",
        )


def build_prompts(
    captions: Iterable[str] | None, classes: ClassSet | str | Sequence[str], num_images: int, seed: int = 0
) -> list[Prompt]:
    """Prompts balanced over the classes, the same for the same arguments.

    Captions that mention no class are left out, and so are near-duplicates (see ``find_scenes``). Each prompt is made
    for the class that the prompts before it name least, from that class's caption used least, so that rare classes are
    named as often as the others. Classes that no caption mentions get captions from templates, after those of equal
    need that captions mention. A larger ``num_images``
    adds prompts and changes none.

    Args:
        captions: what the images are to show; None makes captions from templates.
        classes: a class set, the name of one, or class names of your own.
        num_images: number of prompts, >= 1.
        seed: the run's seed.

    Returns:
        Prompts with indices 0..num_images-1.

    Raises:
        PromptError: num_images is not positive, or no caption mentions any of the classes.
        ConfigError: the classes cannot be used.
    """
    classes = resolve_classes(classes)
    found = None if captions is None else find_scenes(captions, classes)
    return draw_prompts(found, classes, num_images, seed)


def draw_prompts(
    found: FoundScenes | None,
    classes: ClassSet,
    num_images: int,
    seed: int = 0,
    *,
    emphasis: Emphasis = EVEN,
    write: WriteScenes = template_scenes,
) -> list[Prompt]:
    """The prompts of ``build_prompts``, from captions that are searched already; None has them written.

    Args:
        found: captions and the classes that they mention.
        classes: the class set.
        num_images: number of prompts.
        seed: the run's seed.
        emphasis: how often each class, and where captions are written each pair, is to be named.
        write: writes captions.
    """
    if whole_number(num_images, "number of images") < 1:
        raise PromptError("the number of images must be positive", got=num_images, expected="at least 1")
    choose = partial(_balance, found) if found else write
    chosen = choose(classes, num_images, seed, emphasis)
    return [compose_prompt(index, caption, ids, classes) for index, (caption, ids) in enumerate(chosen)]


def may_fit(text: str) -> bool:
    """Whether a text may be within the limit of CLIP's text encoders: a word is one token at least."""
    return len(text.split()) <= MAX_WORDS


def find_scenes(
    captions: Iterable[str],
    classes: ClassSet,
    given: Iterable[Sequence[int] | None] | None = None,
    fits: Callable[[str], bool] = may_fit,
) -> FoundScenes:
    """Search captions for classes and drop near-duplicates.

    Two captions are near-duplicates if they are made of the same words, whatever their order, number, case and
    punctuation, articles not counted: "A man sits on the bench." and "on a bench a man sits".

    Args:
        captions: what is searched.
        classes: what is searched for.
        given: for each caption the ids of the classes that its image is known to show, which are taken instead of those
            that it mentions; None takes these.
        fits: whether a text prompt can be generated.

    Raises:
        PromptError: no caption mentions a class, or none that does fits.
    """
    if isinstance(captions, str) or not isinstance(captions, Iterable):
        raise PromptError("captions must be a list of strings", got=repr(captions), fix='write ["a cat on a sofa"]')
    scenes: dict[tuple[str, frozenset[int]], Scene] = {}
    num_captions = num_without_class = 0
    for caption, known in zip(captions, itertools.repeat(None) if given is None else given, strict=False):
        num_captions += 1
        check_kind(caption, str, f"caption {num_captions}", error=PromptError)
        cleaned = clean_caption(caption)
        mentioned = find_classes(cleaned, classes)
        if ids := mentioned if known is None else _in_order(known, mentioned):
            scenes.setdefault((gist(cleaned), frozenset(known or ())), Scene(cleaned, ids))
        else:
            num_without_class += 1
    if not scenes:
        raise PromptError(
            f"no caption mentions a class of {classes.name!r}",
            got=f"{num_captions} captions",
            expected=f"words such as {', '.join(classes.words[:5])}",
            fix="choose other captions or classes, or leave the captions out to make them from templates",
        )
    found = tuple(scenes.values())
    too_long = frozenset(
        number for number, (caption, ids) in enumerate(found) if not fits(compose_prompt(0, caption, ids, classes).text)
    )
    if len(too_long) == len(found):
        raise PromptError(
            "every caption with a class is too long for a text encoder",
            got=f"{len(found)}, the first: {found[0].caption}",
            fix="choose shorter captions",
        )
    num_repeated = num_captions - num_without_class - len(scenes)
    return FoundScenes(found, num_captions, num_without_class, num_repeated, too_long)


def _in_order(known: Iterable[int], mentioned: Sequence[int]) -> tuple[int, ...]:
    """Ids of classes, those that the caption mentions first, in its order."""
    return tuple(dict.fromkeys([*(one for one in mentioned if one in set(known)), *sorted(known)]))


def _balance(found: FoundScenes, classes: ClassSet, num: int, seed: int, emphasis: Emphasis = EVEN) -> Iterator[Scene]:
    """Scenes, each for the class that those before it name least; each class uses its scenes in turn.

    Of classes that are named equally little those that captions mention come first.
    """
    generator, scenes = random_from(seed, "balance"), found.scenes
    decks = _deal(found, classes, generator)
    uses = [0] * len(scenes)
    counts = dict.fromkeys(generator.sample(classes.ids, classes.num_classes), 0)
    for _ in range(num):
        wanted = min(counts, key=lambda one: (counts[one] / emphasis.of(one), not decks[one]))
        if decks[wanted]:
            scene = scenes[_draw(decks[wanted], uses)]
        else:
            scene = Scene(template_caption(classes, (wanted,), generator), (wanted,))
        for class_id in scene.classes:
            counts[class_id] += 1
        yield scene


Deck = list[tuple[int, int, int]]
"""A heap of (times used, place in the shuffled order, scene) for the scenes that mention one class."""


def _deal(found: FoundScenes, classes: ClassSet, generator: random.Random) -> dict[int, Deck]:
    decks: dict[int, Deck] = {class_id: [] for class_id in classes.ids}
    # Those that are too long are shuffled too, so that the others keep their places whatever the limit is.
    for place, scene in enumerate(generator.sample(range(len(found.scenes)), len(found.scenes))):
        for class_id in found.scenes[scene].classes if scene not in found.too_long else ():
            decks[class_id].append((0, place, scene))
    return decks


def _draw(deck: Deck, uses: list[int]) -> int:
    """The scene of a deck used least, by any class. Entries that other classes have made stale are put back."""
    while True:
        known_uses, place, scene = deck[0]
        if known_uses == uses[scene]:
            uses[scene] += 1
            heapq.heapreplace(deck, (uses[scene], place, scene))
            return scene
        heapq.heapreplace(deck, (uses[scene], place, scene))
