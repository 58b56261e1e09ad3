"""Is what is there what was asked for? Said once, for datasets, segmenters, exports and runs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from dataset_diffusion.errors import DatasetDiffusionError

MAX_SHOWN = 3


def differences(there: Mapping[str, Any], asked: Mapping[str, Any], ignore: Collection[str] = ()) -> list[str]:
    """Where two nested settings differ: ``name: what is asked for (here: what is there)``, one entry each.

    Those to ``ignore`` are named the same way, settings inside others with dots.

    Example:
        >>> differences({"train": {"steps": 1}}, {"train": {"steps": 2}})
        ['train.steps: 2 (here: 1)']
    """
    mine, theirs = flatten(there), flatten(asked)
    names = [name for name in {**mine, **theirs} if name not in ignore and mine.get(name) != theirs.get(name)]
    return [f"{name}: {theirs.get(name)} (here: {mine.get(name)})" for name in names]


def refuse_differences(
    found: list[str], folder: Path, holds: str, error: Callable[..., DatasetDiffusionError], fix: str | None = None
) -> None:
    """Raise an error that names the first differences, where `differences` found any in what a folder ``holds``."""
    if found:
        more = f" (and {len(found) - MAX_SHOWN} more)" if len(found) > MAX_SHOWN else ""
        fix = fix or f"use another --out or delete {folder}"
        raise error(f"{folder} holds {holds}", got=", ".join(found[:MAX_SHOWN]) + more, fix=fix)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by name, those inside others with dots."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat
