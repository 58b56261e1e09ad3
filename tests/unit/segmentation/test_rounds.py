import numpy as np
import pytest
import torch
from torch import nn

from dataset_diffusion.config import TrainSettings
from dataset_diffusion.errors import ConfigError, DatasetError
from dataset_diffusion.prompts.class_sets import ClassSet
from dataset_diffusion.segmentation.model_folder import load_segmenter
from dataset_diffusion.segmentation.models import Segmenter
from dataset_diffusion.segmentation.rounds import LABELS, ROUNDS, pseudo_labels, train_in_rounds
from dataset_diffusion.segmentation.task import TrainingListener, TrainingTask
from dataset_diffusion.segmentation.train import train_segmenter

pytestmark = pytest.mark.slow

CLASSES = ClassSet.from_names(["square"])


@pytest.fixture
def settings(tiny):
    return TrainSettings(
        segmenter=tiny, iterations=6, batch_size=4, learning_rate=0.03, self_training=2, self_training_confidence=0.4
    )


@pytest.fixture
def train(scenes, settings, tmp_path):
    """Train in rounds on the scenes, on the CPU; everything can be said otherwise."""

    def run(out="model", on_step=None, on_label=None, **changes):
        arguments = {"data": scenes, "class_set": CLASSES, "settings": settings, "seed": 5, "device": "cpu"}
        listener = TrainingListener()
        listener.on_step = on_step or listener.on_step
        listener.on_label = on_label or listener.on_label
        return train_in_rounds(TrainingTask(**(arguments | changes)), tmp_path / out, listener)

    return run


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_labels_by_hand():
    # The network sees red as (red - 0.485) / 0.229: class 1 has the logit 10 x red, background 5.
    network = nn.Conv2d(3, 2, 1)
    network.weight.data = torch.tensor([[0.0, 0, 0], [2.29, 0, 0]])[:, :, None, None]
    network.bias.data = torch.tensor([5.0, 4.85])
    image = torch.zeros(3, 1, 3, dtype=torch.uint8)
    image[0] = torch.tensor([0, 128, 255])
    # Probabilities of class 1: 1 / (1 + exp(5)) = 0.007, about one half, 0.993.
    segmenter = Segmenter(network, "red", 2).eval()
    (label,) = pseudo_labels(segmenter, [(image, torch.zeros(1, 3))], confidence=0.9)
    assert label.tolist() == [[0, 255, 1]]
    (floats,) = pseudo_labels(segmenter, [(image / 255, torch.zeros(1, 3))], confidence=0.0)
    assert floats.tolist() == [[0, 1, 1]]


def test_without_rounds_it_is_one_training(train, scenes, settings, tmp_path):
    once = settings.model_copy(update={"self_training": 0})
    train(settings=once)
    train_segmenter(TrainingTask(scenes, CLASSES, once, 5, device="cpu"), tmp_path / "plain")
    assert contents(tmp_path / "model") == contents(tmp_path / "plain")


def test_a_round_trains_on_what_the_last_one_says(train, scenes, settings, tmp_path):
    train()
    teacher = load_segmenter(tmp_path / "model" / ROUNDS / "0", "cpu").model
    labels = pseudo_labels(teacher, scenes, settings.self_training_confidence, settings.batch_size)
    said = [(image, torch.from_numpy(label)) for (image, _), label in zip(scenes, labels, strict=True)]
    settings = settings.model_copy(update={"self_training": 1})
    start = tmp_path / "model" / ROUNDS / "0"
    train_segmenter(TrainingTask(said, CLASSES, settings, 5, start=start, device="cpu"), tmp_path / "by hand")
    by_hand, second = contents(tmp_path / "by hand"), contents(tmp_path / "model" / ROUNDS / "1")
    assert by_hand.items() <= second.items()
    assert len({contents(tmp_path / "model" / ROUNDS / name)[path] for name in "01" for path in by_hand}) == 6


def test_the_published_way_begins_with_new_weights_and_takes_every_pixel(train, scenes, settings, tmp_path):
    settings = settings.model_copy(update={"self_training": 1, "self_training_method": "published"})
    train(settings=settings)
    teacher = load_segmenter(tmp_path / "model" / ROUNDS / "0", "cpu").model
    images = torch.stack([image for image, _ in scenes]) / 255
    with torch.inference_mode():
        said = list(zip((image for image, _ in scenes), teacher(images).argmax(dim=1), strict=True))
    train_segmenter(TrainingTask(said, CLASSES, settings, 5, device="cpu"), tmp_path / "by hand")
    weights = [load_segmenter(tmp_path / name, "cpu").model.state_dict() for name in ("model", "by hand")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize("stop", [3, 17])
def test_stopped_in_any_round_it_ends_with_the_same_bytes(train, stop):
    whole = contents(train("whole", checkpoint_every=2))

    def interrupt(step, total, loss):
        assert total == 18
        if step == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train("stopped", checkpoint_every=2, on_step=interrupt)
    steps = []
    stopped = contents(train("stopped", checkpoint_every=2, on_step=lambda step, *_: steps.append(step)))
    assert stopped == whole
    assert steps == list(range(stop, 19))


def test_stopped_while_labelling(train):
    whole = contents(train("whole"))

    def interrupt(images, total):
        assert total == 10
        if images == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train("stopped", on_label=interrupt)
    assert contents(train("stopped")) == whole


def test_a_finished_model_needs_no_earlier_round(train, tmp_path):
    before = contents(train())
    for path in sorted((tmp_path / "model" / ROUNDS).rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    assert contents(train()).items() <= before.items()
    assert not list((tmp_path / "model" / ROUNDS).iterdir())


def test_a_model_of_other_rounds_is_refused(train, settings):
    train()
    with pytest.raises(ConfigError, match=r"got self_training: 3 \(here: 2\); fix"):
        train(settings=settings.model_copy(update={"self_training": 3}))


def test_no_more_images_are_labelled_at_once_than_are_trained_on(train, settings, hungry):
    settings = settings.model_copy(update={"segmenter": hungry, "self_training": 1, "accumulate": 2})
    assert (train(settings=settings) / "model.json").exists()


def test_real_images_keep_their_labels(train, scenes):
    real = [(image, torch.ones(16, 16, dtype=torch.int64)) for image, _ in scenes]
    sets = [train(name, real=real) for name in ("one", "two")]
    assert contents(sets[0]) == contents(sets[1])
    mostly = np.mean([label == 1 for label in pseudo_labels(load_segmenter(sets[0], "cpu").model, scenes, 0.0)])
    plain = np.mean([label == 1 for label in pseudo_labels(load_segmenter(train(), "cpu").model, scenes, 0.0)])
    assert mostly > plain


def test_a_damaged_label_file(train, tmp_path, settings):
    train(settings=settings.model_copy(update={"self_training": 1}), out="x")
    (tmp_path / "x" / "model.json").unlink()
    (tmp_path / "x" / ROUNDS / "0" / LABELS).write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match=r"cannot read .*labels\.parquet; got Arrow.*; fix: delete it") as error:
        train(settings=settings.model_copy(update={"self_training": 1}), out="x")
    assert "\n" not in str(error.value)
