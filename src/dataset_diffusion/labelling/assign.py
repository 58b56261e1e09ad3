"""From heatmaps to a label map, with the paper's uncertainty region between object and background."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from dataset_diffusion.config import LabelSettings
from dataset_diffusion.errors import ConfigError, check_kind, whole_number
from dataset_diffusion.labelling.maps import check_axes, check_size, float_maps, resize
from dataset_diffusion.labelling.refine import refine_heatmaps, refine_small
from dataset_diffusion.labelling.segments import WEIGHTS, refine_by_segments
from dataset_diffusion.records import Heatmaps

BACKGROUND, UNCERTAIN = 0, 255
"""The label ids that are no class's."""


def assign_labels(  # noqa: PLR0917
    heatmaps: Float[Tensor | np.ndarray, "classes h w"],
    class_ids: Sequence[int],
    size: tuple[int, int],
    threshold: float = 0.6,
    uncertainty_threshold: float = 0.5,
    ignore_index: int = UNCERTAIN,
) -> UInt8[Tensor, "height width"]:
    """Label each pixel by its highest heatmap, where that is high enough.

    With M the highest of the resized heatmaps at a pixel and S its class (the first one on a tie):
    ``M >= threshold`` gives S, ``uncertainty_threshold <= M < threshold`` gives ``ignore_index``, less gives 0.

    Args:
        heatmaps: "classes h w", normalised to [0, 1]; see `normalize`.
        class_ids: the class id of each heatmap, in 1..254.
        size: (height, width) of the label map in pixels; the heatmaps are resized to it bicubically.
        threshold: alpha, in [0, 1].
        uncertainty_threshold: beta, in [0, threshold]; equal to ``threshold`` it leaves no pixel uncertain.
        ignore_index: the id of uncertain pixels, in 1..255 and no class id.

    Returns:
        uint8, "height width", on the device of the heatmaps: 0 background, class ids, ``ignore_index``.

    Raises:
        ConfigError: thresholds out of order, class ids that do not fit the heatmaps, or a bad size.
        ModelError: NaN or infinity in the heatmaps.

    Example:
        >>> assign_labels(torch.tensor([[[1.0, 0.55, 0.0]]]), class_ids=[7], size=(1, 3))
        tensor([[  7, 255,   0]], dtype=torch.uint8)
    """
    _check_thresholds(threshold, uncertainty_threshold)
    check_size(size, "label size")
    maps = float_maps(heatmaps, "heatmaps")
    check_axes(maps, "classes h w", "heatmaps")
    _check_ids(class_ids, len(maps), ignore_index)
    ids, highest = _strongest(maps, class_ids, size)
    return _above(ids, highest, threshold, uncertainty_threshold, ignore_index)


def label_map(
    heatmaps: Heatmaps,
    class_ids: Sequence[int],
    size: tuple[int, int],
    settings: LabelSettings,
    *,
    image: UInt8[np.ndarray, "height width 3"] | None = None,
) -> UInt8[np.ndarray, "height width"]:
    """The label map that stored heatmaps and settings give.

    Generating and relabelling both come here, and the work is done on the CPU from the stored float16 values, so that
    a label map follows from what the dataset holds and nothing else.

    Args:
        heatmaps: the heatmaps of one image.
        class_ids: the class id of each heatmap, in 1..254.
        size: (height, width) of the image in pixels.
        settings: exponent, thresholds and refinement.
        image: uint8 RGB of ``size`` as it reads back from the dataset, "height width 3"; only refinement looks at it.

    Returns:
        uint8, "height width". Where no class drew any attention, as in an image that a safety checker made black, every
        pixel is `UNCERTAIN`.

    Raises:
        ConfigError: the exponent is not among the stored ones, refinement lacks its image, or the arguments do not fit;
            see `assign_labels`.
    """
    ids, highest = strongest_classes(heatmaps, class_ids, size, settings, image=image)
    alpha, beta = settings.threshold, settings.uncertainty_threshold
    return _above(torch.from_numpy(ids), torch.from_numpy(highest), alpha, beta).numpy()


def strongest_classes(
    heatmaps: Heatmaps,
    class_ids: Sequence[int],
    size: tuple[int, int],
    settings: LabelSettings,
    *,
    image: UInt8[np.ndarray, "height width 3"] | None = None,
) -> tuple[UInt8[np.ndarray, "height width"], Float32[np.ndarray, "height width"]]:
    """What `label_map` compares with the thresholds, which the settings' own do not change.

    Returns:
        The id of each pixel's highest heatmap and that heatmap's value: `UNCERTAIN` and infinity everywhere, where no
        class drew any attention.

    Raises:
        ConfigError: as `label_map`.
    """
    check_exponent(settings.exponent, heatmaps.exponents)
    if not (heatmaps.ranges.any() or heatmaps.values.any()):
        return np.full(size, UNCERTAIN, np.uint8), np.full(size, np.inf, np.float32)
    check_size(size, "label size")
    maps = float_maps(evidence(heatmaps, size, settings, image=image), "heatmaps")
    _check_ids(class_ids, len(maps), UNCERTAIN)
    ids, highest = _strongest(maps, class_ids, size)
    return ids.numpy(), highest.numpy()


