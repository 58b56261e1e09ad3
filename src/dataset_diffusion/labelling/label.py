"""The short way: one call from a prompt, or a picture and its class words, to a label map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import UInt8

from dataset_diffusion.config import LabelOptions, LabelSettings
from dataset_diffusion.errors import ModelError, PromptError, check_kind
from dataset_diffusion.labelling.assign import label_map
from dataset_diffusion.labelling.heatmaps import class_heatmaps
from dataset_diffusion.prompts.class_sets import ClassSet, resolve_classes
from dataset_diffusion.prompts.compose import compose_prompt
from dataset_diffusion.prompts.mentions import find_classes
from dataset_diffusion.reading import Reading
from dataset_diffusion.records import Prompt, shown

if TYPE_CHECKING:
    from dataset_diffusion.diffusion.model import DiffusionModel


class Labelled(NamedTuple):
    """A picture, uint8 RGB in [0, 255], "h w 3", and its label map, uint8, "h w": 0 background, class ids, 255
    uncertain.
    """

    image: UInt8[np.ndarray, "h w 3"]
    label: UInt8[np.ndarray, "h w"]

    def __repr__(self) -> str:
        return f"Labelled(image={shown(self.image)}, label={shown(self.label)})"


def label(
    model: DiffusionModel,
    scene: Prompt | str | UInt8[np.ndarray, "h w 3"],
    classes: ClassSet | str | Sequence[str] | None = None,
    *,
    seed: int = 0,
    reading: Reading | str | None = None,
    settings: LabelOptions | LabelSettings = LabelOptions(),
) -> Labelled:
    """Draw a prompt and label it, or label a picture that is given.

    Args:
        model: what `load_model` gave.
        scene: a prompt; a caption that names classes; or a picture, uint8 RGB of any size, that shows all ``classes``.
        classes: a class set, the name of one, or class names, whose ids are 1, 2, ... in their order; a `Prompt` needs
            none.
        seed: of the picture, or of the noise that a given picture is looked at with.
        reading: how attention becomes heatmaps, or its name or file; None takes the model's own.
        settings: exponent, thresholds and refinement; what is left open is what fits the reading.

    Returns:
        The picture and its label map; of a given picture at its own size.

    Raises:
        PromptError: no classes, or none that the caption mentions.
        ConfigError: a picture or settings of another kind.
        ModelError: no model.
        ConfigError, PromptError, ModelError: as for `DiffusionModel.generate`.

    Example:
        >>> from dataset_diffusion import load_model
        >>> image, labels = label(load_model("embedded"), "a cat and a bus in the snow", ["cat", "bus"])
        >>> image.shape, labels.shape
        ((128, 128, 3), (128, 128))
    """
    if not hasattr(model, "spec"):
        raise ModelError(
            "no model to label with", got=repr(model), fix='load_model("embedded") loads the one that ships'
        )
    check_kind(settings, (LabelOptions, LabelSettings), "settings of labels", fix="LabelOptions(threshold=0.5)")
    chosen = reading if isinstance(reading, Reading) else model.spec.resolve_reading(reading)
    prompt = scene if isinstance(scene, Prompt) else _prompt(scene, classes)
    if not isinstance(scene, (Prompt, str)):
        image = scene
        (attention,) = model.attend([model.fit_picture(scene)], [prompt], [seed], chosen)
    else:
        (drawn,) = model.generate([prompt], [seed], chosen)
        assert drawn.attention is not None
        image, attention = drawn.image, drawn.attention
    asked, size = settings.resolve(chosen.label), (image.shape[0], image.shape[1])
    return Labelled(image, label_map(class_heatmaps(attention), prompt.classes, size, asked, image=image))


def _prompt(scene: str | UInt8[np.ndarray, "h w 3"], classes: ClassSet | str | Sequence[str] | None) -> Prompt:
    if classes is None:
        raise PromptError(
            "no classes to label", fix='name them, as in label(model, "a cat on a sofa", ["cat", "sofa"])'
        )
    class_set = resolve_classes(classes)
    if isinstance(scene, str):
        found = find_classes(scene, class_set)
        if not found:
            names = ", ".join(class_set.names)
            raise PromptError("the caption mentions none of the classes", got=repr(scene), expected=f"one of {names}")
        return compose_prompt(0, scene, found, class_set)
    words = " and ".join(class_set.words)
    return compose_prompt(0, f"a photo of {words}", class_set.ids, class_set)
