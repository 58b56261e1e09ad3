"""What was found in captions and what became of it: counts per class, and which classes come together. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, permutations
from typing import Any

from dataset_diffusion.prompts.captions import remove_class_prompt
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.prompts.compose import FoundScenes
from dataset_diffusion.prompts.mentions import gist
from dataset_diffusion.records import Prompt

COMPANIONS_SHOWN = 3


def describe_prompts(prompts: Sequence[Prompt], found: FoundScenes | None, classes: ClassSet) -> dict[str, Any]:
    """Counts of prompts and of the captions they are made from, for ``--report`` and for ``format_table``.

    Returns:
        Plain lists, numbers and strings: ``class_set``, ``prompts``, ``captions`` (None without any), and ``classes``:
        for each name the captions and prompts that mention it, and ``with``, how many captions (without any: prompts)
        mention each other class too, most frequent first; and ``quality``, see `prompt_quality`.
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
        "quality": prompt_quality(prompts, classes),
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


def prompt_quality(prompts: Sequence[Prompt], classes: ClassSet) -> dict[str, int | float]:
    """How varied and even prompts are.

    Returns:
        ``distinct scenes``, the number of captions that say something else than all others; ``words a caption`` and
        ``classes a caption``, means; ``balance``, how often the class named least is named, as a fraction of the class
        named most, in [0, 1].
    """
    captions = [remove_class_prompt(prompt.text, prompt.class_prompt) for prompt in prompts]
    named = Counter(chain.from_iterable(prompt.classes for prompt in prompts))
    most = max(named.values(), default=0)
    count = max(len(prompts), 1)
    return {
        "distinct scenes": len(set(map(gist, captions))),
        "words a caption": round(sum(len(caption.split()) for caption in captions) / count, 2),
        "classes a caption": round(named.total() / count, 2),
        "balance": round(min(named[class_id] for class_id in classes.ids) / most, 3) if most else 0.0,
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
    yield "prompts: " + ", ".join(f"{what} {value:g}" for what, value in report["quality"].items())
    if captions := report["captions"]:
        too_long = f"{captions['too long']} are too long, " if captions["too long"] else ""
        yield (
            f"{captions['read']} captions: {captions['without a class']} mention no class, "
            f"{captions['repeated']} repeat another, {too_long}{captions['usable']} used"
        )
