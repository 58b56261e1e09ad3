"""The dataset card: what a person who finds the folder should know before training on it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import jinja2

from dataset_diffusion.dataset.manifest import DatasetManifest
from dataset_diffusion.prompts.class_sets import ClassSet

FILE_NAME = "README.md"

_TEMPLATE = Path(__file__).with_name("card.md.j2")


@dataclass
class LabelCounts:
    """How often each label id occurs, counted one label map at a time.

    Attributes:
        num_images: label maps counted.
        images: label maps that hold the id, by id.
        pixels: pixels of the id, by id.
    """

    num_images: int = 0
    images: Counter[int] = field(default_factory=Counter)
    pixels: Counter[int] = field(default_factory=Counter)

    def add(self, pixels: Mapping[int, int]) -> None:
        """Count one label map, given the pixels of every id in it."""
        self.num_images += 1
        self.images.update(pixels.keys())
        self.pixels.update(pixels)

    def share(self, label_id: int) -> float:
        """Share of all pixels that have the id, in [0, 1]."""
        return self.pixels[label_id] / max(1, self.pixels.total())


def dataset_card(
    manifest: DatasetManifest,
    counts: LabelCounts,
    *,
    loading: str,
    licence: str | None = None,
    limits: tuple[str, ...] = (),
) -> str:
    """A dataset card in Markdown. The same arguments give the same text.

    Args:
        manifest: what the dataset is made of.
        counts: of all its label maps.
        loading: Python that loads it from inside its folder.
        licence: licence of the model's outputs, as the user states it; None says that nobody did.
        limits: what these files do not keep, a sentence each.
    """
    environment = jinja2.Environment(autoescape=False, trim_blocks=True, keep_trailing_newline=True)
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        manifest=manifest,
        settings=json.dumps(manifest.provenance.asked(), indent=2),
        rows=list(_rows(manifest.class_set, counts)),
        num_images=counts.num_images,
        ignored=f"{counts.share(ClassSet.ignore_index):.1%}",
        ignore_index=ClassSet.ignore_index,
        loading=loading.rstrip(),
        licence=" ".join(licence.split()) if licence else None,
        limits=limits,
    )


def _rows(classes: ClassSet, counts: LabelCounts) -> Iterator[tuple[int, str, int, str]]:
    """Id, name, images and share of the pixels, of the background and of every class."""
    for class_id in range(classes.num_classes + 1):
        name = classes.name_of(class_id).replace("|", "\\|")
        yield class_id, name, counts.images[class_id], f"{counts.share(class_id):.2%}"
