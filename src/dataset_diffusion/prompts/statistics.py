"""What was found in captions and what became of it: counts per class, and which classes come together. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, permutations
from typing import Any

from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.prompts.compose import FoundScenes
from dataset_diffusion.records import Prompt

COMPANIONS_SHOWN = 3


def describe_prompts(prompts: Sequence[Prompt], found: FoundScenes | None, classes: ClassSet) -> dict[str, Any]:
    """Counts of prompts and of the captions they are made from, for ``--report`` and for ``format_table``.

    Returns:
        Plain lists, numbers and strings: ``class_set``, ``prompts``, ``captions`` (None without any), and ``classes``:
        for each name the captions and prompts that mention it, and ``with``, how many captions (without any: prompts)
        mention each other class too, most frequent first.
    """
    drawn = [prompt.classes for prompt in prompts]
    mentioned = [ids for _, ids in found.scenes] if found else []
    per_prompt, per_caption = Counter(chain.from_iterable(drawn)), Counter(chain.from_iterable(mentioned))
    pairs = Counter(pair for ids in mentioned or drawn for pair in permutations(ids, 2))
    companions: dict[int, dict[str, int]] = {class_id: {} for class_id in classes.ids}
    for (class_id, other), count in pairs.most_common():
        companions[class_id][classes.name_of(other)] = count
    return {
        "class_set": classes.name,
        "prompts": len(prompts),
        "captions": None
        if found is None
        else {
            "read": found.num_captions,
            "without a class": found.num_without_class,
            "repeated": found.num_repeated,
            "too long": len(found.too_long),
            "usable": len(found.scenes) - len(found.too_long),
        },
        "classes": {
            classes.name_of(class_id): {
                "captions": per_caption[class_id],
                "prompts": per_prompt[class_id],
                "with": companions[class_id],
            }
            for class_id in classes.ids
        },
    }


def format_table(report: dict[str, Any]) -> Iterator[str]:
    """The lines of a table of what ``describe_prompts`` found."""
    rows = [("class", "captions", "prompts", "most often with")]
    for name, row in report["classes"].items():
        companions = ", ".join(f"{other} {n}" for other, n in list(row["with"].items())[:COMPANIONS_SHOWN])
        rows.append((name, row["captions"], row["prompts"], companions))
    width = max(len(row[0]) for row in rows)
    for name, num_captions, num_prompts, companions in rows:
        yield f"  {name:<{width}}  {num_captions:>8}  {num_prompts:>7}  {companions}".rstrip()
    if captions := report["captions"]:
        too_long = f"{captions['too long']} are too long, " if captions["too long"] else ""
        yield (
            f"{captions['read']} captions: {captions['without a class']} mention no class, "
            f"{captions['repeated']} repeat another, {too_long}{captions['usable']} used"
        )
