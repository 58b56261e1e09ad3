from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import dataset_diffusion
from dataset_diffusion.config import TrainSettings
from dataset_diffusion.dataset.manifest import DatasetManifest
from dataset_diffusion.dataset.schema import encode_label
from dataset_diffusion.dataset.store import DatasetStore
from dataset_diffusion.errors import DatasetError
from dataset_diffusion.evaluation.benchmarks import BENCHMARKS, evaluate_predictions, evaluate_segmenter, open_benchmark
from dataset_diffusion.prompts.class_sets import ClassSet, class_set
from dataset_diffusion.records import Prompt, Sample
from dataset_diffusion.segmentation.model_folder import TrainedSegmenter
from dataset_diffusion.segmentation.models import Segmenter
from dataset_diffusion.segmentation.predict import Views

VOC = class_set("voc")
REAL_VOC = Path(__file__).parents[4] / "shared" / "data" / "VOCdevkit" / "VOC2012"
SCENES = Path(dataset_diffusion.__file__).parent / "assets" / "scenes"


@pytest.fixture
def voc(tmp_path):
    """Three photos of class 3 (bird) at their left, one of which is in the validation split."""
    root = tmp_path / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    for number in range(3):
        label = np.zeros((6, 8), np.uint8)
        label[:, :3] = 3
        label[:, 3] = 255
        image = np.where((label == 3)[..., None], np.uint8(250), np.uint8(5)).repeat(3, axis=2)
        Image.fromarray(image).save(root / "JPEGImages" / f"2007_00000{number}.jpg", quality=100)
        (root / "SegmentationClass" / f"2007_00000{number}.png").write_bytes(encode_label(label, VOC))
    (root / "ImageSets/Segmentation/val.txt").write_text("2007_000001\n")
    return root


@pytest.fixture
def dataset(tmp_path):
    """Two scenes of different sizes: class 1 wherever the image is white."""
    classes = ClassSet.from_names(["cloud"])
    samples = []
    for index, size in enumerate([(4, 6), (6, 4)]):
        label = np.random.default_rng(index).integers(0, 2, size, dtype=np.uint8)
        image = (label[..., None] * np.uint8(255)).repeat(3, axis=2)
        samples.append(Sample(index, Prompt(index, "cloud; cloud", "cloud", (1,)), image, label, None, {}))
    store = DatasetStore.create(tmp_path / "dataset", DatasetManifest(class_set=classes, num_samples=2))
    store.write_shard(0, samples)
    return store


@pytest.fixture
def perfect():
    """A segmenter that finds what is white."""
    network = nn.Conv2d(3, 2, 1)
    network.weight.data = torch.tensor([[0.0, 0, 0], [1, 1, 1]])[:, :, None, None]
    network.bias.data.zero_()
    model = Segmenter(network, "perfect", 2).eval()
    return TrainedSegmenter(model, ClassSet.from_names(["cloud"]), TrainSettings())


def write_png(path, array):
    Image.fromarray(array).save(path)


def test_voc_reads_the_validation_split(voc):
    benchmark = open_benchmark("voc2012", voc)
    assert benchmark.class_set == VOC
    assert benchmark.ids == ("2007_000001",)
    (item,) = benchmark
    assert item.id == "2007_000001"
    assert item.image.shape == (6, 8, 3)
    assert item.image[0, 0].min() > 200
    assert item.label[0].tolist() == [3, 3, 3, 255, 0, 0, 0, 0]


def test_voc_without_a_split_reads_every_labelled_photo(voc):
    (voc / "ImageSets/Segmentation/val.txt").unlink()
    (voc / "JPEGImages/2007_000000.jpg").unlink()
    assert open_benchmark("voc2012", voc).ids == ("2007_000001", "2007_000002")


@pytest.mark.parametrize("gone", ["JPEGImages/2007_000001.jpg", "SegmentationClass/2007_000001.png"])
def test_a_missing_file_is_named_at_once(voc, gone):
    (voc / gone).unlink()
    with pytest.raises(DatasetError, match=f"a file is missing; got .*{gone}") as error:
        open_benchmark("voc2012", voc)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((6, 8, 3), np.uint8), "2007_000001.png; got a label map is not a palette image; got mode RGB"),
        (np.zeros((5, 8), np.uint8), "2007_000001.png has another size than its image; got 5 x 8; expected 6 x 8"),
        (np.full((6, 8), 21, np.uint8), r"2007_000001.png has ids .* got 21 in 48 pixels; expected 0\.\.20, or 255"),
    ],
)
def test_labels_that_cannot_be_used_are_named(voc, array, message):
    write_png(voc / "SegmentationClass/2007_000001.png", array)
    with pytest.raises(DatasetError, match=message) as error:
        open_benchmark("voc2012", voc)[0]
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("file", ["JPEGImages/2007_000001.jpg", "SegmentationClass/2007_000001.png"])
def test_a_file_that_is_no_image_is_named(voc, file):
    (voc / file).write_text("not an image")
    with pytest.raises(DatasetError, match=f"cannot use .*{file}; got the bytes are not an image") as error:
        open_benchmark("voc2012", voc)[0]
    assert "\n" not in str(error.value)


