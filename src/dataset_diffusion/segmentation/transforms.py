"""Augmentation of (image, label map) pairs."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from dataset_diffusion.config import Augmentation
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.segmentation.models import IMAGENET_MEAN, Colour

SCALE_RANGE = (0.5, 2.0)
CATEGORY_MAX_RATIO = 0.75
CROP_ATTEMPTS = 10
BRIGHTNESS = 32.0
"""Levels of 0 to 255 that are added, at most; each distortion is applied half of the time."""
CONTRAST = SATURATION = (0.5, 1.5)
"""Factors of the levels, and of the saturation in HSV."""
HUE = 18
"""Steps of two degrees that the hue is turned by, at most."""
PADDING = {tv_tensors.Image: 0, tv_tensors.Mask: ClassSet.ignore_index}


class CategoryCrop(v2.Transform):  # type: ignore[misc]
    """A random crop with labelled pixels, of which no class covers more than a given share.

    Smaller inputs stay as they are. The last of ``CROP_ATTEMPTS`` is taken as it is: an image of one class has no
    better one. The size is (height, width), in pixels.
    """

    def __init__(self, size: tuple[int, int], max_ratio: float = CATEGORY_MAX_RATIO) -> None:
        super().__init__()
        self.size = size
        self.max_ratio = max_ratio

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Place and size of a crop."""
        label = next(item for item in flat_inputs if isinstance(item, tv_tensors.Mask))
        sides = [min(pair) for pair in zip(self.size, label.shape[-2:], strict=True)]
        for _ in range(CROP_ATTEMPTS):
            top, left = (
                int(torch.randint(whole - side + 1, ())) for whole, side in zip(label.shape[-2:], sides, strict=True)
            )
            params = {"top": top, "left": left, "height": sides[0], "width": sides[1]}
            if _largest_share(functional.crop(label, **params)) <= self.max_ratio:
                break
        return params

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Cut it out."""
        return functional.crop(inpt, **params)


class PhotometricDistortion(v2.Transform):  # type: ignore[misc]
    """Brightness, contrast, saturation and hue of 8-bit RGB, each distorted half of the time (Liu et al. 2016).

    Contrast is about black, and comes before the colours or after them. Results are clipped and truncated to levels.
    """

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """What to add to levels and hue, and the factors; None leaves as it is."""
        return {
            "brightness": _half_the_time(-BRIGHTNESS, BRIGHTNESS),
            "contrast": _half_the_time(*CONTRAST),
            "contrast_first": _coin(),
            "saturation": _half_the_time(*SATURATION),
            "hue": int(torch.randint(-HUE, HUE + 1, ())) if _coin() else None,
        }

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Distort an image; label maps stay."""
        if not isinstance(inpt, tv_tensors.Image):
            return inpt
        pixels = inpt.permute(1, 2, 0).numpy()
        pixels = _linear(pixels, add=params["brightness"])
        if params["contrast_first"]:
            pixels = _linear(pixels, times=params["contrast"])
        if params["saturation"] is not None or params["hue"] is not None:
            pixels = _turn_colours(pixels, params["saturation"], params["hue"])
        if not params["contrast_first"]:
            pixels = _linear(pixels, times=params["contrast"])
        return tv_tensors.Image(torch.from_numpy(pixels).permute(2, 0, 1).contiguous())


class PadTo(v2.Transform):  # type: ignore[misc]
    """Pad at the right and the bottom, images with a colour and label maps with 255, to (height, width) in pixels."""

    def __init__(self, size: tuple[int, int], colour: Colour) -> None:
        super().__init__()
        self.size = size
        self.levels = [float(round(255 * part)) for part in colour]

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Pad what is smaller."""
        height, width = inpt.shape[-2:]
        fill = self.levels if isinstance(inpt, tv_tensors.Image) else ClassSet.ignore_index
        return functional.pad(inpt, [0, 0, self.size[1] - width, self.size[0] - height], fill=fill)


def training_transform(
    augmentation: Augmentation, crop_size: tuple[int, int], mean: Colour = IMAGENET_MEAN
) -> v2.Transform:
    """A random transform of training pairs.

    Args:
        augmentation: ``published`` resizes by 0.5-2.0, crops, flips and distorts colours, for tens of thousands of
            steps from ImageNet weights; ``light`` crops and flips, for hundreds of steps from nothing.
        crop_size: (height, width) of every result, in pixels; also the size that scale 1.0 fits the image into.
        mean: the colour that becomes 0 in the network, with which ``published`` pads; ``light`` pads with black.
    """
    if augmentation == "light":
        return v2.Compose([v2.RandomCrop(crop_size, pad_if_needed=True, fill=PADDING), v2.RandomHorizontalFlip()])
    return v2.Compose(
        [
            v2.ScaleJitter(crop_size, scale_range=SCALE_RANGE),
            CategoryCrop(crop_size),
            v2.RandomHorizontalFlip(),
            PhotometricDistortion(),
            PadTo(crop_size, mean),
        ]
    )


def augment(
    image: UInt8[Tensor, "3 h w"], label: UInt8[Tensor, "h w"], transform: v2.Transform, seed: int
) -> tuple[UInt8[Tensor, "3 crop_h crop_w"], UInt8[Tensor, "crop_h crop_w"]]:
    """Apply a random transform to a pair; the same seed gives the same result, and no random state is left changed."""
    # torchvision draws from torch's global CPU generator and takes no other.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        new_image, new_label = transform(tv_tensors.Image(image), tv_tensors.Mask(label))
    return new_image.as_subclass(Tensor), new_label.as_subclass(Tensor)


def _largest_share(label: Tensor) -> float:
    """Share that the largest class has of the labelled pixels."""
    pixels = label.as_subclass(Tensor).flatten().bincount(minlength=ClassSet.ignore_index + 1)
    pixels[ClassSet.ignore_index] = 0
    # NaN, which is never small enough, where nothing is labelled: such a crop would teach nothing.
    return float(pixels.max() / pixels.sum())


def _coin() -> bool:
    return bool(torch.rand(()) < 0.5)


def _half_the_time(low: float, high: float) -> float | None:
    return float(torch.empty(()).uniform_(low, high)) if _coin() else None


def _linear(
    pixels: UInt8[np.ndarray, "h w _"], *, times: float | None = None, add: float | None = None
) -> UInt8[np.ndarray, "h w _"]:
    if times is None and add is None:
        return pixels
    factor, offset = 1.0 if times is None else times, 0.0 if add is None else add
    return (pixels.astype(np.float32) * factor + offset).clip(0, 255).astype(np.uint8)


def _turn_colours(
    pixels: UInt8[np.ndarray, "h w _"], saturation: float | None, hue: int | None
) -> UInt8[np.ndarray, "h w _"]:
    # OpenCV's hue has 180 steps.
    hsv = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2HSV)
    hsv[..., 1:2] = _linear(hsv[..., 1:2], times=saturation)
    hsv[..., 0] = (hsv[..., 0].astype(np.int16) + (hue or 0)) % 180
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB).astype(np.uint8)
