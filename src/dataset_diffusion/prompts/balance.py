"""Which classes the next caption is to name: those named least so far, weak ones more often. Imports no torch."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from dataset_diffusion.prompts.class_sets import ClassSet

CLASSES_PER_CAPTION = {1: 0.5, 2: 0.4, 3: 0.1}
COMPANION_LEAD = 2.0
"""Captions by which companions of a class may be ahead of the other classes."""

Pair = tuple[int, int]
"""Ids of two classes, the smaller first."""


@dataclass(frozen=True)
class Emphasis:
    """How often classes, and pairs of them, are to be named, as multiples of the usual; what is left out is usual.

    Attributes:
        classes: by class id, above 0.
        pairs: by `Pair`, above 0.
    """

    classes: Mapping[int, float] = field(default_factory=dict)
    pairs: Mapping[Pair, float] = field(default_factory=dict)

    def of(self, class_id: int) -> float:
        """How often a class is to be named."""
        return self.classes.get(class_id, 1.0)

    def of_pair(self, one: int, other: int) -> float:
        """How often two classes are to be named together."""
        return self.pairs.get((min(one, other), max(one, other)), 1.0)


EVEN = Emphasis()
"""All classes and pairs alike."""


class Balance:
    """Deals out classes so that each is named as often as the emphasis says, whatever came before.

    Args:
        classes: the class set.
        generator: decides between equals.
        emphasis: how often each class and pair is to be named.
        are_companions: whether two classes are usually seen together, and so to be named together more often.
    """

    def __init__(
        self,
        classes: ClassSet,
        generator: random.Random,
        emphasis: Emphasis = EVEN,
        are_companions: Callable[[int, int], bool] | None = None,
    ) -> None:
        self._ids, self._generator, self._emphasis = tuple(classes.ids), generator, emphasis
        self._are_companions = are_companions or (lambda one, other: False)
        self._counts = dict.fromkeys(self._ids, 0)

    def draw(self) -> tuple[int, ...]:
        """Ids of the classes of the next caption: 1, 2 or 3 (50, 40, 10 %), the one that is most behind first."""
        (wanted,) = self._generator.choices(tuple(CLASSES_PER_CAPTION), tuple(CLASSES_PER_CAPTION.values()))
        first, *others = self._generator.sample(self._ids, len(self._ids))
        first = min((first, *others), key=self._named)
        rest = sorted((one for one in self._ids if one != first), key=lambda one: self._place(first, one))
        chosen = (first, *rest[: wanted - 1])
        for class_id in chosen:
            self._counts[class_id] += 1
        return chosen

    def _named(self, class_id: int) -> float:
        """How often a class was named, in units of how often it is to be."""
        return self._counts[class_id] / self._emphasis.of(class_id)

    def _place(self, first: int, other: int) -> float:
        """The smaller, the sooner a class joins the first one. Ties are as good as never exact: a random part."""
        lead = COMPANION_LEAD if self._are_companions(first, other) else 0.0
        return self._named(other) - lead - self._emphasis.of_pair(first, other) + self._generator.random()
