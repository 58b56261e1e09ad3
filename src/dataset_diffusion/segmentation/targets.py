"""What a segmenter is to learn of a picture, from class probabilities: ids, and how much each pixel counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torchvision.transforms.v2.functional import to_dtype

from dataset_diffusion.config import TrainSettings
from dataset_diffusion.errors import ConfigError
from dataset_diffusion.labelling.assign import BACKGROUND, UNCERTAIN
from dataset_diffusion.segmentation.models import Segmenter
from dataset_diffusion.segmentation.predict import Views, predict_probabilities
from dataset_diffusion.segmentation.sampling import FULL_WEIGHT, LabelledImages, ReadImages

Target = UInt8[Tensor, "*planes h w"]
"""Class ids "h w", 255 ignored; or "2 h w", the ids and how much each pixel counts in 255ths."""


def attention_targets(data: LabelledImages) -> Iterator[Target]:
    """What the attention says about images, every pixel weighed by how sure it is, in order.

    Raises:
        ConfigError: the images come without their attention.
    """
    read = _with_prompts(data)
    return (weighed(read.attention(index)) for index in range(len(read)))


def segmenter_targets(
    segmenter: Segmenter, data: LabelledImages, settings: TrainSettings, batch_size: int = 16
) -> Iterator[Target]:
    """What a segmenter says about images, the mean of each and its mirror image, as the settings of self-training ask.

    The published method looks at no mirror image and takes the most probable class everywhere.

    Their labels are not looked at, their prompts and their attention only where the settings say so.

    Yields:
        The targets at the images' own sizes, in order. Pixels are weighed, or those whose most probable class is below
        ``settings.self_training_confidence`` are 255.

    Raises:
        ConfigError: the settings ask for prompts or attention, and the images come without them.
    """
    images = (to_dtype(data[index][0], torch.uint8, scale=True).permute(1, 2, 0).numpy() for index in range(len(data)))
    share, prompted = settings.self_training_attention, settings.self_training_classes == "prompt"
    plain = settings.self_training_method == "published"
    confidence = 0.0 if plain else settings.self_training_confidence
    read = _with_prompts(data) if share or prompted else None
    for index, said in enumerate(predict_probabilities(segmenter, images, Views(flip=not plain), batch_size)):
        probabilities = said.float()
        if read is not None and prompted:
            probabilities = kept_to(probabilities, read.classes_of(index))
        if read is not None and share:
            probabilities = (1 - share) * probabilities + share * read.attention(index)
        yield weighed(probabilities) if settings.weigh_pixels else cut(probabilities, confidence)


def kept_to(probabilities: Float[Tensor, "labels h w"], class_ids: Sequence[int]) -> Float[Tensor, "labels h w"]:
    """The probabilities, given that no other class than these and the background is there; they sum to 1.

    Where all of them are 0 it is the background.
    """
    possible = torch.zeros_like(probabilities)
    ids = [BACKGROUND, *class_ids]
    possible[ids] = probabilities[ids]
    total = possible.sum(dim=0)
    possible[BACKGROUND] = torch.where(total > 0, possible[BACKGROUND], 1.0)
    return possible / total.where(total > 0, 1.0)


def cut(probabilities: Float[Tensor, "labels h w"], confidence: float) -> UInt8[Tensor, "h w"]:
    """The most probable ids; 255 where the probability is below ``confidence``."""
    highest, ids = probabilities.max(dim=0)
    return ids.masked_fill(highest < confidence, UNCERTAIN).to(torch.uint8)


def weighed(probabilities: Float[Tensor, "labels h w"]) -> UInt8[Tensor, "2 h w"]:
    """The most probable ids, and how far each is ahead of the next: 0 where two are equal, 255 where it is certain."""
    (first, second), ids = probabilities.topk(2, dim=0)
    return torch.stack([ids[0].to(torch.uint8), ((first - second) * FULL_WEIGHT).round().to(torch.uint8)])


def as_planes(target: Target) -> tuple[np.ndarray, np.ndarray | None]:
    """Ids and weights of a target, each "h w"; no weights where it has none."""
    array = target.numpy()
    return (array, None) if array.ndim == 2 else (array[0], array[1])


def _with_prompts(data: LabelledImages) -> ReadImages:
    if not isinstance(data, ReadImages):
        raise ConfigError(
            "labels kept to the prompt's classes, averaged with the attention or weighed by it need both",
            got="images and label maps alone",
            expected="a dataset of this package",
        )
    return data
