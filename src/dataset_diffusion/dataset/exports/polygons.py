"""Polygons that fill to exactly the pixels they were traced from, holes included.

Polygons of COCO and YOLO cannot have holes, so each hole is joined to its surroundings by a bridge: a path to the hole
and the same path back, which encloses nothing. Bridges run inside the object, since readers may draw the outline too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from operator import itemgetter

import cv2
import numpy as np
from jaxtyping import Int, UInt8

Ring = Int[np.ndarray, "_ 2"]
"""A closed polygon, (x, y) per vertex."""


def center_polygons(mask: UInt8[np.ndarray, "h w"]) -> list[Ring]:
    """One polygon per component through the centres of its outermost pixels, for readers that fill as OpenCV does.

    Vertices are pixel indices, from 0 to w - 1 and h - 1. Components of one pixel or one line have no area and yet fill
    to themselves.
    """
    return [_simplify(ring) for ring in _trace(mask)]


def corner_polygons(mask: UInt8[np.ndarray, "h w"]) -> list[Ring]:
    """One polygon per component along the edges of its pixels, for readers that fill as pycocotools does.

    Vertices are pixel corners, from 0 to w and h. The polygon's area is the component's number of pixels.
    """
    doubled = mask.repeat(2, axis=0).repeat(2, axis=1)
    # Pixel i is 2i and 2i + 1 now, which half up to its edges i and i + 1.
    return [_simplify((ring + 1) // 2) for ring in _trace(doubled)]


def _trace(mask: UInt8[np.ndarray, "h w"]) -> list[Ring]:
    """The outline of every 8-connected component, pixel by pixel, with its holes bridged in."""
    contours, hierarchy = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return []
    outlines = [np.asarray(contour, dtype=np.int64).reshape(-1, 2) for contour in contours]
    parents = np.asarray(hierarchy)[0, :, 3].tolist()
    holes: dict[int, list[Ring]] = defaultdict(list)
    for outline, parent in zip(outlines, parents, strict=True):
        holes[parent].append(outline)
    outers = [number for number, parent in enumerate(parents) if parent < 0]
    return [_bridge(outlines[outer], holes[outer], mask) if outer in holes else outlines[outer] for outer in outers]


def _bridge(outer: Ring, holes: list[Ring], mask: UInt8[np.ndarray, "h w"]) -> Ring:
    """Join each hole to the first outline to the left of its leftmost point.

    From left to right, so that every bridge ends at an outline that is joined already.
    """
    holes = [np.roll(hole, -int(hole[:, 0].argmin()), axis=0) for hole in holes]
    rings = [outer, *sorted(holes, key=lambda hole: int(hole[0, 0]))]
    places = dict(_places(outer, 0))
    ends: list[tuple[tuple[int, int], Ring]] = []
    for number, hole in enumerate(rings[1:], start=1):
        x, y = hole[0].tolist()
        outside = np.flatnonzero(mask[y, :x] == 0)
        left = int(outside[-1]) + 1 if outside.size else 0
        path = np.stack([np.arange(left, x + 1), np.full(x + 1 - left, y)], axis=1)
        ends.append((places[left, y], path))
        places.update(_places(hole, number))
    detours: list[list[tuple[int, Ring]]] = [[] for _ in rings]
    for number, ((ring, position), path) in reversed(list(enumerate(ends, start=1))):
        around = _insert(rings[number], detours[number])
        detours[ring].append((position, np.concatenate([path, around, path[::-1]])))
    return _insert(outer, detours[0])


def _places(ring: Ring, number: int) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Each point of a ring with the ring's number and its own position in it."""
    return (((x, y), (number, position)) for position, (x, y) in enumerate(ring.tolist()))


def _insert(ring: Ring, detours: list[tuple[int, Ring]]) -> Ring:
    """Walk a ring with detours, each of which begins and ends at the point of its position."""
    parts, start = [], 0
    for position, detour in sorted(detours, key=itemgetter(0)):
        parts += [ring[start:position], detour]
        start = position
    return np.concatenate([*parts, ring[start:]])


def _simplify(ring: Ring) -> Ring:
    """Keep the vertices at which the direction changes; a single pixel is one vertex."""
    ring = ring[(ring != np.roll(ring, 1, axis=0)).any(axis=1)] if len(ring) > 1 else ring
    step_in, step_out = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    turns = (step_in != step_out).any(axis=1)
    return ring[turns] if turns.any() else ring[:1]
