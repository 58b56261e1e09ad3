"""What every export promises, read back by the reader that its users use."""

import contextlib
import functools
import io
import json
import re
import tempfile
import tracemalloc
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import cv2
import mlcroissant
import numpy as np
import pytest
import supervision
import torch
import webdataset
import yaml
from datasets import load_dataset
from hypothesis import HealthCheck, Phase, given, settings, strategies
from PIL import Image
from pycocotools.coco import COCO
from scipy import ndimage
from tests.helpers.exporting import write_export
from tests.helpers.label_maps import CLASSES, HARD, label_maps, make_store
from tests.helpers.processes import Command, call_until_killed, files_of, succeed, times_of
from torchvision.datasets import VOCSegmentation
from transformers import DetrImageProcessor
from transformers.image_utils import AnnotationFormat, ChannelDimension

from dataset_diffusion.config import ExportFormat, ExportSettings
from dataset_diffusion.dataset.corrections import read_corrections
from dataset_diffusion.dataset.exports.driver import DatasetExport
from dataset_diffusion.dataset.exports.table import EXPORTS
from dataset_diffusion.dataset.schema import decode_label
from dataset_diffusion.stages.export import export_dataset

IDS = [0, *range(1, CLASSES.num_classes + 1), 255]


@dataclass(frozen=True)
class Read:
    """What a reader makes of one sample.

    Attributes:
        index: the sample it is.
        image: RGB; None where the reader gives annotations alone.
        label: the label map, painted from annotations where need be.
        objects: (class id, number of annotations of the class), for readers of annotations.
    """

    index: int
    image: np.ndarray | None
    label: np.ndarray
    objects: dict[int, int] | None = None


def read_voc(out, split):
    data = VOCSegmentation(out, year="2012", image_set=split, download=False)
    for path, (image, label) in zip(data.images, data, strict=True):
        yield Read(int(Path(path).stem), np.array(image), np.array(label))


def read_coco(out, split):
    if not (out / "annotations" / f"instances_{split}.json").exists():
        return
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(out / "annotations" / f"instances_{split}.json")
    crowd = json.loads((out / "export.json").read_text())["settings"]["crowd"]
    assert sorted(coco.getCatIds()) == IDS[1 : None if crowd else -1]
    for image_id, image in coco.imgs.items():
        label = np.zeros((image["height"], image["width"]), np.uint8)
        objects = dict.fromkeys(IDS[1:], 0)
        for annotation in coco.imgToAnns[image_id]:
            mask = coco.annToMask(annotation) == 1
            rows, columns = np.nonzero(mask)
            left, top, width, height = annotation["bbox"]
            assert annotation["area"] == mask.sum() > 0
            assert annotation["iscrowd"] == (annotation["category_id"] == 255)
            assert (left, top) == (columns.min(), rows.min())
            assert (left + width, top + height) == (columns.max() + 1, rows.max() + 1)
            assert not label[mask].any(), "annotations overlap"
            label[mask] = annotation["category_id"]
            objects[annotation["category_id"]] += 1
        picture = Image.open(out / "images" / image["file_name"])
        yield Read(image_id, np.array(picture), label, objects)


def read_yolo(out, split):
    data = supervision.DetectionDataset.from_yolo(
        str(out / "images" / split), str(out / "labels" / split), str(out / "data.yaml"), force_masks=True
    )
    assert data.classes == list(CLASSES.names)
    for path, image, found in data:
        label = np.zeros(image.shape[:2], np.uint8)
        for mask, class_id in zip(found.mask if len(found) else (), found.class_id, strict=True):
            assert not label[mask].any(), "objects overlap"
            label[mask] = class_id + 1
        objects = {class_id: int((found.class_id == class_id - 1).sum()) for class_id in IDS[1:]}
        yield Read(int(Path(path).stem), image[..., ::-1], label, objects)


def read_yolo_semantic(out, split):
    description = yaml.safe_load((out / "data.yaml").read_text(encoding="utf-8"))
    assert description["names"] == dict(enumerate(["background", *CLASSES.names]))
    for path in sorted((out / "images" / split).iterdir()):
        mask = out / description["masks_dir"] / split / f"{path.stem}.png"
        label = cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE)
        yield Read(int(path.stem), np.array(Image.open(path)), label)


def read_croissant(out, split):
    described = mlcroissant.Dataset(out / "croissant.json")
    assert not described.metadata.ctx.issues.errors
    names = [(row["label_ids/id"], row["label_ids/name"]) for row in described.records("label_ids")]
    assert names == [*enumerate(["background", *CLASSES.names]), (255, "uncertain")]
    if any(one.name == split for one in described.metadata.record_sets):
        for row in described.records(split):
            image, label = np.array(row[f"{split}/image"]), np.array(row[f"{split}/label"])
            yield Read(row[f"{split}/index"], image, label)


