"""Pictures from arrays: label maps in their colours, overlays, heatmaps, and how a page embeds them."""

from __future__ import annotations

import base64
import io

import numpy as np
from jaxtyping import Bool, Float, UInt8
from matplotlib import colormaps
from PIL import Image as Picture
from scipy.ndimage import morphological_gradient

from dataset_diffusion.dataset.schema import Image, LabelMap, encode_label
from dataset_diffusion.disk.pictures import check_one_size
from dataset_diffusion.prompts.class_sets import ClassSet

HEATMAP_COLORS = "magma"
OPACITY = 0.5


def overlay(image: Image, label: LabelMap, class_set: ClassSet) -> Image:
    """The image with its label map on top: regions tinted in their class's colour and outlined, background as it is."""
    check_one_size("image and label map", label.shape, image.shape[:2])
    region: Bool[np.ndarray, "h w"] = label != 0
    outline = region & (morphological_gradient(label, size=(3, 3)) > 0)
    opacity = np.where(outline, 1.0, OPACITY * region)[..., None]
    blend = (1 - opacity) * image + opacity * colored_label(label, class_set)
    return np.asarray(blend.round(), dtype=np.uint8)


def colored_label(label: LabelMap, class_set: ClassSet) -> Image:
    """A label map in the class set's colours, RGB in [0, 255], "h w 3"."""
    return np.take(np.array(class_set.palette, dtype=np.uint8), label, axis=0)


def colored_heatmap(heatmap: Float[np.ndarray, "_ _"], size: tuple[int, int]) -> Image:
    """A heatmap in [0, 1] as a picture of a (height, width), to which it is resized bicubically, as labels are."""
    height, width = size
    smooth = Picture.fromarray(heatmap.astype(np.float32)).resize((width, height), Picture.Resampling.BICUBIC)
    colors: UInt8[np.ndarray, "h w 4"] = colormaps[HEATMAP_COLORS](np.clip(np.asarray(smooth), 0, 1), bytes=True)
    return colors[..., :3]


def thumbnail(image: UInt8[np.ndarray, "_ _ *rgb"], max_side: int) -> UInt8[np.ndarray, "_ _ *rgb"]:
    """An RGB image ("h w 3") or a label map ("h w") no larger than ``max_side``; label maps keep whole ids."""
    longest = max(image.shape[:2])
    if longest <= max_side:
        return image
    height, width = (max(1, round(side * max_side / longest)) for side in image.shape[:2])
    how = Picture.Resampling.NEAREST if image.ndim == 2 else Picture.Resampling.LANCZOS
    return np.array(Picture.fromarray(image).resize((width, height), how))


def photo_uri(image: Image) -> str:
    """An RGB image as a JPEG data URI."""
    buffer = io.BytesIO()
    Picture.fromarray(image).save(buffer, format="jpeg", quality=85, optimize=True)
    return _data_uri("image/jpeg", buffer.getvalue())


def label_uri(label: LabelMap, class_set: ClassSet) -> str:
    """A label map as a PNG data URI: every pixel exactly the colour of its id."""
    return _data_uri("image/png", encode_label(label, class_set))


def _data_uri(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"
