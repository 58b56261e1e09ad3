"""Read every export with the readers of its users, and compare class names, ids and every pixel: docs/exports.md.

    python -m benchmarks.readers FOLDER [--count 227]    # makes the exports in FOLDER, then reads them

Each reader that is installed reads; the others are named. Once the exports are there the file needs this package no
more: ``python benchmarks/readers.py FOLDER`` runs in an environment of readers alone. FiftyOne is asked by its importers,
which need none of its database; Label Studio by its SDK.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import io
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Label = tuple[int, np.ndarray]
"""Index of a sample, and the label map that the reader gives: 0 background, 1..K, 255 uncertain."""
Names = dict[int, str] | None
"""Class names by id as the reader tells them; None where it knows none."""

VOC = "VOCdevkit/VOC2012"
NO_CLASS = {"background", "uncertain", "ignored"}
VARIANTS: dict[str, dict[str, Any]] = {
    "voc": {"format": "voc"},
    "coco": {"format": "coco"},
    "coco --polygons": {"format": "coco", "polygons": True},
    "coco --no-crowd": {"format": "coco", "crowd": False},
    "coco --no-crowd --counts list": {"format": "coco", "crowd": False, "counts": "list"},
    **{name: {"format": name} for name in ("yolo", "yolo-semantic", "huggingface", "webdataset", "png")},
    **{name: {"format": name} for name in ("cvat", "label-studio")},
}
"""What is exported, and with which settings."""


def make(folder: Path, count: int) -> None:
    """A dataset of label maps that are hard to keep, every export of it, and the truth as plain files."""
    from tests.helpers.exporting import write_export
    from tests.helpers.label_maps import CLASSES, HARD, make_store

    from dataset_diffusion.config import ExportSettings

    labels = [_tiled(label) for label in HARD.values()]
    labels += [_drawn(index) for index in range(count - len(labels))]
    store = make_store(folder / "dataset", labels, shard_size=50)
    (folder / "truth").mkdir()
    for index in range(count):
        Image.fromarray(store.label(index)).save(folder / "truth" / f"{index}.png")
    for name, settings in VARIANTS.items():
        write_export(store.path, folder / name, ExportSettings(**settings))
    (folder / "classes.json").write_text(json.dumps(dict(enumerate(CLASSES.names, start=1))))


def _tiled(label: np.ndarray) -> np.ndarray:
    """At least 16 pixels a side, since trainers refuse smaller images."""
    return np.tile(label, [-(-16 // side) for side in label.shape])


def _drawn(index: int) -> np.ndarray:
    """Blocks and discs that touch, with holes, in bands of uncertain pixels, under single pixels of anything."""
    random = np.random.default_rng(index)
    label = np.zeros(random.integers(24, 160, 2), np.uint8)
    rows, columns = np.indices(label.shape)
    for _ in range(random.integers(1, 7)):
        row, column = random.integers(0, label.shape[0]), random.integers(0, label.shape[1])
        high, wide = random.integers(2, 50, 2)
        if random.random() < 0.5:
            distance = np.hypot((rows - row) / high, (columns - column) / wide)
        else:
            distance = np.maximum(abs(rows - row) / high, abs(columns - column) / wide)
        label[distance < 1.15] = 255 if random.random() < 0.5 else 0
        label[distance < 1] = random.integers(1, 4)
        if random.random() < 0.4:
            label[distance < 0.4] = random.choice([0, 1, 2, 3, 255])
    noise = random.random(label.shape) < random.choice([0, 0.002, 0.05])
    label[noise] = random.choice(np.array([0, 1, 2, 3, 255], np.uint8), noise.sum())
    return label


def torchvision_voc(folder: Path) -> tuple[Names, Iterator[Label]]:
    from torchvision.datasets import VOCSegmentation

    data = VOCSegmentation(folder, year="2012", image_set="trainval", download=False)
    return None, ((_index(path), np.array(label)) for path, (_, label) in zip(data.images, data, strict=True))


def torchvision_coco(folder: Path) -> tuple[Names, Iterator[Label]]:
    from torchvision.datasets import CocoDetection

    with contextlib.redirect_stdout(io.StringIO()):
        data = CocoDetection(folder / "images", folder / "annotations" / "instances_train.json")

    def labels() -> Iterator[Label]:
        for index, (image, found) in zip(data.ids, data, strict=True):
            masks = ((one["category_id"], data.coco.annToMask(one) == 1) for one in found)
            yield index, _painted(image.size[::-1], masks)

    return {category: one["name"] for category, one in data.coco.cats.items()}, labels()


def pycocotools_coco(folder: Path) -> tuple[Names, Iterator[Label]]:
    from pycocotools.coco import COCO

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(folder / "annotations" / "instances_train.json")

    def labels() -> Iterator[Label]:
        for index, image in coco.imgs.items():
            masks = ((one["category_id"], coco.annToMask(one) == 1) for one in coco.imgToAnns[index])
            yield index, _painted((image["height"], image["width"]), masks)

    return {category: one["name"] for category, one in coco.cats.items()}, labels()


def transformers_coco(folder: Path) -> tuple[Names, Iterator[Label]]:
    import torch
    from transformers import DetrImageProcessor
    from transformers.image_utils import AnnotationFormat, ChannelDimension

    whole = json.loads((folder / "annotations" / "instances_train.json").read_text())
    processor = DetrImageProcessor(do_resize=False, do_pad=False)

    def labels() -> Iterator[Label]:
        for image in whole["images"]:
            size = image["height"], image["width"]
            found = [one for one in whole["annotations"] if one["image_id"] == image["id"]]
            read = processor.prepare_annotation(
                torch.zeros(3, *size, dtype=torch.uint8),
                {"image_id": image["id"], "annotations": found},
                AnnotationFormat.COCO_DETECTION,
                return_segmentation_masks=True,
                input_data_format=ChannelDimension.FIRST,
            )
            masks = zip(read["class_labels"], read["masks"], strict=True)
            yield image["id"], _painted(size, ((int(one), np.asarray(mask) == 1) for one, mask in masks))

    return None, labels()


def supervision_coco(folder: Path) -> tuple[Names, Iterator[Label]]:
    import supervision

    return _of_supervision(
        supervision.DetectionDataset.from_coco(
            str(folder / "images"), str(folder / "annotations" / "instances_train.json"), force_masks=True
        )
    )


def supervision_yolo(folder: Path) -> tuple[Names, Iterator[Label]]:
    import supervision

    return _of_supervision(
        supervision.DetectionDataset.from_yolo(
            str(folder / "images" / "train"),
            str(folder / "labels" / "train"),
            str(folder / "data.yaml"),
            force_masks=True,
        )
    )


def _of_supervision(data: Any) -> tuple[Names, Iterator[Label]]:
    def labels() -> Iterator[Label]:
        for path, image, found in data:
            masks = zip(found.class_id, found.mask if len(found) else (), strict=True)
            yield _index(path), _painted(image.shape[:2], ((int(one) + 1, mask) for one, mask in masks))

    return dict(enumerate(data.classes, start=1)), labels()


def datumaro_voc(folder: Path) -> tuple[Names, Iterator[Label]]:
    return _of_datumaro(folder / VOC, "voc_segmentation")


def datumaro_coco(folder: Path) -> tuple[Names, Iterator[Label]]:
    return _of_datumaro(folder, "coco_instances")


def datumaro_cvat(folder: Path) -> tuple[Names, Iterator[Label]]:
    return _of_datumaro(folder, "cvat")


def _of_datumaro(folder: Path, data_format: str) -> tuple[Names, Iterator[Label]]:
    import datumaro

    truth = {name: label_id for label_id, name in _truth_names(folder).items()}
    data = datumaro.Dataset.import_from(str(folder), data_format)
    names = [one.name for one in data.categories()[datumaro.AnnotationType.label]]
    ids = {name: truth.get(name, 0 if name == "background" else 255) for name in names}

    def labels() -> Iterator[Label]:
        indices = set()
        for item in data:
            if _index(item.id) in indices:  # it lists trainval beside train
                continue
            indices.add(_index(item.id))
            masks = []
            for one in item.annotations:
                if isinstance(one, datumaro.Polygon):
                    raise TypeError("polygons, which it fills by its own rules")
                if isinstance(one, datumaro.Mask):
                    masks.append((ids[names[one.label]], np.asarray(one.image) == 1))
            yield _index(item.id), _painted(item.media_as(datumaro.Image).size, masks)

    return {ids[name]: name for name in names}, labels()


def fiftyone_coco(folder: Path) -> tuple[Names, Iterator[Label]]:
    """The masks of its objects, where their boxes stand in pixels."""

    def paint(found: Any, size: tuple[int, int], ids: dict[str, int]) -> np.ndarray:
        label = np.zeros(size[::-1], np.uint8)
        for one in found.detections:
            left, top = (round(place * side) for place, side in zip(one.bounding_box, size, strict=False))
            label[top : top + one.mask.shape[0], left : left + one.mask.shape[1]][one.mask] = ids[one.label]
        return label

    return _of_fiftyone(_fiftyone_coco(folder), folder, paint)


def fiftyone_coco_segmentation(folder: Path) -> tuple[Names, Iterator[Label]]:
    """Its own painting, which cuts fractions off: a box at 29 of 100 pixels is 0.29 there, times 100 below 29."""
    return _of_fiftyone(_fiftyone_coco(folder), folder, _fiftyone_segmentation)


def _fiftyone_coco(folder: Path) -> Any:
    from fiftyone.utils.coco import COCODetectionDatasetImporter

    return COCODetectionDatasetImporter(
        data_path=str(folder / "images"),
        labels_path=str(folder / "annotations" / "instances_train.json"),
        label_types=["segmentations"],
    )


def fiftyone_yolo(folder: Path) -> tuple[Names, Iterator[Label]]:
    from fiftyone.utils.yolo import YOLOv5DatasetImporter

    importer = YOLOv5DatasetImporter(str(folder), yaml_path="data.yaml", split="train", label_type="polylines")
    return _of_fiftyone(importer, folder, _fiftyone_segmentation)


def _fiftyone_segmentation(found: Any, size: tuple[int, int], ids: dict[str, int]) -> np.ndarray:
    targets = {label_id: name for name, label_id in ids.items()}
    return found.to_segmentation(frame_size=size, mask_targets=targets).mask


def _of_fiftyone(
    importer: Any, folder: Path, paint: Callable[[Any, tuple[int, int], dict[str, int]], np.ndarray]
) -> tuple[Names, Iterator[Label]]:
    ids = {name: label_id for label_id, name in _truth_names(folder).items()}

    def labels() -> Iterator[Label]:
        with importer:
            for path, _, found in importer:
                with Image.open(path) as image:
                    size = image.size
                yield _index(path), paint(found, size, ids) if found else np.zeros(size[::-1], np.uint8)

    with importer:
        told = [one for one in importer.get_dataset_info()["classes"] if one not in NO_CLASS]
    return dict(enumerate(told, start=1)), labels()


def fiftyone_png(folder: Path) -> tuple[Names, Iterator[Label]]:
    from fiftyone.utils.data.importers import ImageSegmentationDirectoryImporter

    importer = ImageSegmentationDirectoryImporter(
        data_path=str(folder / "images"), labels_path=str(folder / "labels"), load_masks=True
    )

    def labels() -> Iterator[Label]:
        with importer:
            for path, _, label in importer:
                yield _index(path), label.mask

    return None, labels()


def ultralytics_yolo(folder: Path) -> tuple[Names, Iterator[Label]]:
    """Its dataset's polygons, filled by its own function at full resolution."""
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset, polygon2mask

    described = check_det_dataset(str(folder / "data.yaml"), autodownload=False)
    data = YOLODataset(img_path=described["train"], data=described, task="segment", augment=False)

    def labels() -> Iterator[Label]:
        for one in data.labels:
            height, width = one["shape"]
            masks = (
                (int(class_id) + 1, polygon2mask((height, width), [(ring * (width, height)).ravel()]) == 1)
                for class_id, ring in zip(one["cls"].ravel(), one["segments"], strict=True)
            )
            yield _index(one["im_file"]), _painted((height, width), masks)

    return {label_id + 1: name for label_id, name in described["names"].items()}, labels()


