"""Measure how well classes are found in real captions, and how fast.

Reads COCO's caption files. Against the instances file: of the classes that an image's captions mention, how many are
annotated in it (precision), and of those annotated, how many its captions mention (recall). Captions leave most small
things out, so recall is also given for objects that cover at least 5 % of the image. What the captions mean, and not
only what the image shows, takes a reader: --sample writes matches and whole captions, drawn by --seed, to judge.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from dataset_diffusion.prompts.captions import read_captions
from dataset_diffusion.prompts.class_sets import ClassSet, class_set
from dataset_diffusion.prompts.compose import build_prompts
from dataset_diffusion.prompts.mentions import find_classes, find_words
from dataset_diffusion.seeding import random_from

LARGE = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--coco", type=Path, default=Path("../shared/data/coco/annotations"), help="annotations folder")
    parser.add_argument("--classes", default="coco", help="class set by name")
    parser.add_argument("--sample", type=Path, help="file to write what is to be judged to")
    parser.add_argument("--sample-size", type=int, default=200, help="matches, and captions, in the sample")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--scale", type=int, help="also make prompts from about so many captions")
    options = parser.parse_args()
    classes = class_set(options.classes)
    captions = read_captions(options.coco / "captions_val2017.json")
    print(
        f"{len(captions)} captions, class set {classes.name}: {captions_per_second(captions, classes):,.0f} captions/s"
    )
    found = [find_classes(caption, classes) for caption in captions]
    print(f"{sum(map(bool, found))} mention a class; {sum(map(len, found))} mentions")
    print_counts(Counter(class_id for ids in found for class_id in ids), classes)
    if options.classes == "coco":
        print_agreement(options.coco, classes)
    if options.sample:
        write_sample(options.sample, captions, classes, options.sample_size, options.seed)
    if options.scale:
        print_scale(captions, classes, options.scale)


def captions_per_second(captions: Sequence[str], classes: ClassSet) -> float:
    """Captions searched per second of processor time, on one core; the best of three."""
    find_classes("", classes)  # builds the lexicon
    seconds = []
    for _ in range(3):
        start = time.process_time()
        for caption in captions:
            find_classes(caption, classes)
        seconds.append(time.process_time() - start)
    return len(captions) / min(seconds)


def print_counts(counts: Counter[int], classes: ClassSet) -> None:
    print(", ".join(f"{classes.name_of(class_id)} {counts[class_id]}" for class_id in classes.ids))


def print_agreement(folder: Path, classes: ClassSet) -> None:
    """Precision and recall per class and image, over the images that have captions and instances."""
    instances = json.loads((folder / "instances_train2017.json").read_text())
    names = {category["id"]: category["name"] for category in instances["categories"]}
    pixels = {image["id"]: image["height"] * image["width"] for image in instances["images"]}
    areas: dict[tuple[int, int], float] = defaultdict(float)
    for one in instances["annotations"]:
        key = one["image_id"], classes.id_of(names[one["category_id"]])
        areas[key] += one["area"] / pixels[one["image_id"]]
    mentioned = {
        (row["image_id"], class_id)
        for row in json.loads((folder / "captions_train2017.json").read_text())["annotations"]
        for class_id in find_classes(row["caption"], classes)
    }
    large = {key for key, area in areas.items() if area >= LARGE}
    print(f"{len(pixels)} images with captions and instances")
    print("| class | mentioned | annotated | precision | recall | recall of large objects |\n|---|---|---|---|---|---|")
    for class_id in [None, *classes.ids]:
        row = [_of_class(keys, class_id) for keys in (mentioned, areas, large)]
        if row[0] or row[1]:
            name = "all" if class_id is None else classes.name_of(class_id)
            said, truth, seen = row
            scores = _share(said & truth, said), _share(said & truth, truth), _share(said & seen, seen)
            print(f"| {name} | {len(said)} | {len(truth)} | {' | '.join(scores)} |")


def _of_class(keys: Iterable[tuple[int, int]], class_id: int | None) -> set[tuple[int, int]]:
    return {key for key in keys if class_id in (None, key[1])}


def _share(part: set[tuple[int, int]], whole: set[tuple[int, int]]) -> str:
    return f"{len(part) / len(whole):.3f}" if whole else ""


def write_sample(file: Path, captions: Sequence[str], classes: ClassSet, size: int, seed: int) -> None:
    """Matches, each with the words that were matched, then whole captions with all that was found in them."""
    captions = list(dict.fromkeys(captions))
    matches = [
        f"{classes.name_of(class_id)}\t{words}\t{caption}"
        for caption in captions
        for class_id, words in find_words(caption, classes).items()
    ]
    generator = random_from(seed, "class finder")
    whole = [
        f"{', '.join(classes.name_of(class_id) for class_id in find_classes(caption, classes)) or '-'}\t{caption}"
        for caption in generator.sample(captions, size)
    ]
    file.write_text("\n".join([*generator.sample(matches, size), "", *whole]) + "\n", encoding="utf-8")
    print(f"wrote {size} matches and {size} captions to {file}")


def print_scale(captions: Sequence[str], classes: ClassSet, num: int) -> None:
    """Time and memory of prompts from many captions, each made its own by a number."""
    start = time.process_time()
    many = (f"{caption} {turn}" for turn in range(num // len(captions)) for caption in captions)
    build_prompts(many, classes, num_images=80_000, seed=0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    total = num // len(captions) * len(captions)
    print(
        f"80,000 prompts from {total:,} captions: {time.process_time() - start:.1f} s of one core, {peak:.0f} MiB at most"
    )


if __name__ == "__main__":
    main()
