"""COCO's instances files, checked: what is annotated in which image."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dataset_diffusion.errors import DatasetError


class Instances(NamedTuple):
    """What an instances file holds.

    Attributes:
        images: with an ``id`` each, no two the same.
        annotations: with an ``id`` each, no two the same, and the ``image_id`` and ``category_id`` of what is listed.
        categories: names by id.
    """

    images: list[dict[str, Any]]
    annotations: list[dict[str, Any]]
    categories: dict[Hashable, str]


def read_instances(file: Path) -> Instances:
    """Read an instances file.

    Raises:
        DatasetError: it cannot be read, is not JSON or of another kind, repeats an id, or annotates an image or with a
            category that it does not list.
    """
    try:
        values = json.loads(file.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise DatasetError(f"cannot read {file}", got=error.strerror or str(error)) from error
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{file} is not JSON", got=str(error)) from error
    try:
        images, annotations, categories = values["images"], values["annotations"], values["categories"]
        if not (images and categories and isinstance(annotations, list)):
            raise KeyError("no images, or no annotations")
        listed = {}
        for what, rows in (("images", images), ("annotations", annotations), ("categories", categories)):
            listed[what] = _unique(file, what, [row["id"] for row in rows])
        _check_listed(file, "images", [one["image_id"] for one in annotations], listed["images"])
        _check_listed(file, "categories", [one["category_id"] for one in annotations], listed["categories"])
        return Instances(images, annotations, {one["id"]: str(one["name"]) for one in categories})
    except (AttributeError, KeyError, TypeError) as error:
        raise not_instances(file, error) from error


def not_instances(file: Path, error: Exception) -> DatasetError:
    """The error to raise where something in an instances file is missing or of another kind."""
    return DatasetError(
        f"{file} is not a COCO instances file",
        got=f"{type(error).__name__}: {error}",
        expected="images, annotations and categories",
    )


def _unique(file: Path, what: str, ids: Sequence[Any]) -> set[Hashable]:
    unique = set(ids)
    if len(unique) < len(ids):
        first, times = Counter(ids).most_common(1)[0]
        raise DatasetError(
            f"{file}: ids of {what} are not unique: {json.dumps(first)} ({times} times)", fix="number them anew"
        )
    return unique


def _check_listed(file: Path, what: str, used: Sequence[Any], listed: set[Hashable]) -> None:
    if strange := Counter(one for one in used if one not in listed):
        shown = ", ".join(f"{json.dumps(one)} ({times})" for one, times in strange.most_common(3))
        raise DatasetError(
            f"{file}: annotations of {what} that are not listed: {shown}",
            expected=f"ids as in {what}, such as {json.dumps(min(listed, key=str))}",
        )