def read_huggingface(out, split):
    splits = load_dataset(str(out), cache_dir=str(out.parent / "cache"))
    for row in splits.get(split, ()):
        assert splits[split].features["classes"].feature.names == ["background", *CLASSES.names]
        yield Read(row["index"], np.array(row["image"]), np.array(row["label"]))


def read_webdataset(out, split):
    urls = sorted(map(str, (out / split).glob("*.tar")))
    for row in webdataset.WebDataset(urls, shardshuffle=False).decode("pil") if urls else ():
        image = row.get("image.png", row.get("image.jpg"))
        assert row["json"]["index"] == int(row["__key__"])
        yield Read(row["json"]["index"], np.array(image), np.array(row["label.png"].getchannel(0)))


def read_cvat(out, split):
    annotations = ElementTree.parse(out / "annotations.xml").getroot()
    project = annotations.find("meta/project")  # Datumaro wants it
    assert [label.findtext("name") for label in project.iter("label")] == [*CLASSES.names, "uncertain"]
    assert split in {one.text for one in project.iter("subset")} or split == "val"
    for image in annotations.findall("image"):
        if image.get("subset") != split:
            continue
        ids = {**{name: CLASSES.id_of(name) for name in CLASSES.names}, "uncertain": 255}
        label = np.zeros((int(image.get("height")), int(image.get("width"))), np.uint8)
        for mask in image.findall("mask"):
            left, top, width, height = (int(mask.get(name)) for name in ("left", "top", "width", "height"))
            counts = [int(count) for count in mask.get("rle").split(",")]
            inside = np.repeat(np.arange(len(counts)) % 2, counts).reshape(height, width) == 1
            label[top : top + height, left : left + width][inside] = ids[mask.get("label")]
        picture = Image.open(out / "images" / image.get("name"))
        yield Read(int(image.get("id")), np.array(picture), label)


def read_label_studio(out, split):
    """By its own kind of result, as `import-labels` reads them."""
    tasks = json.loads((out / "tasks.json").read_text())
    tasks = [one for one in tasks if one["data"]["split"] == split]
    annotated = out.parent / f"{split}.json"
    annotated.write_text(json.dumps([one | {"annotations": one["predictions"]} for one in tasks]))
    labels = dict(read_corrections(annotated, CLASSES, lambda data, _: decode_label(data)))
    for one in tasks:
        image = np.array(Image.open(out / one["data"]["image"].rpartition("=")[2]))
        yield Read(one["data"]["index"], image, labels.get(one["data"]["index"], np.zeros(image.shape[:2], np.uint8)))


def read_png(out, split):
    classes = {row["id"]: row["name"] for row in json.loads((out / "classes.json").read_text())}
    assert classes == {0: "background", 255: "uncertain", **dict(enumerate(CLASSES.names, start=1))}
    for name in (out / f"{split}.txt").read_text().split():
        [image] = (out / "images").glob(f"{name}.*")
        label = cv2.imread(str(out / "labels" / f"{name}.png"))  # in colour, as readers do that know no palette
        coloured = Image.open(out / "labels_coloured" / f"{name}.png")
        assert (label == np.array(coloured)[..., None]).all()
        yield Read(int(name), np.array(Image.open(image)), label[..., 0])


@dataclass(frozen=True)
class Kind:
    """One way to export, and how it is read back."""

    format: str
    read: Callable[[Path, str], Any]
    options: tuple[tuple[str, bool | str], ...] = ()
    keeps_uncertain: bool = True
    keeps_png: bool = True
    by_component: bool = False

    def settings(self, **changes):
        return ExportSettings(format=self.format, **(dict(self.options) | changes))

    def __str__(self):
        return "-".join([self.format, *(name for name, _ in self.options)])


KINDS = [
    Kind("voc", read_voc, keeps_png=False),
    Kind("coco", read_coco),
    Kind("coco", read_coco, options=(("polygons", True),)),
    Kind("coco", read_coco, options=(("instances", True),), by_component=True),
    Kind("coco", read_coco, options=(("polygons", True), ("instances", True)), by_component=True),
    Kind("coco", read_coco, options=(("crowd", False), ("counts", "list")), keeps_uncertain=False),
    Kind("yolo", read_yolo, keeps_uncertain=False, by_component=True),
    Kind("yolo-semantic", read_yolo_semantic),
    Kind("huggingface", read_huggingface),
    Kind("webdataset", read_webdataset),
    Kind("png", read_png),
    Kind("cvat", read_cvat),
    Kind("label-studio", read_label_studio),
]

every_kind = pytest.mark.parametrize("kind", KINDS, ids=str)
every_format = pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.options], ids=str)


