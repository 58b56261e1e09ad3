"""Every evaluator against an independent implementation, on real photos' label maps."""

import json
from pathlib import Path

import numpy as np
import py_sod_metrics
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from dataset_diffusion.dataset.schema import encode_label
from dataset_diffusion.evaluation.scoring import read_predictions, score
from dataset_diffusion.evaluation.table import open_benchmark

pytestmark = pytest.mark.slow

DATA = Path(__file__).parents[4] / "shared" / "data"
VOC, COCO_ROOT, ECSSD = DATA / "VOCdevkit" / "VOC2012", DATA / "coco", DATA / "ECSSD"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the real photos are not beside the checkout")


def shifted(label, by=9):
    """A prediction that is right but for the edges."""
    return np.roll(label, by, axis=1)


def some(root, names, kept, tmp_path):
    """A VOC folder of links that lists some of the photos."""
    folder = tmp_path / "some"
    (folder / "ImageSets" / "Segmentation").mkdir(parents=True)
    for name in ("JPEGImages", "SegmentationClass"):
        (folder / name).symlink_to(root / name)
    (folder / "ImageSets" / "Segmentation" / "val.txt").write_text("\n".join(names[::kept]))
    return folder, names[::kept]


def test_all_of_voc_is_read():
    benchmark = open_benchmark("voc2012", VOC)
    assert len(benchmark) == 216
    item = benchmark[100]
    assert item.image.shape[:2] == item.label.shape


@pytest.mark.parametrize("name", ["voc2012", "voc-discovery"])
def test_voc(name, tmp_path):
    names = (VOC / "ImageSets" / "Segmentation" / "val.txt").read_text().split()
    folder, names = some(VOC, names, 18, tmp_path)
    benchmark = open_benchmark(name, folder)
    iou = MulticlassJaccardIndex(21, average="none", ignore_index=255)
    accuracy = MulticlassAccuracy(21, average="micro", ignore_index=255)
    for image_id in names:
        truth = np.array(Image.open(VOC / "SegmentationClass" / f"{image_id}.png"))
        prediction = shifted(np.where(truth == 255, 0, truth).astype(np.uint8))
        (tmp_path / f"{image_id}.png").write_bytes(encode_label(prediction, benchmark.class_set))
        for metric in (iou, accuracy):
            metric.update(torch.from_numpy(prediction.astype(np.int64)), torch.from_numpy(truth.astype(np.int64)))
    scores = score(read_predictions(tmp_path, benchmark), benchmark)
    expected = iou.compute()
    # Shifted segments overlap their own class most, so that discovery matches every one to it.
    assert scores.per_class_iou == pytest.approx({i: expected[i].item() for i in scores.per_class_iou}, abs=1e-6)
    assert scores.pixel_accuracy == pytest.approx(accuracy.compute().item(), abs=1e-6)
    assert 0.3 < scores.miou < 1


def test_coco(tmp_path):
    benchmark = open_benchmark("coco2017", COCO_ROOT, "train")
    coco = COCO(COCO_ROOT / "annotations" / "instances_train2017.json")
    class_ids = {category: number for number, category in enumerate(sorted(coco.cats), start=1)}
    assert len(benchmark) == len(coco.imgs) == 80
    crowds, hits, predicted, true = 0, *np.zeros((3, 81), np.int64)
    for number, image_id in enumerate(benchmark.ids):
        image = coco.imgs[int(image_id)]
        stack = []
        for annotation in coco.imgToAnns[image["id"]]:
            mask = coco.annToMask(annotation).astype(bool)
            class_id = 255 if annotation["iscrowd"] else class_ids[annotation["category_id"]]
            stack.append((not annotation["iscrowd"], -int(mask.sum()), annotation["id"], class_id, mask))
            crowds += annotation["iscrowd"]
        truth = np.zeros((image["height"], image["width"]), np.uint8)
        for *_, class_id, mask in sorted(stack, key=lambda layer: layer[:3]):
            truth[mask] = class_id
        assert np.array_equal(benchmark.read_label(number), truth)
        prediction = shifted(np.where(truth == 255, 0, truth).astype(np.uint8))
        (tmp_path / f"{image_id}.png").write_bytes(encode_label(prediction, benchmark.class_set))
        scored = truth != 255
        for class_id in np.union1d(truth[scored], prediction[scored]):
            is_true, is_predicted = (truth == class_id) & scored, (prediction == class_id) & scored
            true[class_id] += is_true.sum()
            predicted[class_id] += is_predicted.sum()
            hits[class_id] += (is_true & is_predicted).sum()
    assert crowds == 8
    scores = score(read_predictions(tmp_path, benchmark), benchmark)
    iou = {i: hits[i] / (true[i] + predicted[i] - hits[i]) for i in range(81) if true[i] + predicted[i]}
    assert scores.per_class_iou == pytest.approx(iou, abs=1e-6)
    assert scores.miou == pytest.approx(np.mean(list(iou.values())), abs=1e-6)


def test_coco_names_are_those_of_the_class_set():
    instances = json.loads((COCO_ROOT / "annotations" / "instances_train2017.json").read_text())
    names = [category["name"] for category in sorted(instances["categories"], key=lambda category: category["id"])]
    assert open_benchmark("coco2017", COCO_ROOT, "train").class_set.names == tuple(names)


def test_ecssd(tmp_path):
    names = sorted(path.stem for path in (ECSSD / "images").iterdir())[::20]
    for name, original in (("images", "images"), ("ground_truth_mask", "ground_truth_mask")):
        (tmp_path / name).mkdir()
        for path in (ECSSD / original).iterdir():
            if path.stem in names:
                (tmp_path / name / path.name).symlink_to(path)
    measures = {
        "f": py_sod_metrics.Fmeasure(),
        "wf": py_sod_metrics.WeightedFmeasure(),
        "mae": py_sod_metrics.MAE(),
        "s": py_sod_metrics.Smeasure(),
        "e": py_sod_metrics.Emeasure(),
        "hce": py_sod_metrics.HumanCorrectionEffortMeasure(),
    }
    for name in names:
        truth = np.array(Image.open(ECSSD / "ground_truth_mask" / f"{name}.png").convert("L"))
        # Soft, so that the thresholds matter.
        prediction = (shifted(truth) * 0.6 + np.linspace(0, 90, truth.size).reshape(truth.shape)).astype(np.uint8)
        Image.fromarray(prediction).save(tmp_path / f"{name}.png")
        for measure in measures.values():
            measure.step(prediction, truth)
    benchmark = open_benchmark("dis5k", tmp_path)
    found = score(read_predictions(tmp_path, benchmark), benchmark).extra
    f, e = measures["f"].get_results()["fm"]["curve"], measures["e"].get_results()["em"]["curve"]
    expected = {
        "max_f": f.max(),
        "mean_f": f.mean(),
        "weighted_f": measures["wf"].get_results()["wfm"],
        "mae": measures["mae"].get_results()["mae"],
        "s_alpha": measures["s"].get_results()["sm"],
        "max_e": e.max(),
        "mean_e": e.mean(),
        "hce": measures["hce"].get_results()["hce"],
    }
    assert found == pytest.approx(expected, abs=1e-6)
    assert 0.3 < found["s_alpha"] < 1
