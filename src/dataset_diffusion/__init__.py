"""Type class names, get a semantic-segmentation dataset and a trained segmenter, with no annotation.

The public names are imported when they are first used, so that importing the package costs nothing and needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from dataset_diffusion.version import __version__ as __version__

if TYPE_CHECKING:
    from dataset_diffusion.config import CaptureSettings as CaptureSettings
    from dataset_diffusion.dataset.store import DatasetStore as DatasetStore
    from dataset_diffusion.diffusion.load import load_model as load_model
    from dataset_diffusion.diffusion.model import DiffusionModel as DiffusionModel
    from dataset_diffusion.errors import DatasetDiffusionError as DatasetDiffusionError
    from dataset_diffusion.evaluation.scorers.semantic import evaluate_labels as evaluate_labels
    from dataset_diffusion.labelling.assign import assign_labels as assign_labels
    from dataset_diffusion.labelling.heatmaps import normalize as normalize
    from dataset_diffusion.labelling.label import label as label
    from dataset_diffusion.labelling.propagate import propagate as propagate
    from dataset_diffusion.prompts.class_sets import ClassSet as ClassSet, class_set as class_set
    from dataset_diffusion.prompts.compose import build_prompts as build_prompts
    from dataset_diffusion.prompts.tokens import token_indices as token_indices
    from dataset_diffusion.reading import Reading as Reading
    from dataset_diffusion.records import (
        AttentionMaps as AttentionMaps,
        Generation as Generation,
        Prompt as Prompt,
        Sample as Sample,
    )
    from dataset_diffusion.segmentation.model_folder import load_segmenter as load_segmenter

_MODULE_OF = {
    "AttentionMaps": "records",
    "CaptureSettings": "config",
    "ClassSet": "prompts.class_sets",
    "DatasetDiffusionError": "errors",
    "DatasetStore": "dataset.store",
    "DiffusionModel": "diffusion.load",
    "Generation": "records",
    "Prompt": "records",
    "Reading": "reading",
    "Sample": "records",
    "assign_labels": "labelling.assign",
    "build_prompts": "prompts.compose",
    "class_set": "prompts.class_sets",
    "evaluate_labels": "evaluation.scorers.semantic",
    "label": "labelling.label",
    "load_model": "diffusion.load",
    "load_segmenter": "segmentation.model_folder",
    "normalize": "labelling.heatmaps",
    "propagate": "labelling.propagate",
    "token_indices": "prompts.tokens",
}
"""Public name -> the module that has it."""

__all__ = list(_MODULE_OF)


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULE_OF])