def test_every_format_is_in_the_table_and_in_this_suite():
    assert set(EXPORTS) == set(get_args(ExportFormat)) == {kind.format for kind in KINDS}


def check_round_trip(kind, store, out, jpeg=False):
    """Every sample comes back once, with its label map and its image."""
    found = [sample for split in ("train", "val") for sample in kind.read(out, split)]
    assert sorted(sample.index for sample in found) == list(range(len(store)))
    for sample in found:
        image, label = store.image_and_label(sample.index)
        expected = label if kind.keeps_uncertain else np.where(label == 255, 0, label)
        np.testing.assert_array_equal(sample.label, expected)
        if kind.keeps_png or jpeg:
            np.testing.assert_array_equal(sample.image, image)
        else:
            assert sample.image.shape == image.shape
        if sample.objects is not None:
            assert sample.objects == count_objects(label, kind)


def count_objects(label, kind):
    neighbours = np.ones((3, 3))
    counts = {class_id: ndimage.label(label == class_id, neighbours)[1] for class_id in IDS[1:]}
    if not kind.keeps_uncertain:
        counts[255] = 0
    if not kind.by_component:
        return {class_id: min(count, 1) for class_id, count in counts.items()}
    return counts | {255: min(counts[255], 1)}


@pytest.fixture(scope="module", params=["png", "jpeg"])
def hard(request, tmp_path_factory):
    """The label maps that are hard to keep."""
    return make_store(tmp_path_factory.mktemp("hard") / "dataset", list(HARD.values()), request.param)


@every_kind
def test_hard_label_maps_come_back(kind, hard, tmp_path):
    write_export(hard.path, tmp_path / "out", kind.settings(val_fraction=0.3))
    check_round_trip(kind, hard, tmp_path / "out", jpeg=hard.manifest.image_format == "jpeg")


def test_croissant_reads_what_is_there_for_hugging_face(hard, tmp_path):
    kind = Kind("huggingface", read_croissant)
    write_export(hard.path, tmp_path / "out", kind.settings(val_fraction=0.3))
    check_round_trip(kind, hard, tmp_path / "out", jpeg=hard.manifest.image_format == "jpeg")


def test_transformers_takes_run_lengths_as_lists(hard, tmp_path):
    """The processor of DETR, which decodes every annotation of an image that is no crowd."""
    write_export(hard.path, tmp_path, ExportSettings(format="coco", crowd=False, counts="list"))
    whole = json.loads((tmp_path / "annotations" / "instances_train.json").read_text())
    processor = DetrImageProcessor(do_resize=False, do_pad=False)
    for image in whole["images"]:
        found = [one for one in whole["annotations"] if one["image_id"] == image["id"]]
        target = {"image_id": image["id"], "annotations": found}
        read = processor.prepare_annotation(
            torch.zeros(3, image["height"], image["width"], dtype=torch.uint8),
            target,
            AnnotationFormat.COCO_DETECTION,
            return_segmentation_masks=True,
            input_data_format=ChannelDimension.FIRST,
        )
        label = np.zeros((image["height"], image["width"]), np.uint8)
        for mask, class_id in zip(read["masks"], read["class_labels"], strict=True):
            label[np.asarray(mask) == 1] = class_id
        expected = hard.label(image["id"])
        np.testing.assert_array_equal(label, np.where(expected == 255, 0, expected))


def test_supervision_gets_the_classes_alone(hard, tmp_path):
    write_export(hard.path, tmp_path, ExportSettings(format="coco", crowd=False))
    data = supervision.DetectionDataset.from_coco(
        str(tmp_path / "images"), str(tmp_path / "annotations/instances_train.json"), force_masks=True
    )
    assert data.classes == list(CLASSES.names)
    for path, _, found in data:
        label = np.zeros_like(hard.label(int(Path(path).stem)))
        for mask, class_id in zip(found.mask if len(found) else (), found.class_id, strict=True):
            label[mask] = class_id + 1
        expected = hard.label(int(Path(path).stem))
        np.testing.assert_array_equal(label, np.where(expected == 255, 0, expected))