def ultralytics_semantic(folder: Path) -> tuple[Names, Iterator[Label]]:
    from ultralytics.data.dataset import SemanticDataset
    from ultralytics.data.utils import check_det_dataset

    described = check_det_dataset(str(folder / "data.yaml"), autodownload=False)
    data = SemanticDataset(img_path=described["train"], data=described, task="semantic", augment=False)
    return described["names"], ((_index(one["im_file"]), data.load_mask(n)) for n, one in enumerate(data.labels))


def datasets_huggingface(folder: Path) -> tuple[Names, Iterator[Label]]:
    from datasets import load_dataset

    data = load_dataset(str(folder), cache_dir=str(folder.parent / "cache"))["train"]
    names = dict(enumerate(data.features["classes"].feature.names))
    return names, ((row["index"], np.array(row["label"])) for row in data)


def mlcroissant_huggingface(folder: Path) -> tuple[Names, Iterator[Label]]:
    import mlcroissant

    data = mlcroissant.Dataset(folder / "croissant.json")
    names = {row["label_ids/id"]: _text(row["label_ids/name"]) for row in data.records("label_ids")}
    return names, ((row["train/index"], np.array(row["train/label"])) for row in data.records("train"))


def duckdb_huggingface(folder: Path) -> tuple[Names, Iterator[Label]]:
    return None, _of_duckdb(folder / "data" / "*.parquet")


