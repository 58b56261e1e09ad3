"""What commands share: how their options are laid out and how results are printed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from tyro.conf import arg

from dataset_diffusion.errors import Skipped, is_quiet

if TYPE_CHECKING:
    from dataset_diffusion.dataset.store import DatasetStore

Result = dict[str, Any]
"""What a command gives, for ``--json``: names, numbers, paths, and lists and tables of them."""

Flat = arg(name="")
"""An argument whose own fields become the options."""


def print_skipped(skipped: Skipped | None) -> None:
    for image_id, reason in skipped.reasons.items() if skipped else ():
        print(f"skipped {image_id}: {reason}", file=sys.stderr)


def print_scores(results: dict[str, Any]) -> None:
    width = max(map(len, results["per_class_iou"]), default=0)
    for name, iou in results["per_class_iou"].items():
        print(f"  {name:<{width}}  {iou:6.1%}")
    for name, score in results.items():
        if isinstance(score, float) and name not in {"miou", "pixel_accuracy"}:
            print(f"{name} {score:.4f}")
    print(f"mIoU {results['miou']:.1%} over {results['num_images']} images")


def announce(line: str) -> None:
    """Say what is to come."""
    if not is_quiet():
        print(line, flush=True)


def describe(store: DatasetStore, skipped: Skipped | None = None) -> Result:
    """A dataset that a command made, and what it left out."""
    return {
        "out": store.path,
        "samples": len(store),
        "shards": store.manifest.num_shards,
        "classes": store.class_set.names,
        "skipped": skipped.reasons if skipped else {},
    }