@every_kind
@settings(max_examples=4, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(labels=strategies.lists(label_maps(), min_size=4, max_size=8))
def test_any_label_maps_come_back(kind, labels):
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder) / "dataset", labels)
        write_export(store.path, Path(folder) / "out", kind.settings())
        check_round_trip(kind, store, Path(folder) / "out")


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Twelve samples in six shards."""
    return make_store(tmp_path_factory.mktemp("many") / "dataset", list(HARD.values())[-12:], shard_size=2)


@pytest.fixture(scope="module")
def uninterrupted(many, tmp_path_factory):
    """A function that gives the files of an export of ``many`` which nothing stopped."""
    folder = tmp_path_factory.mktemp("uninterrupted")

    @functools.cache
    def files(kind):
        write_export(many.path, folder / str(kind), kind.settings(val_fraction=0.3))
        return files_of(folder / str(kind))

    return files


@every_kind
def test_the_same_export_has_the_same_bytes(kind, many, uninterrupted, tmp_path):
    export_dataset(many.path, kind.settings(val_fraction=0.3), tmp_path / "out")
    assert files_of(tmp_path / "out") == uninterrupted(kind)


@every_format
@pytest.mark.parametrize("opened", [0, 2, 7])
def test_killed_anywhere_it_ends_with_the_same_bytes(kind, opened, many, uninterrupted, tmp_path):
    out, chosen = tmp_path / "out", kind.settings(val_fraction=0.3)
    call_until_killed(write_export, many.path, out, chosen, below=out, opened=opened)
    assert not (out / "README.md").exists()
    write_export(many.path, out, chosen)
    assert files_of(out) == uninterrupted(kind)


@every_format
def test_half_written_files_of_unfinished_shards_are_written_again(kind, many, uninterrupted, tmp_path):
    out, chosen = tmp_path / "out", kind.settings(val_fraction=0.3)
    write_export(many.path, out, chosen)
    (out / "README.md").unlink()
    for name, data in uninterrupted(kind).items():
        if name not in ("README.md", "export.json"):
            (out / name).write_bytes(data[: len(data) // 2])
    (out / ".README.md.0badcafe.tmp").write_text("half a card")
    write_export(many.path, out, chosen)
    assert files_of(out) == uninterrupted(kind)


@every_format
def test_shards_that_are_done_are_not_written_again(kind, many, tmp_path):
    out = tmp_path / "out"
    export = DatasetExport(many, out, kind.settings())
    export.begin()
    export.write_shard(0)
    done = times_of(out)
    again = DatasetExport(many, out, kind.settings())
    again.begin()
    assert again.missing_shards() == [1, 2, 3, 4, 5]
    again.write_shard(1)
    assert done.items() <= times_of(out).items()


@every_format
def test_a_finished_export_is_left_as_it_is(kind, many, tmp_path):
    words = ("export", many.path, "--format", kind.format, "--out", tmp_path / "out")
    printed = succeed(*words)
    before = times_of(tmp_path / "out")
    assert succeed(*words) == printed == f"12 labelled images in {tmp_path / 'out'}, see {tmp_path / 'out/README.md'}\n"
    assert times_of(tmp_path / "out") == before


@every_format
def test_a_full_disk_is_told_in_one_line_and_loses_nothing(kind, many, uninterrupted, tmp_path):
    out, printed = tmp_path / "out", tmp_path / "printed"
    words = ("export", many.path, "--format", kind.format, "--out", out, "--val-fraction", 0.3)
    stopped = Command(*words, printed=printed, largest_file=600)
    assert stopped.wait() == 2
    # The small files of yolo-semantic find room: what is too large there is written after the last image.
    assert [line.split(":")[0] for line in stopped.lines] in (["error"], ["Write images in the other format", "error"])
    assert stopped.last_line.startswith(f"error: cannot write {out}/")
    assert stopped.last_line.endswith(
        "File too large; fix: make room or choose another --out, then run the same command again"
    )
    succeed(*words)
    assert files_of(out) == uninterrupted(kind)


@every_format
def test_memory_does_not_grow_with_the_dataset(kind, tmp_path):
    label = HARD["touching classes"].repeat(20, axis=0).repeat(20, axis=1)
    peaks = []
    for num_samples in (8, 64):
        store = make_store(tmp_path / f"dataset{num_samples}", [label] * num_samples, shard_size=4)
        tracemalloc.start()
        write_export(store.path, tmp_path / f"out{num_samples}", kind.settings())
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0], peaks


@every_format
def test_the_card_says_how_to_load_it_and_that_works(kind, hard, tmp_path, monkeypatch):
    write_export(hard.path, tmp_path, kind.settings(licence="CreativeML Open RAIL++-M"))
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    for words in ("some/model", "0123abcd", "CreativeML Open RAIL++-M", '"seed": 7', "| 3 | Öl \\| fass: 3 |"):
        assert words in card
    [code] = re.findall("```python\n(.*?)```", card, re.DOTALL)
    assert len(code.splitlines()) == 3
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    exec(code, {})


@every_format
def test_jpeg_bytes_are_not_touched(kind, tmp_path):
    store = make_store(tmp_path / "dataset", [HARD["comb"]], "jpeg")
    [row] = store.read_shard(0, ["image"])
    write_export(store.path, tmp_path / "out", kind.settings())
    assert any(row["image"]["bytes"] in data for data in files_of(tmp_path / "out").values())
