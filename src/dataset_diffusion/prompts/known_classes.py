"""Classes that files tell beside captions: those annotated in COCO's images, or published class prompts. No torch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

from dataset_diffusion.disk.instances import read_instances
from dataset_diffusion.errors import ConfigError, PromptError, Skipped, leave_out
from dataset_diffusion.prompts.captions import Caption
from dataset_diffusion.prompts.class_sets import ClassSet, class_set
from dataset_diffusion.prompts.mentions import find_classes, parse_class_prompt

Known = list[tuple[int, ...] | None]
"""For each caption the ids of the classes that its file tells; None where it tells none."""


def published_classes(captions: Sequence[Caption], classes: ClassSet, skip_bad: Skipped | None = None) -> Known:
    """The classes of published class prompts; None for captions without one, () for those with an empty one.

    Raises:
        PromptError: a class prompt is not made of the classes, and nothing is to be skipped.
    """

    def parse(number: int, caption: Caption) -> tuple[int, ...] | None:
        if caption.class_prompt is None:
            return None
        if not caption.class_prompt.strip():
            return ()
        ids = parse_class_prompt(caption.class_prompt, classes)
        if ids is None:
            error = PromptError(
                f"a class prompt that is not made of the classes of {classes.name!r}",
                got=f"{caption.class_prompt!r} of caption {number}",
                fix="give --classes the class set that the prompts were made for, or leave them out with --skip-bad",
            )
            leave_out(f"caption {number}", error, skip_bad)
        return ids or ()

    return [parse(number, caption) for number, caption in enumerate(captions, start=1)]


def annotated_classes(captions: Sequence[Caption], classes: ClassSet, instances: Path) -> Known:
    """All classes that are annotated in the image of each caption, in the order of their ids.

    Raises:
        DatasetError: as for `read_instances`.
        PromptError: a caption is of an image that is not listed, or no category is a class of the set.
    """
    known = _read(instances, classes)
    strange = [caption.image for caption in captions if caption.image not in known]
    if strange:
        raise PromptError(
            f"captions of images that {instances} does not list",
            got=f"{len(strange)} of {len(captions)}, the first of image {strange[0]!r}",
            expected="COCO's captions and instances of one split",
        )
    return [known[caption.image] for caption in captions]


def find_instances(captions_file: Path, captions: Sequence[Caption], classes: ClassSet) -> Path | None:
    """The instances file beside a file of COCO's captions, where the classes are COCO's and it lists their images."""
    beside = captions_file.with_name(captions_file.name.replace("captions", "instances"))
    if classes != class_set("coco") or beside == captions_file or not beside.is_file():
        return None
    known = _read(beside, classes)
    return beside if all(caption.image in known for caption in captions) else None


def _read(instances: Path, classes: ClassSet) -> Mapping[Hashable, tuple[int, ...]]:
    found = read_instances(instances)
    ids = {category: _id_of(name, classes) for category, name in found.categories.items()}
    if not any(ids.values()):
        raise PromptError(
            f"no category of {instances} is a class of {classes.name!r}",
            got=", ".join(list(found.categories.values())[:5]),
            expected=", ".join(classes.names[:5]),
        )
    of_image: dict[Hashable, set[int]] = defaultdict(set)
    for annotation in found.annotations:
        if class_id := ids[annotation["category_id"]]:
            of_image[annotation["image_id"]].add(class_id)
    return {image["id"]: tuple(sorted(of_image[image["id"]])) for image in found.images}


def _id_of(category: str, classes: ClassSet) -> int:
    """The class of a category by its name or a synonym; 0 where it is none."""
    try:
        return classes.id_of(category)
    except ConfigError:
        return next(iter(find_classes(category, classes)), 0)