def evidence(
    heatmaps: Heatmaps,
    size: tuple[int, int],
    settings: LabelSettings,
    *,
    image: UInt8[np.ndarray, "height width 3"] | None = None,
) -> Float[Tensor, "classes _ _"]:
    """The maps that `label_map` compares with the thresholds: of the exponent, refined where that is asked for."""
    maps = torch.from_numpy(heatmaps.values[heatmaps.exponents.index(settings.exponent)])
    return maps if settings.refine == "none" else _refined(maps, size, settings, image)


def check_exponent(exponent: int, stored: Sequence[int]) -> None:
    """Refuse an exponent whose heatmaps are not among the stored ones."""
    if exponent not in stored:
        expected = f"one of {', '.join(map(str, stored))}"
        raise ConfigError("no heatmaps are stored for this exponent", got=exponent, expected=expected)


def _strongest(
    maps: Float32[Tensor, "classes h w"], class_ids: Sequence[int], size: tuple[int, int]
) -> tuple[UInt8[Tensor, "height width"], Float32[Tensor, "height width"]]:
    resized = resize(maps, size)
    highest = resized.amax(dim=0)
    ids = torch.full(size, BACKGROUND, dtype=torch.uint8, device=maps.device)
    for position in reversed(range(len(resized))):  # the first class comes last: it wins a tie
        ids.masked_fill_(resized[position] == highest, class_ids[position])
    return ids, highest


def _above(
    ids: UInt8[Tensor, "height width"],
    highest: Float32[Tensor, "height width"],
    threshold: float,
    uncertainty_threshold: float,
    ignore_index: int = UNCERTAIN,
) -> UInt8[Tensor, "height width"]:
    """The ids where the highest heatmap reaches the thresholds. The studio's page compares in the same way."""
    labels = ids.masked_fill(highest < threshold, ignore_index)
    return labels.masked_fill_(highest < uncertainty_threshold, BACKGROUND)


def _refined(
    maps: Float[Tensor, "classes h w"],
    size: tuple[int, int],
    settings: LabelSettings,
    image: UInt8[np.ndarray, "_ _ 3"] | None,
) -> Float[Tensor, "classes _ _"]:
    """The maps with refined borders, each in the range that it had, so that thresholds keep their meaning."""
    check_size(size, "label size")
    if image is None or image.shape[:2] != tuple(size):
        got = "no image" if image is None else f"an image of {image.shape[0]} x {image.shape[1]} pixels"
        raise ConfigError("refinement needs the labelled image", got=got, expected=f"{size[0]} x {size[1]} pixels")
    maps = float_maps(maps, "heatmaps")
    if settings.refine in WEIGHTS:
        return refine_by_segments(maps, image, settings.refine, settings.segments)
    low, high = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
    if settings.refine == "fast":
        return low + (high - low) * refine_small(maps, image)
    return low + (high - low) * refine_heatmaps(resize(maps, size), image)


def _check_thresholds(threshold: float, uncertainty_threshold: float) -> None:
    for name, value in (("threshold", threshold), ("uncertainty_threshold", uncertainty_threshold)):
        check_kind(value, Real, name)
    if not 0.0 <= uncertainty_threshold <= threshold <= 1.0:  # NaN compares false, so it is refused too
        raise ConfigError(
            "bad thresholds",
            got=f"threshold {threshold} and uncertainty_threshold {uncertainty_threshold}",
            expected="0 <= uncertainty_threshold <= threshold <= 1",
        )


def _check_ids(class_ids: Sequence[int], num_maps: int, ignore_index: int) -> None:
    if not isinstance(class_ids, (Sequence, np.ndarray)) or len(class_ids) != num_maps:
        got = f"{len(class_ids)} ids" if isinstance(class_ids, (Sequence, np.ndarray)) else repr(class_ids)
        raise ConfigError("one class id is needed per heatmap", got=got, expected=f"{num_maps}, one per heatmap")
    for class_id in class_ids:
        whole_number(class_id, "class id")
    if not 1 <= whole_number(ignore_index, "ignore_index") <= 255:
        raise ConfigError("bad ignore_index", got=ignore_index, expected="1 to 255")
    bad = [class_id for class_id in class_ids if not 1 <= class_id <= 254 or class_id == ignore_index]
    if bad:
        raise ConfigError("bad class id", got=bad[0], expected=f"1 to 254 and not ignore_index ({ignore_index})")
