"""Small folders in the layout of every benchmark, painted so that a segmenter of one pixel can see the truth."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pycocotools import mask
from tests.helpers.factories import make_sample, write_dataset
from torch import nn

from dataset_diffusion.config import TrainSettings
from dataset_diffusion.dataset.schema import encode_label
from dataset_diffusion.evaluation.readers.cityscapes import ORIGINAL_IDS
from dataset_diffusion.prompts.class_sets import ClassSet, class_set
from dataset_diffusion.segmentation.model_folder import TrainedSegmenter
from dataset_diffusion.segmentation.models import IMAGENET_MEAN, IMAGENET_STD, Segmenter

SIZE = (24, 32)


@dataclass(frozen=True)
class Folder:
    """A benchmark's folder with two images.

    Attributes:
        root: the folder.
        labels: by image id.
        image_file: of the first image.
        label_file: of the first image; None where label maps are not files of their own.
    """

    root: Path
    labels: dict[str, np.ndarray]
    image_file: Path | None
    label_file: Path | None


def two_labels(used, size=SIZE):
    """Label maps in which the first ids fill quarters, 255 a column at the right where it is used."""
    labels = []
    for shift in (0, 1):
        label = np.zeros(size, np.uint8)
        half = size[0] // 2, size[1] // 2
        ids = [used[(number + shift) % len(used)] for number in range(4)]
        label[: half[0], : half[1]], label[: half[0], half[1] :] = ids[0], ids[1]
        label[half[0] :, : half[1]], label[half[0] :, half[1] :] = ids[2], ids[3]
        labels.append(label)
    return labels


def paint(label, used):
    """A grey picture whose brightness tells the id; what is ignored is black."""
    levels = np.zeros(256, np.uint8)
    levels[list(used)] = np.linspace(0, 240, len(used)).astype(np.uint8)
    return np.repeat(levels[label][..., None], 3, axis=2)


def seeing_segmenter(classes: ClassSet, used) -> TrainedSegmenter:
    """A segmenter that reads ids from brightness: the class whose level is nearest has the greatest logit."""
    network = nn.Conv2d(3, classes.num_classes + 1, 1)
    levels = torch.linspace(0, 240 / 255, len(used))
    with torch.no_grad():
        network.weight.zero_()
        network.bias.fill_(-1e6)
        # -(red - level)^2 without its common term; the network sees red as (red - mean) / std.
        mean, std, sharpness = IMAGENET_MEAN[0], IMAGENET_STD[0], 1000
        for class_id, level in zip(used, levels, strict=True):
            network.weight[class_id, 0] = sharpness * 2 * level * std
            network.bias[class_id] = sharpness * (2 * level * mean - level**2)
    return TrainedSegmenter(Segmenter(network, "seeing", classes.num_classes + 1).eval(), classes, TrainSettings())


def save_jpeg(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, quality=100, subsampling="4:4:4")


def save_png(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


def voc_folder(root: Path, used=(0, 3, 15, 255)) -> Folder:
    ids = ["2007_000032", "2008_000007"]
    labels = dict(zip(ids, two_labels(used), strict=True))
    for name, label in labels.items():
        save_jpeg(root / "JPEGImages" / f"{name}.jpg", paint(label, used[:3]))
        path = root / "SegmentationClass" / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode_label(label, class_set("voc")))
    splits = root / "ImageSets" / "Segmentation"
    splits.mkdir(parents=True)
    (splits / "val.txt").write_text("\n".join(ids) + "\n")
    (splits / "train.txt").write_text(ids[0] + "\n")
    (splits / "test.txt").write_text(ids[1] + "\n")
    return Folder(root, labels, root / "JPEGImages" / f"{ids[0]}.jpg", root / "SegmentationClass" / f"{ids[0]}.png")


def coco_folder(root: Path) -> Folder:
    """Ids 1 and 3 (person, car), and a crowd of persons, as run lengths."""
    used = (0, 1, 3, 255)
    labels = dict(zip(["000000000139", "000000000285"], two_labels(used), strict=True))
    images, annotations = [], []
    for name, label in labels.items():
        save_jpeg(root / "val2017" / f"{name}.jpg", paint(label, used[:3]))
        images.append({"id": int(name), "file_name": f"{name}.jpg", "height": SIZE[0], "width": SIZE[1]})
        for class_id, crowd in ((1, 0), (3, 0), (255, 1)):
            run_lengths = mask.encode(np.asfortranarray(label == class_id, dtype=np.uint8))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": int(name),
                    "category_id": 1 if crowd else class_id,
                    "iscrowd": crowd,
                    "segmentation": {"size": list(SIZE), "counts": run_lengths["counts"].decode()},
                }
            )
    categories = [{"id": number, "name": name} for number, name in enumerate(class_set("coco").names[:3], start=1)]
    file = root / "annotations" / "instances_val2017.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return Folder(root, labels, root / "val2017" / "000000000139.jpg", None)


def cityscapes_folder(root: Path) -> Folder:
    """Road, car and bicycle, and what is not scored, in original ids."""
    used = (1, 14, 19, 255)
    ids = ["frankfurt_000000_000294", "lindau_000000_000019"]
    labels = dict(zip(ids, two_labels(used), strict=True))
    original = np.full(256, 4, np.uint8)
    original[1:20] = ORIGINAL_IDS
    for name, label in labels.items():
        city = name.split("_")[0]
        save_png(root / "leftImg8bit" / "val" / city / f"{name}_leftImg8bit.png", paint(label, used[:3]))
        save_png(root / "gtFine" / "val" / city / f"{name}_gtFine_labelIds.png", original[label])
    return Folder(
        root,
        labels,
        root / "leftImg8bit" / "val" / "frankfurt" / f"{ids[0]}_leftImg8bit.png",
        root / "gtFine" / "val" / "frankfurt" / f"{ids[0]}_gtFine_labelIds.png",
    )


def dis5k_folder(root: Path) -> Folder:
    ids = ["1#Accessories#1#Bag#2", "2#Animals#3#Crab#1"]
    labels = dict(zip(ids, two_labels((0, 1)), strict=True))
    for name, label in labels.items():
        save_jpeg(root / "DIS-VD" / "im" / f"{name}.jpg", paint(label, (0, 1)))
        save_png(root / "DIS-VD" / "gt" / f"{name}.png", label * np.uint8(255))
    split = root / "DIS-VD"
    return Folder(root, labels, split / "im" / f"{ids[0]}.jpg", split / "gt" / f"{ids[0]}.png")


def celebamask_folder(root: Path) -> Folder:
    """Skin, nose and hair, a PNG each; faces 7 and 2001 of the test split, face 3 of the training split."""
    used = (0, 1, 2, 13)
    labels = dict(zip(["7", "2001"], two_labels(used, (512, 512)), strict=True))
    for name, label in labels.items():
        save_jpeg(root / "CelebA-HQ-img" / f"{name}.jpg", paint(label, used))
        folder = root / "CelebAMask-HQ-mask-anno" / str(int(name) // 2000)
        for class_id in used[1:]:
            part = class_set("celebamask-hq").names[class_id - 1]
            save_png(folder / f"{int(name):05d}_{part}.png", (label == class_id) * np.uint8(255))
    (root / "CelebA-HQ-to-CelebA-mapping.txt").write_text(
        "idx  orig_idx  orig_file\n3  5  000006.jpg\n7  182637  182638.jpg\n2001  202598  202599.jpg\n"
    )
    return Folder(
        root, labels, root / "CelebA-HQ-img" / "7.jpg", root / "CelebAMask-HQ-mask-anno" / "0" / "00007_skin.png"
    )


def scenes_folder(root: Path) -> Folder:
    labels = two_labels((0, 2, 5, 255))
    samples = [
        make_sample(index, classes=(2,), words=("boat",), image=paint(label, (0, 2, 5)), label=label)
        for index, label in enumerate(labels)
    ]
    write_dataset(root, samples, class_set("emoji"))
    return Folder(root, {f"{index:08d}": label for index, label in enumerate(labels)}, None, None)


FOLDERS = {
    "scenes": (scenes_folder, (0, 2, 5)),
    "voc2012": (voc_folder, (0, 3, 15)),
    "coco2017": (coco_folder, (0, 1, 3)),
    "cityscapes": (cityscapes_folder, (1, 14, 19)),
    "dis5k": (dis5k_folder, (0, 1)),
    "celebamask-hq": (celebamask_folder, (0, 1, 2, 13)),
    "voc-discovery": (voc_folder, (0, 3, 15)),
}
"""Benchmark -> what makes its folder, and the ids in it."""
