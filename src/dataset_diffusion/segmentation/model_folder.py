"""A trained segmenter on disk: ``model.safetensors`` and then ``model.json``, whose presence means finished."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from dataset_diffusion.config import TrainSettings
from dataset_diffusion.disk.atomic import atomic_write
from dataset_diffusion.errors import ConfigError, DatasetDiffusionError, ModelError
from dataset_diffusion.machine.devices import resolve_device
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.run_folder import CHECKPOINT, DESCRIPTION, WEIGHTS
from dataset_diffusion.segmentation.models import Segmenter, build_segmenter
from dataset_diffusion.version import __version__


@dataclass(frozen=True)
class Identity:
    """What a model folder holds: the same identity, the same weights.

    Attributes:
        class_set: the classes it tells apart; id 0 is the background.
        settings: how it was, or is to be, trained.
        seed: the run's seed.
        num_images: how many images it was trained on.
        data_id: which images; whatever the caller calls them.
    """

    class_set: ClassSet
    settings: TrainSettings
    seed: int
    num_images: int
    data_id: str

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "segmenter": self.settings.segmenter,
            "class_set": json.loads(json.dumps(self.class_set.to_json())),
            "settings": self.settings.model_dump(mode="json"),
            "seed": self.seed,
            "num_images": self.num_images,
            "data_id": self.data_id,
        }

    def check(self, found: dict[str, Any], folder: Path) -> None:
        """Refuse a folder that holds, or was begun with, another identity.

        Args:
            found: the ``to_json`` of that identity.
            folder: where it was found.

        Raises:
            ConfigError: naming the first difference.
        """
        got, wanted = _flat(found), _flat(self.to_json())
        for name, value in wanted.items():
            if got.get(name) != value:
                raise ConfigError(
                    f"{folder} holds a segmenter that was trained otherwise",
                    got=f"{name} {got.get(name)}",
                    expected=f"{name} {value}",
                    fix="choose another --out, or what it was trained with",
                )


@dataclass(frozen=True, eq=False)
class TrainedSegmenter:
    """A segmenter in evaluation mode, the classes its channels stand for, and how it was trained."""

    model: Segmenter
    class_set: ClassSet
    settings: TrainSettings


def _flat(description: dict[str, Any]) -> dict[str, Any]:
    """Every setting by its own name, in an order in which the first difference is the one to tell."""
    classes = description.get("class_set", {})
    names = ", ".join(classes.get("names", ()))
    shown = {name: description.get(name) for name in ("segmenter", "seed", "num_images", "data_id")}
    return {"classes": names, **description.get("settings", {}), **shown, "class_set": classes}


def save_segmenter(segmenter: Segmenter, identity: Identity, folder: Path) -> None:
    """Write a finished model folder, ``model.json`` last.

    Raises:
        DatasetError: the folder cannot be written.
    """
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in segmenter.state_dict().items()}
    atomic_write(folder / WEIGHTS, save(weights))
    description = {**identity.to_json(), "package_version": __version__}
    atomic_write(folder / DESCRIPTION, (json.dumps(description, indent=2) + "\n").encode())


def load_segmenter(path: Path, device: str | None = None) -> TrainedSegmenter:
    """Read a model folder.

    Args:
        path: what ``train_segmenter`` returned.
        device: where to put it; None takes the accelerator there is, or the CPU.

    Raises:
        ModelError: no finished segmenter there, or one that does not fit its description.
        ConfigError: no such device.
    """
    path, where = Path(path), resolve_device(device)
    description = read_description(path)
    try:
        class_set = ClassSet.from_json(description["class_set"])
        settings = TrainSettings.model_validate(description["settings"])
        segmenter = build_segmenter(settings.segmenter, class_set.num_classes + 1)
        segmenter.load_state_dict(load_file(path / WEIGHTS))
    # load_state_dict raises RuntimeError for names or shapes that do not fit.
    except (KeyError, ValidationError, SafetensorError, OSError, RuntimeError, DatasetDiffusionError) as error:
        raise ModelError(
            f"cannot load the segmenter in {path}",
            got=f"{type(error).__name__}: {error}",
            fix="train it again into an empty folder",
        ) from error
    return TrainedSegmenter(segmenter.to(where).eval(), class_set, settings)


def read_description(path: Path) -> dict[str, Any]:
    """``model.json`` of a finished model folder.

    Raises:
        ModelError: it is missing or is not a JSON object.
    """
    try:
        description = json.loads((path / DESCRIPTION).read_text(encoding="utf-8"))
    except OSError as error:
        unfinished = (path / CHECKPOINT).exists()
        raise ModelError(
            "not a trained segmenter",
            got=f"{path} without a {DESCRIPTION}",
            fix="run the same train command again to finish it" if unfinished else "dataset-diffusion train",
        ) from error
    except ValueError as error:
        raise ModelError("not a segmenter's description", got=f"{path / DESCRIPTION}: {error}") from error
    if not isinstance(description, dict):
        raise ModelError("not a segmenter's description", got=str(path / DESCRIPTION), expected="a JSON object")
    return description
