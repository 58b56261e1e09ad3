"""A trained segmenter on disk: ``model.safetensors`` and then ``model.json``, whose presence means finished."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from dataset_diffusion.config import TrainSettings
from dataset_diffusion.disk.atomic import atomic_write, write_json
from dataset_diffusion.disk.claims import differences, refuse_differences
from dataset_diffusion.disk.pictures import check_picture
from dataset_diffusion.disk.places import read_regular
from dataset_diffusion.errors import ConfigError, DatasetDiffusionError, ModelError, check_kind, first_line
from dataset_diffusion.machine.devices import resolve_device
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.run_folder import CHECKPOINT, DESCRIPTION, WEIGHTS
from dataset_diffusion.segmentation.models import Segmenter, build_segmenter
from dataset_diffusion.segmentation.own_network import OwnNetworkError
from dataset_diffusion.segmentation.predict import Views, predict
from dataset_diffusion.version import __version__


@dataclass(frozen=True)
class Identity:
    """What a model folder holds: the same identity, the same weights.

    Attributes:
        settings: how it was, or is to be, trained.
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
            "class_set": self.class_set.to_json(),
            "settings": self.settings.model_dump(mode="json"),
            "seed": self.seed,
            "num_images": self.num_images,
            "data_id": self.data_id,
        }

    def check(self, found: dict[str, Any], folder: Path) -> None:
        """Refuse a folder in which the ``to_json`` of another identity was found."""
        try:
            there = _shown(found)
        except (AttributeError, TypeError, ValueError) as error:
            raise ModelError(
                f"{folder} holds no segmenter", got=first_line(error), fix="use another --out or delete it"
            ) from error
        refuse_differences(
            differences(there, _shown(self.to_json())),
            folder,
            "a segmenter that was trained otherwise",
            ConfigError,
            fix="choose another --out, or what it was trained with",
        )


@dataclass(frozen=True, eq=False, repr=False)
class TrainedSegmenter:
    """A segmenter in evaluation mode, the classes its channels stand for, and how it was trained."""

    model: Segmenter
    class_set: ClassSet
    settings: TrainSettings

    def __repr__(self) -> str:
        return f"<TrainedSegmenter {self.settings.segmenter}: {', '.join(self.class_set.names)}>"

    def predict(self, image: UInt8[np.ndarray, "h w 3"], sliding_window: int = 1024) -> UInt8[np.ndarray, "h w"]:
        """Class ids (0 background, 1..K) of an RGB picture in [0, 255] of any size.

        Args:
            image: the picture.
            sliding_window: side of the square window by which larger pictures are seen, in pixels.

        Raises:
            ConfigError: not a uint8 RGB array.
        """
        check_picture(image)
        return next(predict(self.model, [image], Views(window=sliding_window)))


@dataclass(frozen=True)
class ModelFolder:
    """A finished segmenter on disk, whose weights are read when they are asked for."""

    path: Path
    class_set: ClassSet
    settings: TrainSettings

    @classmethod
    def open(cls, path: Path) -> ModelFolder:
        """Read what a folder holds; a ModelError where that is no finished segmenter."""
        description = read_description(path)
        with _explained_damage(path):
            class_set = ClassSet.from_json(description["class_set"])
            return cls(path, class_set, TrainSettings.model_validate(description["settings"]))

    def load(self, device: str | None = None) -> TrainedSegmenter:
        """Build the segmenter and read its weights; see `load_segmenter`."""
        where = resolve_device(device)
        with _explained_damage(self.path):
            segmenter = build_segmenter(self.settings.segmenter, len(self.class_set.label_ids))
            segmenter.load_state_dict(load_file(self.path / WEIGHTS))
        return TrainedSegmenter(segmenter.to(where).eval(), self.class_set, self.settings)


def save_segmenter(segmenter: Segmenter, identity: Identity, folder: Path) -> None:
    """Write a finished model folder, ``model.json`` last."""
    # Copies, since safetensors refuses weights that share memory, as a network of the user's own may have.
    weights = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in segmenter.state_dict().items()}
    atomic_write(folder / WEIGHTS, save(weights))
    write_json(folder / DESCRIPTION, {**identity.to_json(), "package_version": __version__})


def load_segmenter(path: str | Path, device: str | None = None) -> TrainedSegmenter:
    """Read a model folder.

    Args:
        path: what ``train_segmenter`` returned.
        device: where to put it; None takes the accelerator there is, or the CPU.

    Example:
        >>> segmenter = load_segmenter("runs/demo/model")  # doctest: +SKIP
        >>> segmenter.predict(image).shape  # doctest: +SKIP
        (128, 128)

    Raises:
        ModelError: no finished segmenter there, one that does not fit its description, or a network of the user's own
            whose module cannot be imported.
        ConfigError: no such device.
    """
    check_kind(path, (str, Path), "folder of a segmenter", error=ModelError)
    return ModelFolder.open(Path(path)).load(device)


def read_description(path: Path) -> dict[str, Any]:
    """``model.json`` of a finished model folder; a ModelError where it is missing or is not a JSON object."""
    try:
        description = json.loads(read_regular(path / DESCRIPTION).decode())
    except OSError as error:
        unfinished = (path / CHECKPOINT).exists()
        raise ModelError(
            "not a trained segmenter",
            got=f"{path} without a {DESCRIPTION}",
            fix="run the same train command again to finish it" if unfinished else "dataset-diffusion train",
        ) from error
    except (ValueError, RecursionError) as error:
        raise ModelError("not a segmenter's description", got=f"{path / DESCRIPTION}: {error}") from error
    if not isinstance(description, dict):
        raise ModelError("not a segmenter's description", got=str(path / DESCRIPTION), expected="a JSON object")
    return description


def _shown(description: dict[str, Any]) -> dict[str, Any]:
    """What is compared of a description: every setting by its own name, the one to tell first."""
    classes = dict(description.get("class_set", {}))
    compared = {name: description.get(name) for name in ("seed", "num_images", "data_id")}
    names = ", ".join(classes.pop("names", ()))
    # What an earlier version did not know is what this one does unless told otherwise.
    settings = TrainSettings().model_dump(mode="json") | description.get("settings", {})
    return {"classes": names, **settings, **compared, "class_set": classes}


_DAMAGED = (AttributeError, KeyError, TypeError, ValueError)
"""What reading values of another kind raises."""


@contextmanager
def _explained_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except OwnNetworkError:  # nothing is wrong with the folder
        raise
    # load_state_dict raises RuntimeError for names or shapes that do not fit.
    except (*_DAMAGED, ValidationError, SafetensorError, OSError, RuntimeError, DatasetDiffusionError) as error:
        raise ModelError(
            f"cannot load the segmenter in {path}",
            got=f"{type(error).__name__}: {error}",
            fix="train it again into an empty folder",
        ) from error
