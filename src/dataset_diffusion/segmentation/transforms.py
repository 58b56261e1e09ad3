"""Augmentation of (image, label map) pairs."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from dataset_diffusion.config import Augmentation
from dataset_diffusion.prompts.class_sets import ClassSet

SCALE_RANGE = (0.5, 2.0)
CATEGORY_MAX_RATIO = 0.75
CROP_ATTEMPTS = 10
PHOTOMETRIC_DISTORTION = {"brightness": 32 / 255, "contrast": 0.5, "saturation": 0.5, "hue": 18 / 180}
"""How far each may be shifted; each is applied half of the time."""
STRONG_SCALES = (0.5, 1.5)
TURN, SHEAR = 15.0, 10.0
"""Degrees, at most."""
STRONG_DISTORTION = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
"""How far all of them may be shifted at once, four times in five."""
PADDING = {tv_tensors.Image: 0, tv_tensors.Mask: ClassSet.ignore_index}


class CategoryCrop(v2.RandomCrop):  # type: ignore[misc]
    """A random crop with labelled pixels, of which no class covers more than a given share.

    Smaller inputs are padded. The last of ``CROP_ATTEMPTS`` is taken as it is: an image of one class has no better one.
    The size is (height, width), in pixels.
    """

    def __init__(self, size: tuple[int, int], max_ratio: float = CATEGORY_MAX_RATIO) -> None:
        super().__init__(size, pad_if_needed=True, fill=PADDING)
        self.max_ratio = max_ratio

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        label = next(item for item in flat_inputs if isinstance(item, tv_tensors.Mask))
        for _ in range(CROP_ATTEMPTS):
            params: dict[str, Any] = super().make_params(flat_inputs)
            if _largest_share(self.transform(label, params)) <= self.max_ratio:
                break
        return params


def training_transform(augmentation: Augmentation, crop_size: tuple[int, int]) -> v2.Transform:
    """A random transform of training pairs.

    Args:
        augmentation: ``published`` resizes by 0.5-2.0, crops, flips and distorts colours, for tens of thousands of
            steps from ImageNet weights; ``light`` crops and flips, for hundreds of steps from nothing; ``strong``
            resizes by 0.5-1.5, crops, flips, turns, shears, distorts colours, and greys or blurs now and then.
        crop_size: (height, width) of every result, in pixels; also the size that scale 1.0 fits the image into.
    """
    if augmentation == "light":
        return v2.Compose([v2.RandomCrop(crop_size, pad_if_needed=True, fill=PADDING), v2.RandomHorizontalFlip()])
    if augmentation == "strong":
        return v2.Compose(
            [
                v2.ScaleJitter(crop_size, scale_range=STRONG_SCALES),
                v2.RandomCrop(crop_size, pad_if_needed=True, fill=PADDING),
                v2.RandomHorizontalFlip(),
                v2.RandomApply([v2.RandomAffine(TURN, shear=SHEAR, fill=PADDING)], p=0.5),
                v2.RandomApply([v2.ColorJitter(**STRONG_DISTORTION)], p=0.8),
                v2.RandomGrayscale(p=0.1),
                v2.RandomApply([v2.GaussianBlur(kernel_size=5, sigma=(0.1, 2.0))], p=0.2),
            ]
        )
    distortions = (
        v2.RandomApply([v2.ColorJitter(**{what: amount})], p=0.5) for what, amount in PHOTOMETRIC_DISTORTION.items()
    )
    return v2.Compose(
        [
            v2.ScaleJitter(crop_size, scale_range=SCALE_RANGE),
            CategoryCrop(crop_size),
            v2.RandomHorizontalFlip(),
            *distortions,
        ]
    )


def augment(
    image: UInt8[Tensor, "3 h w"], label: UInt8[Tensor, "*planes h w"], transform: v2.Transform, seed: int
) -> tuple[UInt8[Tensor, "3 crop_h crop_w"], UInt8[Tensor, "*planes crop_h crop_w"]]:
    """Apply a random transform to a pair; the same seed gives the same result, and no random state is left changed.

    The label map may be a stack of planes, the class ids first.
    """
    # torchvision draws from torch's global CPU generator and takes no other.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        new_image, new_label = transform(tv_tensors.Image(image), tv_tensors.Mask(label))
    return new_image.as_subclass(Tensor), new_label.as_subclass(Tensor)


def _largest_share(label: Tensor) -> float:
    """Share that the largest class has of the labelled pixels."""
    ids = label.as_subclass(Tensor)
    pixels = (ids[0] if ids.ndim == 3 else ids).flatten().bincount(minlength=ClassSet.ignore_index + 1)
    pixels[ClassSet.ignore_index] = 0
    # NaN, which is never small enough, where nothing is labelled: such a crop would teach nothing.
    return float(pixels.max() / pixels.sum())
