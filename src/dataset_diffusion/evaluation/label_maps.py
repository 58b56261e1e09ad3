"""Label maps and masks as other tools write them: palettes in another order, 16 bits a level, masks of 0 and 1."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import Image as Picture

from dataset_diffusion.dataset.schema import LabelMap
from dataset_diffusion.disk.pictures import decode_photo, open_upright
from dataset_diffusion.errors import DatasetError
from dataset_diffusion.prompts.class_sets import ClassSet, Color

_HALF = 128


def decode_ids(data: bytes, classes: ClassSet) -> LabelMap:
    """Class ids of a palette or greyscale picture.

    An editor that saves a palette picture again may put the colours in another order. So where the colours in use are
    the class set's but stand at other indices, they tell the ids; where the class set has none of them, the indices do.

    Raises:
        DatasetError: the bytes are something else, or some of the colours in use are the class set's, at other indices.
    """
    picture = open_upright(data)
    if picture.mode.startswith("I;16"):
        return _narrow(np.asarray(picture))
    if picture.mode not in {"P", "L"}:
        raise DatasetError("a label map is not a palette image", got=f"mode {picture.mode}", expected="mode P or L")
    ids = np.array(picture)
    return ids if picture.mode == "L" else _ids_by_color(ids, _palette_of(picture), classes)


def decode_mask(data: bytes) -> LabelMap:
    """1 where a mask is brighter than half, as the measures have it, or where a mask of 0 and 1 is 1.

    Raises:
        DatasetError: the bytes are no image, or one in colour; or the mask is neither black nor brighter than half
            anywhere.
    """
    levels = _levels(data)
    brightest = levels.max(initial=0)
    if brightest == 1:
        return levels.astype(np.uint8)
    if levels.dtype == np.uint16:
        levels = levels >> 8
    mask = (levels > _HALF).astype(np.uint8)
    if brightest and not mask.any():
        raise DatasetError(
            "nothing in the mask is brighter than half", got=f"{brightest} at most", expected="0 and 255, or 0 and 1"
        )
    return mask


def _levels(data: bytes) -> UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"]:
    """The levels of a grey picture, "h w", uint8 or uint16; a DatasetError where it is in colour."""
    picture = open_upright(data)
    if picture.mode.startswith("I;16"):
        return np.asarray(picture).astype(np.uint16)
    colors = decode_photo(data)
    if (colors != colors[..., :1]).any():
        raise DatasetError("a mask is not grey", got="a picture in colour", expected="black and white")
    return np.ascontiguousarray(colors[..., 0])


def _narrow(ids: UInt16[np.ndarray, "h w"]) -> LabelMap:
    if ids.max(initial=0) > ClassSet.ignore_index:
        raise DatasetError("a label map has ids beyond 8 bits", got=int(ids.max()), expected="0..255")
    return ids.astype(np.uint8)


def _palette_of(picture: Picture.Image) -> list[Color]:
    flat = iter(picture.getpalette("RGB") or ())
    return list(zip(flat, flat, flat, strict=False))


def _ids_by_color(indices: LabelMap, palette: list[Color], classes: ClassSet) -> LabelMap:
    ids = (*classes.label_ids, classes.ignore_index)
    id_of_color = {classes.palette[label_id]: label_id for label_id in reversed(ids)}
    used = [index for index in np.unique(indices).tolist() if index < len(palette)]
    told = {index: id_of_color[palette[index]] for index in used if palette[index] in id_of_color}
    moved = [index for index, label_id in told.items() if label_id != index]
    if not moved:
        return indices
    if unknown := [index for index in used if index not in told]:
        raise DatasetError(
            "the palette of a label map is the class set's in part",
            got=f"index {moved[0]} has the colour of id {told[moved[0]]}, index {unknown[0]} that of none",
            expected=f"the palette of {classes.name}, in any order, or another one",
        )
    table = np.arange(256, dtype=np.uint8)
    table[used] = [told[index] for index in used]
    return np.take(table, indices)
