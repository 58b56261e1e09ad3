import json

import numpy as np
import pytest
from PIL import Image
from tests.helpers.factories import make_sample, write_dataset
from tests.helpers.processes import last_line, refuse, run_command, succeed

from dataset_diffusion.config import TrainSettings
from dataset_diffusion.disk.locks import folder_lock
from dataset_diffusion.errors import DatasetError, ModelError
from dataset_diffusion.prompts.class_sets import class_set
from dataset_diffusion.segmentation.model_folder import ModelFolder
from dataset_diffusion.stages.train import check_training, train

pytestmark = pytest.mark.slow

VOC = class_set("voc")
QUICK = ("--iterations", 1, "--batch-size", 2, "--crop-size", 32)


@pytest.fixture
def photos(tmp_path):
    """A VOC folder of two photos of different sizes to train on."""
    root = tmp_path / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    for name, size in (("a", (40, 32)), ("b", (32, 48))):
        Image.new("RGB", size, (200, 10, 10)).save(root / "JPEGImages" / f"{name}.jpg")
        label = np.zeros(size[::-1], np.uint8)
        label[4:20] = 8
        Image.fromarray(label).save(root / "SegmentationClass" / f"{name}.png")
    (root / "ImageSets/Segmentation/train.txt").write_text("a\nb\n")
    return root


@pytest.fixture
def dataset(tmp_path):
    """A function that makes a dataset of two grey images of some classes."""

    def make(classes):
        image, label = np.full((32, 32, 3), 90, np.uint8), np.ones((32, 32), np.uint8)
        samples = [make_sample(index, image=image, label=label) for index in range(2)]
        return write_dataset(tmp_path / f"dataset of {classes.name}", samples, classes).path

    return make


def test_training_on_real_photos_alone_and_mixed_in(photos, dataset, tmp_path):
    real = ("--real", "voc2012", "--real-root", photos)
    succeed("train", *real, *QUICK, "--out", tmp_path / "alone")
    succeed("train", dataset(VOC), *real, *QUICK, "--out", tmp_path / "mixed")
    alone, mixed = (json.loads((tmp_path / name / "model.json").read_text()) for name in ("alone", "mixed"))
    assert alone["class_set"]["names"] == mixed["class_set"]["names"] == list(VOC.names)
    assert (alone["num_images"], mixed["num_images"]) == (2, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "nothing to train on; expected a dataset, or --real with a benchmark"),
        (("--real", "voc2012"), "the benchmark voc2012 needs its folder; fix: --root VOCdevkit/VOC2012"),
        (
            ("--real", "voc2012", "--real-root", "PHOTOS", "--self-training", 1),
            "self-training labels synthetic images; got no dataset; fix: leave out --self-training",
        ),
    ],
)
def test_mistakes_are_told_in_one_line(photos, tmp_path, options, message):
    options = [photos if option == "PHOTOS" else option for option in options]
    assert refuse("train", *options, "--out", tmp_path / "model") == message
    assert not (tmp_path / "model").exists()


def test_bad_photos_are_named_or_left_out_and_listed(photos, tmp_path):
    options = ["--real", "voc2012", "--real-root", photos, *QUICK, "--device", "cpu"]
    command = ["train", *options, "--out", tmp_path / "model"]
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(photos / "SegmentationClass" / "a.png")
    message = last_line(*command)
    assert message == (
        f"{photos / 'SegmentationClass' / 'a.png'} has another size than its image; got 5 x 5; expected 32 x 40"
    )
    outcome = run_command(*command, "--skip-bad")
    assert (outcome.status, f"skipped a: {message}" in outcome.err.splitlines()) == (0, True)
    assert json.loads((tmp_path / "model" / "model.json").read_text())["num_images"] == 1
    (photos / "SegmentationClass" / "b.png").unlink()
    message = last_line("train", *options, "--out", tmp_path / "none", "--skip-bad")
    assert message == "no real image can be used; got 2 that cannot"


def test_real_photos_of_other_classes_are_refused(photos, dataset, tmp_path):
    other = dataset(class_set("dis5k"))
    told = refuse("train", other, "--real", "voc2012", "--real-root", photos, "--out", tmp_path / "model")
    assert told.startswith("the real images have other classes than the dataset; got aeroplane, ")


def test_a_folder_has_one_training_at_a_time(dataset, tmp_path, monkeypatch):
    command = ["train", dataset(VOC), *QUICK, "--out", tmp_path / "model"]
    with folder_lock(tmp_path / "model"):
        assert refuse(*command).startswith(f"{tmp_path / 'model'} is being written; got process ")
        assert not (tmp_path / "model" / "training_log.jsonl").exists()
    succeed(*command)
    assert not (tmp_path / "model" / ".lock").exists()
    with folder_lock(tmp_path / "model", shared=True):
        assert "is being written" in refuse(*command)
        # The processes of one torchrun train together.
        monkeypatch.setenv("WORLD_SIZE", "2")
        succeed(*command)


def test_a_finished_model_reads_no_image_and_no_weights(dataset, tmp_path):
    data = dataset(VOC)
    command = ["train", data, *QUICK, "--out", tmp_path / "model"]
    succeed(*command)
    (data / "shards" / "00000.parquet").write_bytes(b"unreadable")
    (tmp_path / "model" / "model.safetensors").unlink()
    succeed(*command)
    settings = TrainSettings(iterations=1, batch_size=2, crop_size=32)
    assert train([data], settings, tmp_path / "model", seed=0) == ModelFolder(tmp_path / "model", VOC, settings)
    (tmp_path / "model" / "model.json").unlink()
    refuse(*command)


def test_what_cannot_be_trained_is_told_before_a_dataset_is_drawn(photos):
    with pytest.raises(ModelError, match="no such segmenter"):
        check_training(TrainSettings(segmenter="unet"), VOC)
    with pytest.raises(DatasetError, match="the real images have other classes"):
        check_training(TrainSettings(real="voc2012", real_root=photos), class_set("emoji"))
    check_training(TrainSettings(segmenter="mask2former-resnet50", real="voc2012", real_root=photos), VOC)