def test_a_split_that_is_no_text(voc):
    (voc / "ImageSets/Segmentation/val.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DatasetError, match=r"cannot use .*val\.txt"):
        open_benchmark("voc2012", voc)


@pytest.mark.parametrize("root", [None, Path("nowhere")])
def test_not_a_voc_folder(root):
    with pytest.raises(DatasetError, match=rf"got {root}; expected .*SegmentationClass; fix: --root VOCdevkit/VOC2012"):
        open_benchmark("voc2012", root)


def test_unknown_benchmarks_are_told_the_names():
    with pytest.raises(DatasetError, match=f"got 'ade'; expected one of {', '.join(BENCHMARKS)}, or a dataset folder"):
        open_benchmark("ade")


def test_a_dataset_is_a_benchmark_by_path_or_in_place_of_the_scenes(dataset):
    for benchmark in (open_benchmark(str(dataset.path)), open_benchmark("scenes", dataset.path)):
        assert benchmark.ids == ("00000000", "00000001")
        assert benchmark.class_set.names == ("cloud",)
        for item, sample in zip(benchmark, dataset, strict=True):
            assert np.array_equal(item.image, sample.image)
            assert np.array_equal(item.label, sample.label)


def test_a_folder_that_is_no_dataset(tmp_path):
    with pytest.raises(DatasetError, match="not a dataset"):
        open_benchmark(str(tmp_path))


def test_a_segmenter_is_scored_on_every_image(dataset, perfect):
    seen = []
    benchmark = open_benchmark(str(dataset.path))
    scores = evaluate_segmenter(perfect, benchmark, on_image=lambda item, prediction: seen.append((item, prediction)))
    assert (scores.miou, scores.num_images) == (1, 2)
    assert scores.confusion_matrix.sum() == 48
    assert [item.id for item, _ in seen] == list(benchmark.ids)
    assert all(np.array_equal(item.label, prediction) for item, prediction in seen)


def test_views_reach_the_segmenter(dataset, perfect):
    benchmark = open_benchmark(str(dataset.path))
    assert evaluate_segmenter(perfect, benchmark, Views(flip=True)).miou == 1
    assert evaluate_segmenter(perfect, benchmark, Views(scales=(0.25,))).miou < 1


def test_a_segmenter_of_other_classes(voc, perfect):
    with pytest.raises(DatasetError, match="benchmark voc2012 have different classes; got cloud; expected aeroplane, "):
        evaluate_segmenter(perfect, open_benchmark("voc2012", voc))


def test_saved_predictions(voc, tmp_path):
    (voc / "ImageSets/Segmentation/val.txt").unlink()
    benchmark = open_benchmark("voc2012", voc)
    for item in benchmark:
        write_png(tmp_path / f"{item.id}.png", np.where(item.label == 255, np.uint8(9), item.label))
    assert evaluate_predictions(tmp_path, benchmark).miou == 1
    # One of three images is all background: 18 of 54 bird pixels are lost, and 18 join 72 of the background.
    write_png(tmp_path / "2007_000001.png", np.zeros((6, 8), np.uint8))
    assert evaluate_predictions(tmp_path, benchmark).per_class_iou == pytest.approx({0: 72 / 90, 3: 36 / 54})


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (None, "a file is missing; got .*2007_000001.png"),
        (np.zeros((6, 8, 3), np.uint8), "cannot use .*2007_000001.png; got a label map is not a palette image"),
        (np.zeros((8, 6), np.uint8), "2007_000001.png: prediction and truth differ in size; got 8 x 6; expected 6 x 8"),
        (np.full((6, 8), 255, np.uint8), "2007_000001.png: the prediction has ids out of range; got 255 in 48 pixels"),
    ],
)
def test_predictions_that_cannot_be_used_are_named(voc, tmp_path, array, message):
    if array is not None:
        write_png(tmp_path / "2007_000001.png", array)
    with pytest.raises(DatasetError, match=message) as error:
        evaluate_predictions(tmp_path, open_benchmark("voc2012", voc))
    assert "\n" not in str(error.value)


@pytest.mark.skipif(not REAL_VOC.is_dir(), reason="the real PASCAL VOC photos are not beside the checkout")
def test_real_voc(tmp_path):
    benchmark = open_benchmark("voc2012", REAL_VOC)
    assert len(benchmark) == 216
    for number in range(0, 216, 12):
        item = benchmark[number]
        assert item.image.shape[:2] == item.label.shape
        assert set(np.unique(item.label)) <= {*range(21), 255}
        (tmp_path / f"{item.id}.png").write_bytes(encode_label(np.where(item.label == 255, 0, item.label), VOC))
    for number in set(range(216)) - set(range(0, 216, 12)):
        label = benchmark.read_label(number)
        (tmp_path / f"{benchmark.ids[number]}.png").write_bytes(encode_label(np.zeros_like(label), VOC))
    scores = evaluate_predictions(tmp_path, benchmark)
    assert scores.num_images == 216
    assert 0 < scores.miou < 0.5 < scores.pixel_accuracy < 1


@pytest.mark.skipif(not SCENES.is_dir(), reason="the embedded model's scenes are not there yet")
def test_the_shipped_scenes():
    benchmark = open_benchmark("scenes")
    assert len(benchmark) >= 200
    assert benchmark[0].label.shape == benchmark[0].image.shape[:2]