def duckdb_dataset(folder: Path) -> tuple[Names, Iterator[Label]]:
    return None, _of_duckdb(folder / "shards" / "*.parquet")


def _of_duckdb(files: Path) -> Iterator[Label]:
    import duckdb

    rows = duckdb.execute("select index, label.bytes from read_parquet(?)", [str(files)]).fetchall()
    return ((index, np.array(Image.open(io.BytesIO(data)))) for index, data in rows)


def webdataset_webdataset(folder: Path) -> tuple[Names, Iterator[Label]]:
    import webdataset

    urls = sorted(map(str, (folder / "train").glob("*.tar")))
    rows = webdataset.WebDataset(urls, shardshuffle=False).decode("pil")
    return None, ((row["json"]["index"], np.array(row["label.png"].getchannel(0))) for row in rows)


def opencv_png(folder: Path) -> tuple[Names, Iterator[Label]]:
    import cv2

    return _of_png(folder, lambda path: cv2.imread(str(path))[..., 0])


def skimage_png(folder: Path) -> tuple[Names, Iterator[Label]]:
    import skimage.io

    return _of_png(folder, skimage.io.imread)


def imageio_png(folder: Path) -> tuple[Names, Iterator[Label]]:
    import imageio.v3

    return _of_png(folder, imageio.v3.imread)


