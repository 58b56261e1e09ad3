"""Composed scenes whose truth is known: 1-3 icons on a textured background, a caption, and an exact label map.

Scene ``index`` follows from (seed, index) alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from backgrounds import BACKGROUNDS
from numpy.random import Generator
from PIL import Image, ImageOps

IMAGE_SIZE = 128
OBJECTS_PER_SCENE = {1: 0.45, 2: 0.40, 3: 0.15}
SPRITE_SIZES = {1: (56, 96), 2: (48, 70), 3: (42, 58)}
"""Objects in the scene -> range of the longer side of each, in pixels."""

MAX_COVERED = 0.08
"""The share of an object's pixels that later objects may cover."""

Sprites = dict[str, list[Image.Image]]


@dataclass(frozen=True)
class Scene:
    """A picture and its truth.

    Attributes:
        image: uint8 RGB, "128 128 3".
        label: uint8 class ids (position in the class set, from 1), "128 128".
        caption: what a person would write under it, class words not appended.
        classes: class names in the order in which the caption names them.
    """

    image: np.ndarray
    label: np.ndarray
    caption: str
    classes: tuple[str, ...]


def make_scene(sprites: Sprites, seed: int, index: int, objects: Mapping[int, float] = OBJECTS_PER_SCENE) -> Scene:
    """Compose scene ``index``; ``objects``: how likely each number of objects is."""
    rng = np.random.default_rng([seed, index])
    count = int(rng.choice(list(objects), p=list(objects.values())))
    names = list(sprites)
    classes = tuple(names[i] for i in rng.choice(len(names), count, replace=False))
    background = str(rng.choice(list(BACKGROUNDS)))
    canvas = np.clip(BACKGROUNDS[background](rng, IMAGE_SIZE), 0, 1)
    image = Image.fromarray((canvas * 255).astype(np.uint8))
    label = np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    for name, (sprite, left, top) in zip(classes, _arrange(rng, sprites, classes), strict=True):
        image.paste(sprite, (left, top), sprite)
        visible = np.asarray(sprite)[..., 3] >= 128
        label[top : top + sprite.height, left : left + sprite.width][visible] = names.index(name) + 1
    return Scene(np.asarray(image), label, _caption(rng, classes, background), classes)


def training_text(scene: Scene, rng: Generator) -> str:
    """A text the image could be drawn from: the caption, the class words alone, or both as prompts join them."""
    words = " ".join(scene.classes)
    kind = rng.choice(["caption", "words", "both"], p=[0.3, 0.25, 0.45])
    return {"caption": scene.caption, "words": words, "both": f"{scene.caption}; {words}"}[str(kind)]


def _arrange(rng: Generator, sprites: Sprites, classes: tuple[str, ...]) -> list[tuple[Image.Image, int, int]]:
    """Sprites with their (left, top), drawn again until none hides more than a little of another."""
    while True:
        placed = [_place(rng, sprites[name], SPRITE_SIZES[len(classes)]) for name in classes]
        boxes = [(left, top, left + sprite.width, top + sprite.height) for sprite, left, top in placed]
        if all(_overlap(a, b) <= MAX_COVERED for i, a in enumerate(boxes) for b in boxes[i + 1 :]):
            return placed


def _place(rng: Generator, choices: list[Image.Image], sizes: tuple[int, int]) -> tuple[Image.Image, int, int]:
    sprite = choices[rng.integers(len(choices))]
    scale = rng.integers(*sizes, endpoint=True) / max(sprite.size)
    sprite = sprite.resize((round(sprite.width * scale), round(sprite.height * scale)), Image.Resampling.BOX)
    if rng.random() < 0.5:
        sprite = ImageOps.mirror(sprite)
    return sprite, int(rng.integers(IMAGE_SIZE - sprite.width + 1)), int(rng.integers(IMAGE_SIZE - sprite.height + 1))


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> float:
    """Intersection of two XYXY boxes over the smaller one's area."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return max(width, 0) * max(height, 0) / smaller


def _caption(rng: Generator, classes: tuple[str, ...], background: str) -> str:
    things = [f"{'an' if name[0] in 'aeiou' else 'a'} {name}" for name in classes]
    listed = things[0] if len(things) == 1 else f"{', '.join(things[:-1])} and {things[-1]}"
    start = str(rng.choice(["a photo of ", "a picture of ", "an image of ", ""]))
    place = f" {background}" if rng.random() < 0.7 else ""
    return f"{start}{listed}{place}"
