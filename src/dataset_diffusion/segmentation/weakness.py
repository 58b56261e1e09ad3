"""Where a segmenter is weak, without any true label: where it and the attention disagree, and where it is unsure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Integer
from torch import Tensor

from dataset_diffusion.labelling.assign import UNCERTAIN
from dataset_diffusion.prompts.balance import Emphasis, Pair
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.segmentation.models import Segmenter
from dataset_diffusion.segmentation.predict import Views, predict_probabilities
from dataset_diffusion.segmentation.sampling import ReadImages

USUAL_IMAGES = 4
"""Images of average weakness that each class and pair is taken to have beside its own, as few images say little."""
LEAST, MOST = 0.2, 5.0
"""A class or pair is named this many times as often as usual, at least and at most."""


@dataclass
class _Tally:
    """Pixels of classes in some images: where segmenter and label agree, where either has them, and doubt there."""

    agreed: int = 0
    either: int = 0
    doubt: float = 0.0
    images: int = 0

    def add(self, here: Tensor, said: Tensor, doubt: Tensor, agreed: Tensor) -> None:
        either = here | said
        self.agreed += int(agreed.sum())
        self.either += int(either.sum())
        self.doubt += float(doubt[either].sum())
        self.images += 1

    @property
    def weakness(self) -> float:
        """The mean of disagreement, 1 - IoU, and doubt, in [0, 1]; 0 where there is no pixel."""
        return (1 - self.agreed / self.either + self.doubt / self.either) / 2 if self.either else 0.0


@dataclass(frozen=True)
class Weakness:
    """How weak a segmenter is at classes and pairs of classes.

    Attributes:
        classes: by class id, in [0, 1].
        pairs: by `Pair`, in [0, 1]; pairs that no prompt names are left out.
        images: how many images name each class, or pair.
    """

    classes: Mapping[int, float]
    pairs: Mapping[Pair, float]
    images: Mapping[int | Pair, int] = field(default_factory=dict)

    def emphasis(self, share: float) -> Emphasis:
        """How often classes and pairs are to be named.

        Args:
            share: the part of the captions that follows the weakness, in [0, 1]; the rest names all alike.
        """
        return Emphasis(self._relative(self.classes, share), self._relative(self.pairs, share))

    def _relative(self, weakness: Mapping[Any, float], share: float) -> dict[Any, float]:
        """Weakness in units of its mean, that of few images drawn towards 1."""
        usual = float(np.mean(list(weakness.values()))) if weakness else 0.0
        if not usual or not share:
            return {}
        counts = {one: self.images.get(one, 0) for one in weakness}
        drawn = {
            one: (counts[one] * value / usual + USUAL_IMAGES) / (counts[one] + USUAL_IMAGES)
            for one, value in weakness.items()
        }
        # Rounded, so that the last bits of a device do not decide which class comes first.
        return {one: round(min(max(1 - share + share * value, LEAST), MOST), 3) for one, value in drawn.items()}

    def to_json(self, class_set: ClassSet) -> dict[str, Any]:
        """Plain values by class names: ``classes`` and ``pairs``, each ``{"weakness", "images"}``."""

        def row(key: int | Pair, value: float) -> dict[str, float]:
            return {"weakness": round(value, 4), "images": self.images.get(key, 0)}

        return {
            "classes": {class_set.name_of(one): row(one, value) for one, value in self.classes.items()},
            "pairs": [
                {"classes": [class_set.name_of(one) for one in pair], **row(pair, value)}
                for pair, value in self.pairs.items()
            ],
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any], class_set: ClassSet) -> Weakness:
        """What `to_json` gave. Raises a KeyError, TypeError, ValueError or ConfigError where it is anything else."""
        rows: dict[int | Pair, Mapping[str, Any]] = {
            class_set.id_of(name): row for name, row in dict(values["classes"]).items()
        }
        for row in values["pairs"]:
            one, other = sorted(map(class_set.id_of, row["classes"]))
            rows[one, other] = row
        return cls(
            {one: float(row["weakness"]) for one, row in rows.items() if isinstance(one, int)},
            {one: float(row["weakness"]) for one, row in rows.items() if isinstance(one, tuple)},
            {one: int(row["images"]) for one, row in rows.items()},
        )


def find_weakness(
    segmenter: Segmenter, data: ReadImages, class_set: ClassSet, advance: Callable[[], None] = lambda: None
) -> Weakness:
    """How weak a segmenter is at each class of a set, and at each pair that a prompt names, on labelled images.

    Of the pixels that the label or the segmenter gives to a class, the share that they do not both give to it, and how
    far the segmenter is from sure there; the mean of both. Uncertain pixels are left out. A pair counts the pixels of
    both classes in images that name both.

    Args:
        segmenter: in evaluation mode.
        data: images, their labels and the classes of their prompts.
        class_set: what the ids mean.
        advance: called after every image.
    """
    tallies: defaultdict[int | Pair, _Tally] = defaultdict(_Tally)
    images = (data[index][0].permute(1, 2, 0).numpy() for index in range(len(data)))
    for index, probabilities in enumerate(predict_probabilities(segmenter, images, Views(flip=True))):
        _count(tallies, probabilities, data[index][1], data.classes_of(index))
        advance()
    return Weakness(
        {class_id: tallies[class_id].weakness if class_id in tallies else 0.0 for class_id in class_set.ids},
        {key: tally.weakness for key, tally in sorted(_pairs(tallies).items())},
        {key: tally.images for key, tally in tallies.items()},
    )


def _count(
    tallies: defaultdict[int | Pair, _Tally],
    probabilities: Float[Tensor, "labels h w"],
    label: Integer[Tensor, "h w"],
    class_ids: Sequence[int],
) -> None:
    highest, said = probabilities.max(dim=0)
    known, doubt = label != UNCERTAIN, 1 - highest
    ids = sorted(class_ids)
    keys: list[int | Pair] = [*ids, *combinations(ids, 2)]
    for key in keys:
        wanted = torch.tensor(key)
        here, there = torch.isin(label, wanted) & known, torch.isin(said, wanted) & known
        tallies[key].add(here, there, doubt, agreed=here & (label == said))


def _pairs(tallies: Mapping[int | Pair, _Tally]) -> dict[Pair, _Tally]:
    return {key: tally for key, tally in tallies.items() if isinstance(key, tuple)}
