"""Label maps that are hard to keep, by hand and drawn by hypothesis, and datasets of label maps."""

import numpy as np
from hypothesis import strategies
from hypothesis.extra.numpy import arrays
from tests.helpers.factories import make_sample, write_dataset

from dataset_diffusion.dataset.provenance import Provenance
from dataset_diffusion.prompts.class_sets import ClassSet

CLASSES = ClassSet.from_names(["forklift", "hand truck", "Öl | fass: 3"])

_DRAWN = {
    "all background": "....\n....\n....",
    "all uncertain": "###\n###",
    "one pixel image": "1",
    "one row": "1.22#3",
    "one column": "1\n.\n2\n2\n#",
    "whole image one class": "2222\n2222",
    "one-pixel objects in the corners": "1..2\n....\n3..1",
    "two-pixel objects": "11...\n...1.\n..1..\n.....\n2...3\n2..3.",
    "touching classes": "1122\n1122\n3311\n3311",
    "one-pixel hole": "111\n1.1\n111",
    "hole of another class": "1111\n1221\n1111",
    "hole of uncertain pixels": "1111\n1#21\n1111",
    "two holes side by side": "1111111\n1.11..1\n1111111",
    "holes above and below one another": "11111\n1...1\n11111\n1.1.1\n11111",
    "island in a hole": "1111111\n1.....1\n1.1.2.1\n1.....1\n1111111",
    "ring in a ring": "1111111\n1.....1\n1.111.1\n1.1.1.1\n1.111.1\n1.....1\n1111111",
    "holes that touch at a corner": "11111\n1.111\n11.11\n11111",
    "hole joined to the outside by a corner": "1111\n1.11\n11.1\n111.",
    "diagonal line": "1....\n.1...\n..1..\n...1.",
    "diamond": "..1..\n.1.1.\n1...1\n.1.1.\n..1..",
    "checkerboard": "1.1.1\n.1.1.\n1.1.1",
    "spiral": "1111111\n......1\n11111.1\n1...1.1\n1.1.1.1\n1.111.1\n1.....1\n1111111",
    "comb": "1.1.1.1\n1.1.1.1\n1111111",
    "wide": "1.2" * 20 + "\n" + "..1" * 20,
}


def _parse(drawing):
    ids = {".": 0, "#": 255, "1": 1, "2": 2, "3": 3}
    return np.array([[ids[mark] for mark in line] for line in drawing.split("\n")], np.uint8)


HARD = {name: _parse(drawing) for name, drawing in _DRAWN.items()}
"""Each by what is hard about it; ``.`` is background, ``#`` is uncertain."""


@strategies.composite
def label_maps(draw, max_side=13):
    """Label maps of blocks, stripes and single pixels, of any size up to ``max_side`` squared."""
    height, width = draw(strategies.integers(1, max_side)), draw(strategies.integers(1, max_side))
    ids = strategies.sampled_from([0, *range(1, CLASSES.num_classes + 1), 255])
    label = np.full((height, width), draw(ids), np.uint8)
    for _ in range(draw(strategies.integers(0, 6))):
        top, left = draw(strategies.integers(0, height - 1)), draw(strategies.integers(0, width - 1))
        rows, columns = draw(strategies.integers(1, height)), draw(strategies.integers(1, width))
        label[top : top + rows, left : left + columns] = draw(ids)
    if draw(strategies.booleans()):
        noise = draw(arrays(np.uint8, (height, width), elements=ids))
        label[::2, ::2] = noise[::2, ::2]
    return label


def make_store(folder, labels, image_format="png", shard_size=5):
    """A dataset of these label maps under images of noise."""
    return write_dataset(
        folder,
        [make_sample(index, text="a “yard”; forklift", label=label) for index, label in enumerate(labels)],
        CLASSES,
        shard_size=shard_size,
        image_format=image_format,
        model="some/model",
        model_revision="0123abcd",
        provenance=Provenance(seed=7),
    )
