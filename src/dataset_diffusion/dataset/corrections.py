"""Label maps that come back from an annotation tool: pictures, CVAT's XML or Label Studio's JSON.

The name of a file, or of the picture that an annotation is about, ends with the sample's own: ``00000012.png``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np

from dataset_diffusion.dataset.exports.cvat import names_of_ids
from dataset_diffusion.dataset.exports.run_lengths import decode_brush, from_run_lengths
from dataset_diffusion.dataset.schema import LabelMap
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.disk.atomic import read_any_json
from dataset_diffusion.errors import DatasetError
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.records import Score

Decode = Callable[[bytes, ClassSet], LabelMap]
"""A label map of the bytes of a picture."""

_NAME = re.compile(r"(?:^|\D)(\d{8})\.\w+$")


def read_corrections(source: Path, classes: ClassSet, decode: Decode) -> Iterator[tuple[int, LabelMap]]:
    """The index of each sample that has a label map there, and the map: 0 background, 1..K classes, 255 uncertain.

    Args:
        source: a folder of PNGs, in any folders in it; or a file of CVAT (XML) or Label Studio (JSON).
        classes: what the names of a file stand for.
        decode: reads a picture of ids or of colours.

    Raises:
        DatasetError: there is no such file, it is none of these, or something in it cannot be read.
    """
    if source.is_dir():
        return _read_folder(source, classes, decode)
    readers = {".xml": _read_cvat, ".json": _read_label_studio}
    if source.suffix.lower() not in readers or not source.is_file():
        raise DatasetError(
            "no corrected label maps", got=str(source), expected="a folder of PNGs, CVAT's .xml or Label Studio's .json"
        )
    return readers[source.suffix.lower()](source, {name: label_id for label_id, name in names_of_ids(classes).items()})


def corrected_samples(store: DatasetStore) -> frozenset[int]:
    """The samples whose label maps were corrected by hand."""
    if not store.manifest.provenance.corrections:
        return frozenset()
    rows = (row for shard in range(store.manifest.num_shards) for row in store.read_shard(shard, ("index", "quality")))
    return frozenset(row["index"] for row in rows if any(one["name"] == Score.CORRECTED for one in row["quality"]))


def _index_of(name: str) -> int | None:
    found = _NAME.search(name)
    return None if found is None else int(found[1])


def _read_folder(folder: Path, classes: ClassSet, decode: Decode) -> Iterator[tuple[int, LabelMap]]:
    for path in sorted(folder.rglob("*.png")):
        if (index := _index_of(path.name)) is not None:
            try:
                yield index, decode(path.read_bytes(), classes)
            except (OSError, DatasetError) as error:
                raise DatasetError("a label map cannot be read", got=f"{path}: {error}") from error


def _read_cvat(file: Path, ids: dict[str, int]) -> Iterator[tuple[int, LabelMap]]:
    try:
        images = ElementTree.parse(file).getroot().findall("image")
    except (OSError, ElementTree.ParseError) as error:
        raise DatasetError(f"cannot read {file}", got=str(error), expected="CVAT for images 1.1") from error
    for image in images:
        if (index := _index_of(image.get("name", ""))) is None:
            continue
        try:
            label = np.zeros((int(image.attrib["height"]), int(image.attrib["width"])), np.uint8)
            for shape in sorted(image, key=lambda one: int(one.get("z_order", 0))):
                _paint_cvat(label, shape, ids)
        except (KeyError, ValueError) as error:
            raise _unreadable(file, image.get("name", ""), error) from error
        yield index, label


def _paint_cvat(label: LabelMap, shape: ElementTree.Element, ids: dict[str, int]) -> None:
    if shape.tag == "mask":
        left, top, width, height = (int(shape.attrib[name]) for name in ("left", "top", "width", "height"))
        mask = from_run_lengths([int(one) for one in shape.attrib["rle"].split(",")], (height, width))
        label[top : top + height, left : left + width][mask] = ids[shape.attrib["label"]]
    elif shape.tag == "polygon":
        points = [[float(value) for value in point.split(",")] for point in shape.attrib["points"].split(";")]
        _paint_polygon(label, np.array(points), ids[shape.attrib["label"]])


def _read_label_studio(file: Path, ids: dict[str, int]) -> Iterator[tuple[int, LabelMap]]:
    tasks = read_any_json(file, "export the project as JSON")
    if not isinstance(tasks, list):
        raise DatasetError(f"cannot read {file}", got=type(tasks).__name__, expected="a list of tasks")
    for task in tasks:
        name = ""
        try:
            name = str(task["data"]["image"])
            done = [one for one in task.get("annotations", []) if not one.get("was_cancelled")]
            if (index := _index_of(name)) is None or not done or not done[-1]["result"]:
                continue
            results = done[-1]["result"]
            label = np.zeros((results[0]["original_height"], results[0]["original_width"]), np.uint8)
            for one in results:
                _paint_label_studio(label, one, ids)
        except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
            raise _unreadable(file, name, error) from error
        yield index, label


def _paint_label_studio(label: LabelMap, result: dict[str, Any], ids: dict[str, int]) -> None:
    value = result["value"]
    if result["type"] == "brushlabels":
        label[decode_brush(value["rle"], label.shape)] = ids[value["brushlabels"][0]]
    elif result["type"] == "polygonlabels":
        points = np.array(value["points"], float) / 100 * label.shape[::-1]
        _paint_polygon(label, points, ids[value["polygonlabels"][0]])


def _paint_polygon(label: LabelMap, points: np.ndarray, label_id: int) -> None:
    """Fill a polygon whose vertices (x, y) are pixel corners."""
    cv2.fillPoly(label, [np.floor(points).astype(np.int32)], label_id)


def _unreadable(file: Path, name: str, error: Exception) -> DatasetError:
    problem = f"no class {error}" if isinstance(error, KeyError) else str(error)
    return DatasetError(f"{file} has an annotation that cannot be read", got=f"{name}: {problem}")