def _of_png(folder: Path, read: Callable[[Path], np.ndarray]) -> tuple[Names, Iterator[Label]]:
    names = {row["id"]: row["name"] for row in json.loads((folder / "classes.json").read_text())}
    return names, ((_index(path), read(path)) for path in sorted((folder / "labels").iterdir()))


def label_studio_sdk(folder: Path) -> tuple[Names, Iterator[Label]]:
    from label_studio_sdk.converter.brush import decode_rle

    names = _truth_names(folder)
    ids = {name: label_id for label_id, name in (names | {255: "uncertain"}).items()}

    def labels() -> Iterator[Label]:
        for task in json.loads((folder / "tasks.json").read_text()):
            with Image.open(folder / task["data"]["image"].rpartition("=")[2]) as image:
                size = image.size[::-1]
            strokes = [one["value"] for one in task["predictions"][0]["result"]]
            masks = (
                (ids[one["brushlabels"][0]], decode_rle(one["rle"]).reshape(*size, 4)[..., 3] > 0) for one in strokes
            )
            yield task["data"]["index"], _painted(size, masks)

    return None, labels()


@dataclass(frozen=True)
class Reader:
    """A reader of one export: the package that has it, what it is called there, the folders it is tried on."""

    package: str
    called: str
    read: Callable[[Path], tuple[Names, Iterator[Label]]]
    folders: tuple[str, ...]
    keeps_uncertain: bool = True
    below: str = ""


READERS = (
    Reader("torchvision", "VOCSegmentation", torchvision_voc, ("voc",)),
    Reader("datumaro", "voc_segmentation", datumaro_voc, ("voc",), below=VOC),
    Reader("pycocotools", "COCO", pycocotools_coco, ("coco", "coco --polygons")),
    Reader("torchvision", "CocoDetection", torchvision_coco, ("coco",)),
    Reader("datumaro", "coco_instances", datumaro_coco, ("coco",)),
    Reader("fiftyone", "COCODetectionDataset", fiftyone_coco, ("coco --no-crowd",), keeps_uncertain=False),
    Reader("fiftyone", "to_segmentation", fiftyone_coco_segmentation, ("coco --no-crowd",), keeps_uncertain=False),
    Reader("supervision", "from_coco", supervision_coco, ("coco --no-crowd",), keeps_uncertain=False),
    Reader(
        "transformers",
        "DetrImageProcessor",
        transformers_coco,
        ("coco --no-crowd --counts list",),
        keeps_uncertain=False,
    ),
    Reader("supervision", "from_yolo", supervision_yolo, ("yolo",), keeps_uncertain=False),
    Reader("ultralytics", "YOLODataset", ultralytics_yolo, ("yolo",), keeps_uncertain=False),
    Reader("fiftyone", "YOLOv5Dataset", fiftyone_yolo, ("yolo",), keeps_uncertain=False),
    Reader("ultralytics", "SemanticDataset", ultralytics_semantic, ("yolo-semantic",)),
    Reader("datasets", "load_dataset", datasets_huggingface, ("huggingface",)),
    Reader("mlcroissant", "Dataset", mlcroissant_huggingface, ("huggingface",)),
    Reader("duckdb", "read_parquet", duckdb_huggingface, ("huggingface",)),
    Reader("duckdb", "read_parquet", duckdb_dataset, ("dataset",)),
    Reader("webdataset", "WebDataset", webdataset_webdataset, ("webdataset",)),
    Reader("opencv-python-headless", "imread", opencv_png, ("png",)),
    Reader("scikit-image", "imread", skimage_png, ("png",)),
    Reader("imageio", "imread", imageio_png, ("png",)),
    Reader("fiftyone", "ImageSegmentationDirectory", fiftyone_png, ("png",)),
    Reader("datumaro", "cvat", datumaro_cvat, ("cvat",)),
    Reader("label-studio-sdk", "decode_rle", label_studio_sdk, ("label-studio",)),
)


def check(reader: Reader, folder: Path) -> str:
    """How many samples come back, and whether the class names do, as the last cells of a row."""
    truth = {_index(path): np.array(Image.open(path)) for path in (folder.parent / "truth").iterdir()}
    names, labels = reader.read(folder)
    equal, seen = 0, set()
    for index, label in labels:
        expected = truth[index] if reader.keeps_uncertain else np.where(truth[index] == 255, 0, truth[index])
        equal += index not in seen and np.array_equal(label, expected)
        seen.add(index)
    told = "knows none"
    if names is not None:
        named = {label_id: name for label_id, name in names.items() if name not in NO_CLASS}
        told = "equal" if named == _truth_names(folder / reader.below) else f"other: {named}"
    return f"{told} | {equal}/{len(truth)}"


def _truth_names(folder: Path) -> dict[int, str]:
    """The class names by id, which are said beside the exports; VOC's have no colons."""
    root = next(parent for parent in folder.parents if (parent / "truth").exists())
    names = {int(label_id): name for label_id, name in json.loads((root / "classes.json").read_text()).items()}
    return {label_id: name.replace(":", "_") if folder.match(VOC) else name for label_id, name in names.items()}


def _index(path: str | Path) -> int:
    return int(Path(path).stem)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _painted(size: tuple[int, int], masks: Any) -> np.ndarray:
    label = np.zeros(size, np.uint8)
    for label_id, mask in masks:
        label[mask] = label_id
    return label


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=227, help="samples, 24 or more")
    parser.add_argument("--only", default="", help="a package")
    options = parser.parse_args()
    os.environ |= {"HF_HUB_OFFLINE": "1", "YOLO_OFFLINE": "1"}
    if not (options.folder / "classes.json").exists():
        make(options.folder, options.count)
    print("| export | reader | version | class names | pixel for pixel |\n|---|---|---|---|---|")
    for reader in READERS:
        for name in reader.folders:
            if options.only in reader.package:
                print(
                    f"| `{name}` | {reader.package} `{reader.called}` | {_result(reader, options.folder / name)} |",
                    flush=True,
                )


def _result(reader: Reader, folder: Path) -> str:
    try:
        version = importlib.metadata.version(reader.package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed | | "
    try:
        return f"{version} | {check(reader, folder)}"
    except Exception as error:
        return f"{version} | {type(error).__name__}: {' '.join(str(error).split())[:200]} | "


if __name__ == "__main__":
    main()
